"""Laws of random times: how long a worker takes, as a factor of its mean or in seconds.

A law is given by its upper tail: `survival(x)`, the probability of more than x, and `exceeded(tail)`, its inverse: the
value that is exceeded with probability `tail`. Both take and give arrays. The upper tail decides how long the slowest
of many workers takes, and 1 - tail would lose it to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = ["Atoms", "Exponential", "Gamma", "Law", "LogNormal", "Mixture", "ParetoTail", "Uniform", "factor_law"]


class Law(Protocol):
    """A distribution of times above zero."""

    @property
    def mean(self) -> float:
        """Expected value."""

    @property
    def breaks(self) -> tuple[float, ...]:
        """Tail probabilities at which `exceeded` jumps or has a kink."""

    def survival(self, x: Any) -> Any:
        """Probability of more than x."""

    def exceeded(self, tail: Any) -> Any:
        """The value that is exceeded with this probability, between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """`shift` and an exponential time of mean 1 / `rate` (shift 0: the exponential law itself)."""

    rate: float
    shift: float = 0.0

    @property
    def mean(self) -> float:
        """Shift and 1 / rate."""
        return self.shift + 1.0 / self.rate

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    def survival(self, x: Any) -> Any:
        """exp(-rate (x - shift))."""
        import numpy as np

        return np.exp(-self.rate * np.maximum(np.asarray(x) - self.shift, 0.0))

    def exceeded(self, tail: Any) -> Any:
        """Shift - ln(tail) / rate."""
        import numpy as np

        return self.shift - np.log(tail) / self.rate


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between `low` and `high`."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    def survival(self, x: Any) -> Any:
        """Linear."""
        import numpy as np

        return np.clip((self.high - np.asarray(x)) / (self.high - self.low), 0.0, 1.0)

    def exceeded(self, tail: Any) -> Any:
        """Linear."""
        import numpy as np

        return self.high - np.asarray(tail) * (self.high - self.low)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp of a normal variable of standard deviation `sigma`, with the mean `mean`."""

    sigma: float
    mean: float = 1.0

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    def survival(self, x: Any) -> Any:
        """Of the normal law, at the logarithm."""
        import numpy as np
        from scipy.special import ndtr

        with np.errstate(divide="ignore"):
            return ndtr(-(np.log(np.maximum(np.asarray(x), 0.0) / self.mean) / self.sigma + self.sigma / 2))

    def exceeded(self, tail: Any) -> Any:
        """exp(-sigma z(tail) - sigma**2 / 2), z the quantile of the normal law."""
        import numpy as np
        from scipy.special import ndtri

        return self.mean * np.exp(-self.sigma * (ndtri(tail) + self.sigma / 2))


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma of this `shape`, with the mean `mean`."""

    shape: float
    mean: float = 1.0

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    def survival(self, x: Any) -> Any:
        """Upper incomplete gamma function."""
        import numpy as np
        from scipy.special import gammaincc

        return gammaincc(self.shape, np.maximum(np.asarray(x), 0.0) * (self.shape / self.mean))

    def exceeded(self, tail: Any) -> Any:
        """Its inverse."""
        from scipy.special import gammainccinv

        return gammainccinv(self.shape, tail) * (self.mean / self.shape)


@dataclass(frozen=True, slots=True)
class ParetoTail:
    """1, or with `probability` X with P(X > x) = x ** -`exponent` for x over 1; all divided by the mean."""

    probability: float
    exponent: float

    @property
    def mean(self) -> float:
        """One."""
        return 1.0

    @property
    def breaks(self) -> tuple[float, ...]:
        """Where the tail begins."""
        return (self.probability,) if 0 < self.probability < 1 else ()

    @property
    def base(self) -> float:
        """What a worker takes that does not straggle."""
        return 1.0 / (1.0 + self.probability / (self.exponent - 1.0))

    def survival(self, x: Any) -> Any:
        """A power of x above the base, one below."""
        import numpy as np

        ratio = np.asarray(x) / self.base
        return np.where(ratio < 1, 1.0, self.probability * np.maximum(ratio, 1.0) ** -self.exponent)

    def exceeded(self, tail: Any) -> Any:
        """The base, or its product with a power of the tail."""
        import numpy as np

        if not self.probability:
            return np.full(np.shape(tail), self.base)
        return self.base * np.maximum(self.probability / np.asarray(tail), 1.0) ** (1.0 / self.exponent)


