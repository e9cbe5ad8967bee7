"""Laws of noise: factors that multiply the time of a compute, all with mean one.

A factor is a pure function of the actor's draws and of what the kernel is for (step, micro-batch, label, layer), so
two schemes that compute the same thing meet the same noise, and adding an actor changes nobody else's. Kernels that
belong to no step are told apart by the actor's running count of their label. Each law is the inverse of its
distribution function at one uniform draw (the log-normal: at one normal draw), so laws of different strength slow down
the same kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Protocol

from parasim.errors import ScenarioError
from parasim.fields import check_fields, setting
from parasim.program.draws import Draws
from parasim.program.ops import Kernel

__all__ = [
    "CROWDED",
    "LAWS",
    "Crowding",
    "Gamma",
    "LogNormal",
    "Mixture",
    "NoNoise",
    "NoiseLaw",
    "OwnDraws",
    "ParetoTail",
    "Resampled",
    "key_of",
]

CROWDED = "crowded handling"
"""Kind of a job of message handling that begins while all cores are busy."""
_STRAGGLES = "probability that a kernel straggles"


class NoiseLaw(Protocol):
    """A law of noise: a frozen dataclass; its `kind` and its fields (`parasim.fields`) are what files say."""

    kind: ClassVar[str]

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """Return the factor of a kernel's time; `count` tells kernels of no step (-1) apart."""


@dataclass(frozen=True, slots=True)
class NoNoise:
    """Every compute takes the modelled time."""

    kind: ClassVar[str] = "none"

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One."""
        return 1.0


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp(sigma Z - sigma**2 / 2) with Z standard normal; `sigma` is about the coefficient of variation."""

    kind: ClassVar[str] = "lognormal"
    sigma: float = setting("standard deviation of the factor's logarithm", ge=0, le=10)

    def __post_init__(self) -> None:
        check_fields(self, "lognormal noise")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        step, label = key_of(kernel, count)
        return math.exp(self.sigma * (draws.normal("noise", step, kernel.micro, label) - 0.5 * self.sigma))


@dataclass(frozen=True, slots=True)
class Crowding:
    """Log-normal, of message handling: `crowded` is the sigma of jobs that begin while all cores are busy.

    Such a job waits for its turns, and when they come is the scheduler's business.
    """

    kind: ClassVar[str] = "crowding"
    sigma: float = setting("standard deviation of the factor's logarithm", ge=0, le=10)
    crowded: float = setting("the same of jobs that begin while all cores are busy", ge=0, le=10)

    def __post_init__(self) -> None:
        check_fields(self, "noise crowding")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        return LogNormal(self.crowded if kernel.kind == CROWDED else self.sigma).factor(draws, kernel, count)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma with this `shape` and scale 1 / shape: the coefficient of variation is 1 / sqrt(shape)."""

    kind: ClassVar[str] = "gamma"
    shape: float = setting("shape of the distribution (1: exponential; larger: steadier)", ge=0.01, le=1e9)

    def __post_init__(self) -> None:
        check_fields(self, "gamma noise")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        from scipy.special import gammaincinv

        return float(gammaincinv(self.shape, _uniform(draws, kernel, count))) / self.shape


@dataclass(frozen=True, slots=True)
class Mixture:
    """With `probability` a compute is slower by `slowdown` than it is otherwise."""

    kind: ClassVar[str] = "mixture"
    probability: float = setting(_STRAGGLES, ge=0, le=1)
    slowdown: float = setting("how many times as long it then takes", ge=1, le=1e9)

    def __post_init__(self) -> None:
        check_fields(self, "mixture noise")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        slow = _uniform(draws, kernel, count) > 1.0 - self.probability
        mean = 1.0 + self.probability * (self.slowdown - 1.0)
        return (self.slowdown if slow else 1.0) / mean


@dataclass(frozen=True, slots=True)
class ParetoTail:
    """With `probability` a compute is slower by X than otherwise, P(X > x) = x ** -exponent for x over 1."""

    kind: ClassVar[str] = "pareto"
    probability: float = setting(_STRAGGLES, ge=0, le=1)
    exponent: float = setting("exponent of the tail (smaller: heavier)", gt=1)

    def __post_init__(self) -> None:
        check_fields(self, "pareto noise")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        above = 1.0 - _uniform(draws, kernel, count)
        mean = 1.0 + self.probability / (self.exponent - 1.0)
        if above >= self.probability:
            return 1.0 / mean
        return math.pow(above / self.probability, -1.0 / self.exponent) / mean


@dataclass(frozen=True, slots=True)
class Resampled:
    """Measured factors, drawn with equal probability and divided by their mean."""

    kind: ClassVar[str] = "resampled"
    factors: tuple[float, ...] = setting("measured factors", gt=0, le=1e9)
    _scaled: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.factors:
            raise ScenarioError("resampled noise: factors must be one or more measured numbers, got none")
        check_fields(self, "resampled noise")
        mean = math.fsum(self.factors) / len(self.factors)
        object.__setattr__(self, "_scaled", tuple(value / mean for value in sorted(self.factors)))

    @property
    def scaled(self) -> tuple[float, ...]:
        """The factors over their mean, rising."""
        return self._scaled

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        return self._scaled[int(_uniform(draws, kernel, count) * len(self._scaled))]


@dataclass(frozen=True, slots=True)
class OwnDraws:
    """Another law with draws of its own; files can't say it."""

    kind: ClassVar[str] = "of a replica"
    law: NoiseLaw
    name: str

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """The law's, at these draws under another name."""
        return self.law.factor(draws.branch(self.name), kernel, count)


_ALL: tuple[type[NoiseLaw], ...] = (NoNoise, LogNormal, Gamma, Mixture, ParetoTail, Resampled, Crowding)
LAWS: Mapping[str, type[NoiseLaw]] = MappingProxyType({law.kind: law for law in _ALL})
"""The laws by the name they have in scenarios; their fields are the parameters."""


def key_of(kernel: Kernel, count: int) -> tuple[int, str]:
    """Step and label that key the draw of a kernel."""
    label = f"{kernel.label}/{kernel.layer}" if kernel.layer else kernel.label
    return (count if kernel.step < 0 else kernel.step), label


def _uniform(draws: Draws, kernel: Kernel, count: int) -> float:
    step, label = key_of(kernel, count)
    return draws.uniform("noise", step, kernel.micro, label)
