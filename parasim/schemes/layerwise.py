"""Layer-wise model parallelism without a pipeline (SCHEMES S21): memory of K devices, the speed of one.

Stage k holds consecutive layers. The mini-batch goes up through all stages, its gradient comes down again, and then
every stage updates: one stage is busy at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program import ClosedForm, Holding, Setting, Taxonomy
from parasim.schemes.flushing import Flushing, Pass
from parasim.schemes.staged import StagedOptions, stage_seconds

__all__ = ["Layerwise"]


class Layerwise(Flushing):
    """Model parallel, synchronous."""

    name = "layerwise"
    aliases = ("model_parallel",)
    citation = "Dean et al. (2012)"
    taxonomy = Taxonomy("model parallel", "synchronous", "none")
    staleness = "0"
    Options = StagedOptions

    def micro_batches(self) -> int:
        """The mini-batch is not cut."""
        return 1

    def order(self, index: int) -> Iterator[Pass]:
        """Forward, backward."""
        yield "forward", 0, 0
        yield "backward", 0, 0

    def holding(self, place: int, samples: int) -> Holding:
        """One mini-batch."""
        return Holding(samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``sum of F_k + B_k + 2 (K-1) alpha + 2 beta sum of A_k``, and the update of the first stage, which is last.

        Exact where the others have made their updates before the next mini-batch reaches them.
        """
        stages, t = self.options.workers, stage_seconds(self, setting)
        seconds = sum(t.forward) + sum(t.backward) + sum(t.up) + sum(t.down) + t.updates[0]
        spare = [sum(t.forward[:k] + t.backward[:k] + t.up[:k] + t.down[:k]) for k in range(stages)]
        simple = all(t.updates[k] <= t.updates[0] + spare[k] for k in range(stages))
        form = ClosedForm(
            seconds,
            2.0 * sum(t.sizes) / stages,
            2.0 * (stages - 1) / stages,
            0.0,
            "exact" if simple and not setting.place.noisy else "lower bound",
            note="" if simple else "a stage is late with its update",
        )
        return self.with_tied(setting, form)
