"""Learning rates that change while a run goes on (SCHEMES S46): decay, warm-up, and scaling with the batch.

A rate is a function of counters alone: of the updates of the parameter copy that it is for, counted in steps. A copy
that gets u updates while all workers make a step (a server that applies the gradient of each worker by itself gets as
many as there are workers) moves on by 1/u of a step with each. So schedules by steps, epochs or samples mean the
same for every scheme, and the same in both runtimes; with stragglers, a server's clock is its updates, not any
worker's step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from parasim.errors import ScenarioError
from parasim.program.batches import Batches
from parasim.program.scheme import option

__all__ = ["SCHEDULES", "Constant", "Cosine", "Exponential", "Polynomial", "Rate", "Schedule", "Step"]

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What all schedules have: a unit, warm-up, scaling.

    After warm-up the rate is the target times :meth:`decay`; the target is `lr`, scaled. Warm-up is linear and ends at
    what the schedule has there.
    """

    by: Literal["steps", "epochs", "samples"] = option(
        "steps", "what a schedule counts: steps, or epochs or samples that all workers together have seen"
    )
    warmup: float = option(0.0, "length of linear warm-up", ge=0)
    warmup_from: float | None = option(
        None, "rate at the beginning of warm-up; by default lr before it is scaled, or 0 if it is not", ge=0
    )
    scaling: Literal["none", "linear", "sqrt"] = option(
        "none", "lr is for reference_batch samples: scale it by batch / reference_batch, or by its root"
    )
    reference_batch: int = option(256, "samples of a step of all workers that lr is meant for, if it is scaled", ge=1)

    def __post_init__(self) -> None:
        if self.warmup_from is not None and not self.warmup:
            raise ScenarioError(f"schedule: warmup_from {self.warmup_from:g} without warmup has no meaning: give both")

    def decay(self, at: float, end: float) -> float:
        """The part of the target that the rate is, at a point of a run that ends at `end` (in the schedule's unit)."""
        return 1.0

    def scale(self, batch: int) -> float:
        """What `lr` is multiplied by where a step of all workers begins with so many samples."""
        ratio = batch / self.reference_batch
        return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.scaling]


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The rate stays as it is after warm-up."""


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """The rate falls by a factor at given points (Goyal et al. 2017: by 0.1 at epochs 30, 60 and 80)."""

    at: tuple[float, ...] = option((), "where the rate changes", gt=0)
    factor: float = option(0.1, "it is multiplied by this each time", gt=0)

    def __post_init__(self) -> None:
        Schedule.__post_init__(self)
        if not self.at:
            raise ScenarioError("schedule: at: is empty: say where the rate changes, as in at: [30, 60, 80]")
        if list(self.at) != sorted(set(self.at)):
            raise ScenarioError(f"schedule: at: {list(self.at)} does not rise: list each place once, in order")

    def decay(self, at: float, end: float) -> float:
        """``factor`` to the power of how many points have been reached."""
        return float(self.factor ** sum(at >= place for place in self.at))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """The rate falls by a factor again and again (Niu et al. 2011, Hogwild!: by 0.9 with every epoch)."""

    every: float = option(1.0, "how long the rate stays before it falls", gt=0)
    factor: float = option(0.9, "it is multiplied by this each time", gt=0)

    def decay(self, at: float, end: float) -> float:
        """``factor`` to the power of how many times `every` has passed."""
        return float(self.factor ** math.floor(at / self.every + _ROUNDING))


@dataclass(frozen=True, kw_only=True)
class _Falling(Schedule):
    """From the end of warm-up on the rate falls, until some point."""

    until: float | None = option(None, "where the rate has fallen; by default the end of the run", gt=0)
    least: float = option(0.0, "the part of the target that it falls to", ge=0, le=1)

    def __post_init__(self) -> None:
        Schedule.__post_init__(self)
        if self.until is not None and self.until <= self.warmup:
            raise ScenarioError(f"schedule: until {self.until:g} is not after warmup {self.warmup:g}: give a later one")

    def decay(self, at: float, end: float) -> float:
        """Between 1 and `least`."""
        until = end if self.until is None else self.until
        left = 1.0 if at <= self.warmup else max(0.0, (until - at) / (until - self.warmup)) if at < until else 0.0
        return self.least + (1.0 - self.least) * self.shape(left)

    def shape(self, left: float) -> float:
        """Of the fall, where the part `left` of the way is left."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Polynomial(_Falling):
    """Polynomial decay; power 1 is linear (You, Gitman, Ginsburg 2017: 2)."""

    power: float = option(2.0, "power of the part that is left", gt=0)

    def shape(self, left: float) -> float:
        """``left ** power``."""
        return float(left**self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine(_Falling):
    """Half a cosine (Loshchilov and Hutter 2017)."""

    def shape(self, left: float) -> float:
        """``(1 + cos(pi (1 - left))) / 2``."""
        return (1.0 + math.cos(math.pi * (1.0 - left))) / 2.0


SCHEDULES: dict[str, type] = {
    "constant": Constant,
    "cosine": Cosine,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "step": Step,
}
"""Kinds of schedules; their fields are their options."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A schedule in a run.

    Attributes
    ----------
    schedule, lr
        What the scenario says.
    batches
        Samples per worker (per pipeline) and step.
    pipelines
        How many of those a step of all workers takes.
    unit
        Samples of what the schedule counts: those of the data, or 1; None if it counts steps.
    steps
        Length of the run.
    """

    schedule: Schedule
    lr: float
    batches: Batches
    pipelines: int
    unit: float | None
    steps: int

    def check(self) -> None:
        """Refuse a fall that is over before it begins.

        Raises
        ------
        ValueError
            If warm-up lasts as long as the run, and the rate is to fall until its end.
        """
        end, schedule = self._at(self.steps), self.schedule
        if isinstance(schedule, _Falling) and schedule.until is None and end <= schedule.warmup:
            raise ValueError(
                f"the run ends at {end:g} {schedule.by}, before warmup {schedule.warmup:g} is over: write until: ..."
            )

    def scaled(self, factor: float) -> Rate:
        """The same with all rates multiplied by this."""
        schedule, first = self.schedule, self.schedule.warmup_from
        if first is not None:
            schedule = replace(schedule, warmup_from=first * factor)
        return replace(self, schedule=schedule, lr=self.lr * factor)

    def __call__(self, step: float) -> float:
        """The learning rate where so many steps are done."""
        schedule, at = self.schedule, self._at(step)
        end = self._at(self.steps)
        target = self.lr * schedule.scale(self.batches.sizes[0] * self.pipelines)
        if at >= schedule.warmup:
            return target * schedule.decay(at, end)
        first = schedule.warmup_from
        if first is None:
            first = 0.0 if schedule.scaling == "none" else self.lr
        return first + (target * schedule.decay(schedule.warmup, end) - first) * (at / schedule.warmup)

    def _at(self, step: float) -> float:
        """In the schedule's unit."""
        return step if self.unit is None else self.batches.before(step) * self.pipelines / self.unit
