"""Which law of `parasim.simulation.noise` measured factors follow, with which parameters: by maximum likelihood.

A factor is a single time over the mean of its like. The laws are compared by the Bayesian information criterion. Real
times scatter a little around the two levels of a mixture and around the base of a Pareto tail, which those laws leave
out: that scatter (log-normal) is a parameter of their likelihoods here, and must be small for the law to stand. If the
best law is not what the factors follow (Kolmogorov-Smirnov), they are resampled as they are.

References
----------
Schwarz (1978), Estimating the dimension of a model. Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete
data via the EM algorithm. Grushka (1972), the exponentially modified Gaussian (an exponential plus a normal variable;
here the logarithm of a Pareto variable times a log-normal one).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parasim.errors import CalibrationError
from parasim.simulation.noise import LAWS, NoiseLaw

__all__ = ["CLOCK", "LEAST", "ChosenLaw", "choose_law"]

LEAST = 30
"""Factors that a choice rests on at least."""
CLOCK = 1e-3
"""Scatter (of logarithms) that is the clock's own: what scatters no more has no noise."""
RESAMPLED = 200
"""Factors that a resampled law keeps: quantiles of all."""
_SCATTER = 0.25
"""Scatter around the levels of a mixture, or the base of a tail, over what the law itself explains, at most."""
_REJECTED = 1e-3


@dataclass(frozen=True, slots=True)
class ChosenLaw:
    """A law of noise.

    Attributes
    ----------
    kind, parameters
        As a scenario's `noise` says them.
    criteria
        Bayesian information criterion of every law that was tried: the less the better.
    distance
        Kolmogorov-Smirnov distance of the factors from the best of them.
    count
        Factors that it rests on.
    """

    kind: str
    parameters: Mapping[str, Any]
    criteria: Mapping[str, float]
    distance: float
    count: int

    def law(self) -> NoiseLaw:
        """As the simulator uses it."""
        return LAWS[self.kind](**self.parameters)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A law with its best parameters: its likelihood, and the share of factors (by logarithm) below each value."""

    kind: str
    parameters: dict[str, Any]
    likelihood: float
    free: int
    below: Callable[[Any], Any]
    fits: bool = True


def choose_law(factors: Sequence[float]) -> ChosenLaw:
    """Choose among none, log-normal, gamma, mixture and Pareto tail; resampled if none of them is right.

    Raises
    ------
    CalibrationError
        If there are fewer than `LEAST` factors, or one is not above zero and finite.
    """
    import numpy as np
    from scipy.stats import kstest

    values = np.asarray(factors, dtype=float)
    if len(values) < LEAST:
        raise CalibrationError(f"{len(values)} single times are too few for a law of noise: record {LEAST} or more")
    for value in values[~(np.isfinite(values) & (values > 0.0))]:
        raise CalibrationError(f"a factor of noise is {value}; give times over their mean, above zero and finite")
    values = values / values.mean()
    logs = np.log(values) + np.random.default_rng(0).normal(0.0, CLOCK, len(values))  # equal times differ by the clock
    candidates = [find(values, logs) for find in (_none, _lognormal, _gamma, _mixture, _pareto)]
    criteria = {
        candidate.kind: candidate.free * math.log(len(values)) - 2.0 * candidate.likelihood for candidate in candidates
    }
    best = min((c for c in candidates if c.fits), key=lambda candidate: criteria[candidate.kind])
    test = kstest(logs, best.below)
    if best.kind != "none" and test.pvalue < _REJECTED:
        middles = (np.arange(min(RESAMPLED, len(values))) + 0.5) / min(RESAMPLED, len(values))
        kept = tuple(float(value) for value in np.quantile(values, middles))
        return ChosenLaw("resampled", {"factors": kept}, criteria, float(test.statistic), len(values))
    return ChosenLaw(best.kind, best.parameters, criteria, float(test.statistic), len(values))


def _none(values: Any, logs: Any) -> _Candidate:
    """Nothing but the clock's own scatter."""
    from scipy.stats import norm

    return _Candidate("none", {}, float(norm.logpdf(logs, 0.0, CLOCK).sum()), 0, norm(0.0, CLOCK).cdf)


def _lognormal(values: Any, logs: Any) -> _Candidate:
    """Mean one ties the mean of logarithms to minus half the variance s: ``s**2 / 4 + s = mean(log**2)``."""
    import numpy as np
    from scipy.stats import norm

    variance = max(2.0 * (math.sqrt(1.0 + float((logs**2).mean())) - 1.0), CLOCK**2)
    law = norm(-0.5 * variance, math.sqrt(variance))
    return _Candidate("lognormal", {"sigma": math.sqrt(variance)}, float(np.sum(law.logpdf(logs))), 1, law.cdf)


