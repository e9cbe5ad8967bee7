"""All-reduce of gradient buckets beside the backward pass: what of the communication is left exposed.

The backward pass fills bucket j at time t_j; buckets are reduced one after the other, each in C(s_j)::

    end_0 = 0,   end_j = max(t_j, end_{j-1}) + C(s_j),   step = max(t_J, end_J) + update

References
----------
SCHEMES S3.5; Li et al. (2020), PyTorch distributed: experiences on accelerating data parallel training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from parasim.errors import ProgramError

__all__ = ["Best", "Overlap", "best_bucket_bytes", "fill_buckets", "overlap"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """When the buckets of a step are reduced.

    Attributes
    ----------
    ends
        Of each bucket's reduction, seconds from the start of the step.
    seconds
        When both the backward pass and all reductions are done.
    communication
        Seconds of all reductions together.
    exposed
        Seconds from the end of the backward pass to `seconds`: communication that nothing hides.
    """

    ends: tuple[float, ...]
    seconds: float
    communication: float
    exposed: float

    @property
    def hidden(self) -> float:
        """Fraction of the communication that the backward pass hides."""
        if self.exposed <= 0.0 or not self.communication:
            return 1.0
        return max(0.0, 1.0 - self.exposed / self.communication)  # both are differences, and round


def overlap(ready: Sequence[float], costs: Sequence[float]) -> Overlap:
    """Reduce buckets in their order, each when it is ready and the one before is done.

    Parameters
    ----------
    ready
        Seconds at which each bucket is full, from the start of the step, ascending; the last ends the backward pass.
    costs
        Seconds of each bucket's reduction.

    Raises
    ------
    ProgramError
        If there is no bucket, or not as many costs as buckets.
    """
    if not ready or len(ready) != len(costs):
        raise ProgramError(f"{len(ready)} buckets and {len(costs)} costs: give a cost for each of one or more buckets")
    ends, end = [], 0.0
    for full, cost in zip(ready, costs, strict=True):
        end = max(full, end) + cost
        ends.append(end)
    seconds = max(end, ready[-1])
    return Overlap(tuple(ends), seconds, sum(costs), seconds - ready[-1])


def fill_buckets(sizes: Sequence[float], least: float) -> list[int]:
    """How many layers each bucket holds, filled in the order of `sizes` until it has `least` bytes or more.

    What is left at the end is a bucket of its own if it is not empty.
    """
    counts, held, layers = [], 0.0, 0
    for size in sizes:
        held, layers = held + size, layers + 1
        if held >= least:
            counts.append(layers)
            held, layers = 0.0, 0
    return [*counts, layers] if layers else counts


@dataclass(frozen=True, slots=True)
class Best:
    """The least bytes of a bucket that give the shortest step, how many buckets these are, and the step's seconds."""

    nbytes: float
    buckets: int
    seconds: float


def best_bucket_bytes(
    forward: float, backward: Sequence[float], sizes: Sequence[float], cost: Callable[[float], float]
) -> Best:
    """Scan all sizes of buckets that differ in what they hold; of equally good ones the largest.

    Parameters
    ----------
    forward
        Seconds of the forward pass.
    backward, sizes
        Seconds of the backward pass and bytes of the gradients of each layer, the last layer first.
    cost
        Seconds of the all-reduce of so many bytes.

    Raises
    ------
    ProgramError
        If there is no layer.
    """
    candidates = {total for start in range(len(sizes)) for total in accumulate(sizes[start:]) if total > 0}
    found = [_with_buckets(forward, backward, sizes, cost, least) for least in sorted(candidates, reverse=True)]
    if not found:
        raise ProgramError("no gradients to put in buckets: give one layer or more that has parameters")
    return min(found, key=lambda best: best.seconds)


def _with_buckets(
    forward: float, backward: Sequence[float], sizes: Sequence[float], cost: Callable[[float], float], least: float
) -> Best:
    edges = list(accumulate(fill_buckets(sizes, least), initial=0))
    times = [forward + done for done in accumulate(backward, initial=0.0)]
    ready = [times[edge] for edge in edges[1:]]
    costs = [cost(sum(sizes[low:high])) for low, high in pairwise(edges)]
    return Best(least, len(ready), overlap(ready, costs).seconds)
