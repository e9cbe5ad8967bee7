"""Sizes of mini-batches that change while a run goes on, and where in the data each mini-batch begins.

A batch that grows takes the place of a learning rate that decays: the noise of SGD goes with rate over batch (Smith and
Le 2018; Smith, Kindermans, Ying, Le 2018; SCHEMES S48).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.errors import ScenarioError
from parasim.fields import option

__all__ = ["Batches", "Growth", "grown"]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """When a batch grows, and by how much."""

    by: Literal["steps", "epochs", "samples"] = option("epochs", "what `at` counts: steps, or epochs or samples seen")
    at: tuple[float, ...] = option((), "where the batch grows, each once", gt=0)
    factor: float = option(2.0, "it grows by this factor each time", gt=1)
    most: int = option(0, "samples per worker that it never exceeds (0: no limit)", ge=0)

    def __post_init__(self) -> None:
        if not self.at:
            raise ScenarioError("batch_growth: at: is empty: say where the batch grows, as in at: [30, 60]")
        if list(self.at) != sorted(set(self.at)):
            raise ScenarioError(f"batch_growth: at: {list(self.at)} does not rise: list each place once, in order")


@dataclass(frozen=True, slots=True)
class Batches:
    """Samples per worker (per pipeline): `sizes[i]` from step `starts[i]` on; the first start is step 0."""

    sizes: tuple[int, ...]
    starts: tuple[int, ...] = (0,)

    def size(self, step: int) -> int:
        """Samples of one worker in this step."""
        found = self.sizes[0]
        for start, size in zip(self.starts[1:], self.sizes[1:], strict=True):
            if step < start:
                break
            found = size
        return found

    def before(self, step: float) -> float:
        """Samples of one worker before this step; a part of a step has that part of its samples."""
        total: float = 0
        for start, stop, size in zip(self.starts, (*self.starts[1:], math.inf), self.sizes, strict=True):
            if step <= start:
                break
            total += (min(step, stop) - start) * size
        return total

    def shift(self, step: int) -> int:
        """By how many samples more a worker is in its data than if all batches were as large as this step's."""
        return 0 if len(self.sizes) == 1 else int(self.before(step)) - step * self.size(step)

    def steps(self, samples: float) -> int:
        """Least number of steps in which one worker sees so many samples."""
        seen = [self.before(start) for start in self.starts]
        last = bisect.bisect_left(seen, samples, 1) - 1
        return self.starts[last] + math.ceil((samples - seen[last]) / self.sizes[last])

    def then(self, step: int, size: int) -> Batches:
        """The same until this step, and of that size from then on."""
        kept = bisect.bisect_left(self.starts, step)
        return Batches((*self.sizes[:kept], size), (*self.starts[:kept], step))

    @property
    def largest(self) -> int:
        """The largest batch of one worker."""
        return max(self.sizes)

    def spans(self, steps: int) -> Sequence[tuple[int, int]]:
        """Of the first so many steps: sizes, each with how many steps have it."""
        stops = (*self.starts[1:], steps)
        counts = [min(stop, steps) - min(start, steps) for start, stop in zip(self.starts, stops, strict=True)]
        return [(size, count) for size, count in zip(self.sizes, counts, strict=True) if count]


def grown(batch_size: int, growth: Growth, samples_per_unit: float | None) -> Batches:
    """Sizes of a batch that begins with `batch_size` samples and grows.

    Parameters
    ----------
    batch_size
        Samples per worker (per pipeline) of the first step.
    growth
        When and how.
    samples_per_unit
        Samples of one worker in what `growth.by` counts: an epoch, a sample; None if it counts steps.

    Returns
    -------
    Batches
        It grows at the first step before which so much was seen.
    """
    batches = Batches((batch_size,))
    for number, place in enumerate(growth.at, start=1):
        size = round(batch_size * growth.factor**number)
        size = min(size, growth.most or size)
        start = math.ceil(place) if samples_per_unit is None else batches.steps(place * samples_per_unit)
        if size == batches.sizes[-1]:
            continue
        batches = batches.then(start, size)
    return batches
