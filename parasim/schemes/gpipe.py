"""GPipe: a pipeline with a flush every mini-batch (Huang et al. 2019; SCHEMES S26).

Stage k holds consecutive layers. A mini-batch is cut into M micro-batches that go forward through the stages one after
the other, then backward in reverse; when all gradients are accumulated every stage updates, and only then does
the next mini-batch begin. Activations and gradients travel on lanes beside the computing; a stage waits only for what
it needs next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parasim.program import ClosedForm, Holding, Model, Setting, Taxonomy, option
from parasim.schedules.gpipe import gpipe
from parasim.schemes.flushing import Flushing, FlushingOptions, Pass
from parasim.schemes.staged import stage_seconds
from parasim.theory.pipelines import flow_line_seconds

__all__ = ["GPipe"]


@dataclass(frozen=True, kw_only=True)
class GPipeOptions(FlushingOptions):
    """Options of GPipe; `workers` is the number of stages."""

    recompute: bool = option(False, "keep only a stage's input and repeat its forward pass before the backward pass")
    keep_last: bool = option(
        False, "recompute all but the last micro-batch, which goes backward first (torchgpipe's except_last)"
    )


class GPipe(Flushing):
    """Pipeline parallel, synchronous."""

    name = "gpipe"
    citation = "Huang et al. (2019)"
    taxonomy = Taxonomy("pipeline parallel", "synchronous", "none", "activations and their gradients", "one model")
    staleness = "0"
    Options = GPipeOptions

    def recomputes(self, micro: int) -> bool:
        """If asked to."""
        last = micro == self.options.micro_batches - 1
        return bool(self.options.recompute) and not (last and self.options.keep_last)

    def order(self, index: int) -> Iterator[Pass]:
        """All micro-batches forward, all backward."""
        return ((way, 0, micro) for way, micro in gpipe(self.options.micro_batches))

    def check(self, model: Model, batch_size: int) -> None:
        """The last micro-batch can only be excepted from something."""
        super().check(model, batch_size)
        if self.options.keep_last and not self.options.recompute:
            raise ValueError(
                "keep_last: true excepts a micro-batch from recomputing: set recompute: true, or leave it out"
            )

    def holding(self, place: int, samples: int) -> Holding:
        """All micro-batches are in flight; recomputing, one, and the inputs of all (but the last, if it is kept)."""
        micros = self.options.micro_batches
        if self.options.recompute:
            return Holding(activations=1, inputs=micros - self.options.keep_last, samples=samples)
        return Holding(activations=micros, samples=samples)

    def in_flight(self, place: int) -> int:
        """All."""
        return int(self.options.micro_batches)

    def waiting(self, place: int) -> tuple[int, int]:
        """As ever; of what was kept whole no input was held, in whose place its gradient would wait to be sent down."""
        arriving, leaving = super().waiting(place)
        return arriving + int(self.options.keep_last and place > 0), leaving

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + K - 1)(F + B)`` when balanced (the paper, section 2.3); stages and links as a flow line otherwise.

        Either way takes one micro-batch through all stages and links, and M - 1 times the slowest of these. Exact if
        all stages but the last repeat their first forward pass, and all make the update, before anyone waits for it.
        With `keep_last` no stage repeats that one, and the last stage begins backward that much earlier.
        """
        stages, micros = self.options.workers, self.options.micro_batches
        t = stage_seconds(self, setting, scale=1 / micros)
        forward, backward, updates = t.forward, t.backward, t.updates
        again = forward if self.options.recompute else [0.0] * stages
        both = [a + b for a, b in zip(again, backward, strict=True)]
        seconds = flow_line_seconds(forward + t.up, micros) + updates[0]
        seconds += (
            (0.0 if self.options.keep_last else again[-1])
            + sum(backward)
            + sum(t.down)
            + (micros - 1) * max(both + t.down)
        )
        repeated = self.options.keep_last or all(again[k] <= sum(both[k + 1 :]) for k in range(stages - 1))
        updated = all(updates[k] <= updates[0] + sum(forward[:k]) + sum(backward[:k]) for k in range(stages))
        simple = repeated and updated
        form = ClosedForm(
            seconds,
            2.0 * sum(t.sizes) * micros / stages,
            2.0 * (stages - 1) * micros / stages,
            0.0,
            "exact" if simple and not setting.place.noisy else "lower bound",
            note="" if simple else "a stage is late with its update or its first repeated forward pass",
        )
        return self.with_tied(setting, form)
