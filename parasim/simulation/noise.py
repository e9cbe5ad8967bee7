"""Laws of noise: factors that multiply the time of a compute, all with mean one.

A factor is a pure function of the actor's draws and of what the kernel is for (step, micro-batch, label, layer), so
two schemes that compute the same thing meet the same noise, and adding an actor changes nobody else's. Kernels that
belong to no step are told apart by the actor's running count of them. Each law is the inverse of its distribution
function at one uniform draw (the log-normal: at one normal draw), so laws of different strength slow down the same
kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from parasim.errors import ScenarioError
from parasim.program.draws import Draws
from parasim.program.ops import Kernel

__all__ = ["LAWS", "Gamma", "LogNormal", "Mixture", "NoNoise", "NoiseLaw", "ParetoTail", "Resampled"]


class NoiseLaw(Protocol):
    """A law of noise."""

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """Return the factor of a kernel's time; `count` tells kernels of no step (-1) apart."""


@dataclass(frozen=True, slots=True)
class NoNoise:
    """Every compute takes the modelled time."""

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One."""
        return 1.0


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp(sigma Z - sigma**2 / 2) with Z standard normal; `sigma` is about the coefficient of variation."""

    sigma: float

    def __post_init__(self) -> None:
        _check(0 <= self.sigma < math.inf, f"sigma of lognormal noise must be 0 or more, got {self.sigma}")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        step, label = _key(kernel, count)
        return math.exp(self.sigma * (draws.normal("noise", step, kernel.micro, label) - 0.5 * self.sigma))


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma with this `shape` and scale 1 / shape: the coefficient of variation is 1 / sqrt(shape)."""

    shape: float

    def __post_init__(self) -> None:
        _check(0 < self.shape < math.inf, f"shape of gamma noise must be above 0, got {self.shape}")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        from scipy.special import gammaincinv

        return float(gammaincinv(self.shape, _uniform(draws, kernel, count))) / self.shape


@dataclass(frozen=True, slots=True)
class Mixture:
    """With `probability` a compute is slower by `slowdown` than it is otherwise."""

    probability: float
    slowdown: float

    def __post_init__(self) -> None:
        _check_probability("mixture", self.probability)
        _check(1 <= self.slowdown < math.inf, f"slowdown of mixture noise must be 1 or more, got {self.slowdown}")

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        slow = _uniform(draws, kernel, count) > 1.0 - self.probability
        mean = 1.0 + self.probability * (self.slowdown - 1.0)
        return (self.slowdown if slow else 1.0) / mean


@dataclass(frozen=True, slots=True)
class ParetoTail:
    """With `probability` a compute is slower by X than otherwise, P(X > x) = x ** -exponent for x over 1."""

    probability: float
    exponent: float

    def __post_init__(self) -> None:
        _check_probability("pareto", self.probability)
        _check(1 < self.exponent < math.inf, f"exponent of pareto noise must be above 1, got {self.exponent}")

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

    factors: tuple[float, ...]
    _scaled: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(len(self.factors) > 0, "resampled noise needs one measured factor or more, got none")
        for value in self.factors:
            _check(0 < value < math.inf, f"factors of resampled noise must be above 0, got {value}")
        mean = math.fsum(self.factors) / len(self.factors)
        object.__setattr__(self, "_scaled", tuple(value / mean for value in sorted(self.factors)))

    def factor(self, draws: Draws, kernel: Kernel, count: int) -> float:
        """One draw."""
        return self._scaled[int(_uniform(draws, kernel, count) * len(self._scaled))]


LAWS: Mapping[str, type[NoiseLaw]] = MappingProxyType(
    {
        "none": NoNoise,
        "lognormal": LogNormal,
        "gamma": Gamma,
        "mixture": Mixture,
        "pareto": ParetoTail,
        "resampled": Resampled,
    }
)
"""The laws by the name they have in scenarios; their fields are the parameters."""


def _key(kernel: Kernel, count: int) -> tuple[int, str]:
    label = f"{kernel.label}/{kernel.layer}" if kernel.layer else kernel.label
    return (count if kernel.step < 0 else kernel.step), label


def _uniform(draws: Draws, kernel: Kernel, count: int) -> float:
    step, label = _key(kernel, count)
    return draws.uniform("noise", step, kernel.micro, label)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ScenarioError(message)


def _check_probability(law: str, probability: float) -> None:
    _check(0 <= probability <= 1, f"probability of {law} noise must be in 0..1, got {probability}")
