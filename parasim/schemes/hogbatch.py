"""HogBatch: Hogwild! with mini-batches between cores (Sallinen, Satish, Smelyanskiy, Sury, Re 2016; SCHEMES S15).

A core copies the weights, sums the gradients of a batch in private memory, and adds the sum to the shared weights once,
without locks: as many times fewer lines move between cores as a batch has samples. The program is that of hogwild.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import option
from parasim.schemes.hogwild import Hogwild, HogwildOptions

__all__ = ["HogBatch"]


@dataclass(frozen=True, kw_only=True)
class HogBatchOptions(HogwildOptions):
    """Options of HogBatch."""

    at_once: int = option(0, "samples whose gradients are summed before they are added (0: the whole batch)", ge=0)


class HogBatch(Hogwild):
    """Shared memory, data parallel, asynchronous without locks; one addition for a batch of samples."""

    name = "hogbatch"
    aliases = ("batch_hogwild", "minibatch_hogwild")
    citation = "Sallinen, Satish, Smelyanskiy, Sury, Re (2016)"
    staleness = "mean N-1 batches at most, (N-1) B samples"
    Options = HogBatchOptions

    def samples_at_once(self, batch_size: int) -> int:
        """Samples between a read and a write."""
        return int(self.options.at_once) or batch_size
