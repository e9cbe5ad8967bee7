"""Stragglers: rules that slow down the computes of some actors, for a while or for good.

A rule says whom it slows, by which law, and from when until when, in seconds of the run or in steps. A kernel is slowed
by the rules that hold when it starts; their factors multiply, and multiply the noise that all kernels have. A kernel of
no step counts as one of the furthest step that its actor has computed for. Each rule of a random law has draws of its
own, so a rule more changes nobody else's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from parasim.errors import ScenarioError
from parasim.fields import INTERNAL, check_fields, quantity, setting
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.noise import NoiseLaw

__all__ = ["Straggler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """One rule.

    Attributes
    ----------
    role, actors
        Whom it slows: these indices in their role; None for all of the role.
    slowdown, noise
        One of the two: a constant factor, or a law of noise, whose mean is one.
    from_, until
        Seconds of the run: it holds for kernels that start at ``from_ <= t < until``.
    from_step, until_step
        And for kernels of steps ``from_step <= step < until_step`` (None: all that follow).
    draws
        Name of its draws; rules with different names draw independently.

    Raises
    ------
    ScenarioError
        If it has both of slowdown and noise or neither, names nobody, or holds never.
    """

    role: str = field(default="worker", metadata=INTERNAL)
    actors: tuple[int, ...] | None = field(default=None, metadata=INTERNAL)
    slowdown: float | None = setting("how many times as long kernels take", None, ge=1, le=1e9)
    noise: NoiseLaw | None = field(default=None, metadata=INTERNAL)
    from_: float = quantity("seconds", "the rule holds from this time of the run on", 0.0, ge=0)
    until: float = quantity("seconds", "and for kernels that start before this time", math.inf, gt=0)
    from_step: int = setting("the rule holds from this step on (the first is 0)", 0, ge=0, le=10**9)
    until_step: int | None = setting("and for kernels of steps before this one", None, ge=1, le=10**9)
    draws: str = field(default="straggler", metadata=INTERNAL)

    def __post_init__(self) -> None:
        check_fields(self, "straggler")
        if (self.slowdown is None) == (self.noise is None):
            given = "neither slowdown nor noise" if self.noise is None else "both slowdown and noise"
            raise ScenarioError(f"has {given}: write slowdown: 2, or noise: {{kind: lognormal, sigma: 0.5}}")
        if self.actors is not None and not self.actors:
            raise ScenarioError(f"slows nobody: list one or more of role {self.role}, or write all")
        if self.until <= self.from_:
            raise ScenarioError(f"holds never: from {self.from_:g} s, until {self.until:g} s")
        if self.until_step is not None and self.until_step <= self.from_step:
            raise ScenarioError(f"holds never: from_step {self.from_step}, until_step {self.until_step}")

    @property
    def by_step(self) -> bool:
        """Does it hold in some steps only?"""
        return self.from_step > 0 or self.until_step is not None

    def concerns(self, role: str, index: int) -> bool:
        """Does it slow this actor?"""
        return role == self.role and (self.actors is None or index in self.actors)

    def holds(self, now: float, step: int) -> bool:
        """Does it hold for a kernel of `step` that starts at `now` seconds?"""
        ends = math.inf if self.until_step is None else self.until_step
        return self.from_ <= now < self.until and self.from_step <= step < ends

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """How many times as long the kernel takes where the rule holds; the arguments are those of `NoiseLaw`."""
        if self.noise is None:
            assert self.slowdown is not None
            return self.slowdown
        return self.noise.factor(draws, kernel, count)