@dataclass(frozen=True, slots=True)
class Atoms:
    """One of `values` (ascending) with probabilities `weights`."""

    values: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], weights: Sequence[float] | None = None) -> Atoms:
        """In any order; equally likely without weights; weights need not sum to one."""
        given = [1.0] * len(values) if weights is None else weights
        pairs = sorted((value, weight) for value, weight in zip(values, given, strict=True) if weight > 0)
        total = math.fsum(weight for _, weight in pairs)
        return cls(tuple(value for value, _ in pairs), tuple(weight / total for _, weight in pairs))

    @property
    def mean(self) -> float:
        """Weighted."""
        return math.fsum(value * weight for value, weight in zip(self.values, self.weights, strict=True))

    @property
    def tails(self) -> Any:
        """Probability of more than each value."""
        import numpy as np

        above = np.cumsum(np.asarray(self.weights)[::-1])[::-1]
        return np.append(above[1:], 0.0)

    @property
    def breaks(self) -> tuple[float, ...]:
        """Every probability at which the value changes."""
        return tuple(float(tail) for tail in self.tails[:-1])

    def survival(self, x: Any) -> Any:
        """A staircase."""
        import numpy as np

        tails = np.concatenate([[1.0], self.tails])
        return tails[np.searchsorted(self.values, x, side="right")]

    def exceeded(self, tail: Any) -> Any:
        """The other staircase."""
        import numpy as np

        place = np.searchsorted(-self.tails, -np.asarray(tail), side="left")
        return np.asarray(self.values)[np.minimum(place, len(self.values) - 1)]


@dataclass(frozen=True, slots=True)
class Mixture:
    """One of `laws`, with probabilities `weights`."""

    laws: tuple[Law, ...]
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Weighted."""
        return math.fsum(weight * law.mean for law, weight in zip(self.laws, self.weights, strict=True))

    @property
    def breaks(self) -> tuple[float, ...]:
        """Where the support of a part ends, which makes a kink."""
        ends = [float(law.exceeded(tail)) for law in self.laws for tail in (1.0, 1e-300)]
        return tuple(sorted({float(self.survival(end)) for end in ends} - {0.0, 1.0}))

    def survival(self, x: Any) -> Any:
        """Weighted."""
        return sum(weight * law.survival(x) for law, weight in zip(self.laws, self.weights, strict=True))

    def exceeded(self, tail: Any) -> Any:
        """Found by bisection between the smallest and the largest of the parts' values."""
        import numpy as np

        parts = np.array([law.exceeded(tail) for law in self.laws])
        low, high = parts.min(axis=0), parts.max(axis=0)
        while np.any(high - low > 1e-12 * high):
            middle = (low + high) / 2
            if np.all((middle == low) | (middle == high)):
                break
            above = self.survival(middle) > tail
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return high


def _lognormal(sigma: float) -> Law:
    return LogNormal(sigma) if sigma else Atoms((1.0,), (1.0,))


_FACTORS: Final[Mapping[str, Callable[..., Law]]] = {
    "none": lambda: Atoms((1.0,), (1.0,)),
    "lognormal": _lognormal,
    "crowding": lambda sigma, crowded: _lognormal(sigma),  # of computes; handling has no closed form
    "gamma": Gamma,
    "mixture": lambda probability, slowdown: Atoms.of(
        [value / (1 + probability * (slowdown - 1)) for value in (1.0, slowdown)], [1 - probability, probability]
    ),
    "pareto": ParetoTail,
    "resampled": lambda factors: Atoms.of([value * len(factors) / math.fsum(factors) for value in factors]),
}


def factor_law(kind: str, parameters: Mapping[str, Any]) -> Law | None:
    """The law of noise of this kind as scenarios name it, with its parameters: factors of mean one. None if unknown."""
    law = _FACTORS.get(kind)
    return None if law is None else law(**parameters)