def _gamma(values: Any, logs: Any) -> _Candidate:
    """Mean one: ``log k - digamma(k) = -mean(log)``."""
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import digamma
    from scipy.stats import loggamma

    excess = max(-float(logs.mean()), 1e-9)
    shape = float(brentq(lambda k: math.log(k) - float(digamma(k)) - excess, 1e-2, 1e9))
    law = loggamma(shape, loc=-math.log(shape))
    return _Candidate("gamma", {"shape": shape}, float(np.sum(law.logpdf(logs))), 1, law.cdf)


def _normal(x: Any, middle: Any, scatter: float) -> Any:
    """Logarithm of the density of a normal law."""
    return -0.5 * ((x - middle) / scatter) ** 2 - math.log(scatter * math.sqrt(2.0 * math.pi))


def _mixture(values: Any, logs: Any) -> _Candidate:
    """Two levels with a common scatter, by expectation and maximisation from two starts."""
    import numpy as np

    ordered = np.sort(logs)
    widest = int(np.argmax(np.diff(ordered)))
    found = [_levels(logs, float(ordered[cut])) for cut in {widest, int(0.9 * len(ordered)) - 1}]
    return max(found, key=lambda candidate: candidate.likelihood)


def _levels(logs: Any, cut: float) -> _Candidate:
    """Two levels, of which the slow one begins as what is above the cut."""
    import numpy as np
    from scipy.special import ndtr

    share = np.where(logs > cut, 1.0, 0.0)
    before = 0.0
    for _ in range(500):
        slow = float(np.clip(share.mean(), 1e-9, 1.0 - 1e-9))
        levels = (float(np.average(logs, weights=1.0 - share)), float(np.average(logs, weights=share)))
        squares = (1.0 - share) * (logs - levels[0]) ** 2 + share * (logs - levels[1]) ** 2
        scatter = max(math.sqrt(float(squares.mean())), CLOCK)
        usual = math.log1p(-slow) + _normal(logs, levels[0], scatter)
        slower = math.log(slow) + _normal(logs, levels[1], scatter)
        both = np.logaddexp(usual, slower)
        share = np.clip(np.exp(slower - both), 1e-12, 1.0 - 1e-12)
        likelihood = float(both.sum())
        if abs(likelihood - before) < 1e-9 * len(logs):
            break
        before = likelihood
    gap = levels[1] - levels[0]

    def below(x: Any) -> Any:
        return (1.0 - slow) * ndtr((x - levels[0]) / scatter) + slow * ndtr((x - levels[1]) / scatter)

    return _Candidate(
        "mixture",
        {"probability": slow, "slowdown": max(1.0, math.exp(gap))},
        likelihood,
        3,
        below,
        scatter <= _SCATTER * gap,
    )


def _pareto(values: Any, logs: Any) -> _Candidate:
    """A base level with scatter; of a share, the logarithm is longer by an exponential variable."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit, log_ndtr
    from scipy.stats import exponnorm, norm

    def named(parameters: Any) -> tuple[float, float, float, float]:
        share, exponent, base, scatter = (float(value) for value in parameters)
        return float(expit(share)), 1.0 + math.exp(exponent), base, math.exp(scatter)

    def cost(parameters: Any) -> float:
        share, exponent, base, scatter = named(parameters)
        usual = math.log1p(-share) + _normal(logs, base, scatter)
        above = (logs - base) / scatter - exponent * scatter
        tail = math.log(exponent) - exponent * (logs - base) + 0.5 * (exponent * scatter) ** 2 + log_ndtr(above)
        return -float(np.logaddexp(usual, math.log(share) + tail).sum())

    middle = float(np.median(logs))
    scatter = max(float(np.quantile(np.abs(logs[logs <= middle] - middle), 0.683)), CLOCK)
    bounds = [(-12.0, 6.0), (-6.0, 5.0), (middle - 1.0, middle + 1.0), (math.log(CLOCK), 2.0)]
    starts = [(share, exponent, middle, math.log(scatter)) for share in (-2.0, 0.0) for exponent in (0.0, 1.5)]
    results = [minimize(cost, start, method="Nelder-Mead", bounds=bounds) for start in starts]
    found = min(results, key=lambda result: float(result.fun))
    share, exponent, base, scatter = named(found.x)
    tail = exponnorm(1.0 / (exponent * scatter), loc=base, scale=scatter)

    def below(x: Any) -> Any:
        return (1.0 - share) * norm.cdf(x, base, scatter) + share * tail.cdf(x)

    fits = scatter <= _SCATTER / exponent
    return _Candidate("pareto", {"probability": share, "exponent": exponent}, -float(found.fun), 4, below, fits)
