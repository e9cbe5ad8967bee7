"""PipeDream-Flush: 1F1B with a flush every mini-batch (Narayanan et al. 2021; SCHEMES S28).

As long as GPipe and as exact, but a stage never has more than K - k micro-batches in flight: it takes a backward pass
as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program import ClosedForm, Holding, Setting, Taxonomy
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.flushing import Flushing, Pass, flushed
from parasim.theory.pipelines import in_flight

__all__ = ["PipeDreamFlush"]


class PipeDreamFlush(Flushing):
    """Pipeline parallel, synchronous."""

    name = "pipedream_flush"
    aliases = ("1f1b",)
    citation = "Narayanan et al. (2021)"
    taxonomy = Taxonomy("pipeline parallel", "synchronous", "none")
    staleness = "0"

    def order(self, index: int) -> Iterator[Pass]:
        """1F1B."""
        passes = one_f_one_b(fill(index, self.options.workers), self.options.micro_batches)
        return ((way, 0, micro) for way, micro in passes)

    def holding(self, place: int, samples: int) -> Holding:
        """K - k micro-batches."""
        flying = in_flight("1f1b", self.options.workers, place, self.options.micro_batches)
        return Holding(activations=flying, samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + K - 1)(F + B)`` when balanced, as GPipe's; else at least what the slowest stage needs.

        Exact for balanced stages and links that take no time: a transfer is not hidden where a stage waits for it.
        """
        return flushed(self, setting, 1)
