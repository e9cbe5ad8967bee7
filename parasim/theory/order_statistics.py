"""How long the slowest, or the k-th fastest, of N workers takes.

With F the distribution of one worker's time, the k-th of N has the expected value
``integral of F**-1(u) u**(k-1) (1-u)**(N-k) / B(k, N-k+1) du``; for the slowest that is the integral of 1 - F**N.

References
----------
David and Nagaraja (2003), Order statistics, sections 2.1 and 3.1; SCHEMES S4.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from parasim.errors import ProgramError
from parasim.theory.laws import Atoms, Exponential, Law, Uniform

__all__ = ["expected_longest", "expected_order", "harmonic"]


def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + ... + 1/n; H_0 = 0."""
    return math.fsum(1.0 / k for k in range(1, n + 1))


def expected_order(law: Law, k: int, n: int) -> float:
    """Expected value of the k-th smallest of `n` independent times of one law.

    Closed for exponential times (``shift + (H_n - H_{n-k}) / rate``), uniform ones (``low + (high - low) k / (n + 1)``)
    and atoms; by adaptive quadrature otherwise, to a relative error of 1e-9 or better.

    Raises
    ------
    ProgramError
        If k is not between 1 and n.
    """
    if not 1 <= k <= n:
        raise ProgramError(f"no {k}-th of {n} workers: choose 1 to {n}")
    if isinstance(law, Exponential):
        return law.shift + (harmonic(n) - harmonic(n - k)) / law.rate
    if isinstance(law, Uniform):
        return law.low + (law.high - law.low) * k / (n + 1)
    if isinstance(law, Atoms):
        return _of_atoms(law, k, n)
    return _by_quadrature(law, k, n)


def expected_longest(laws: Sequence[tuple[Law, int]]) -> float:
    """Expected longest of independent times: of each law so many.

    Several different laws must all be `Atoms`: the longest is then one of their values.

    Raises
    ------
    ProgramError
        If there are several laws and one is not made of atoms.
    """
    import numpy as np

    if len(laws) == 1:
        return expected_order(laws[0][0], laws[0][1], laws[0][1])
    if not all(isinstance(law, Atoms) for law, _ in laws):
        raise ProgramError("the longest of times of several laws: give each as Atoms (see parasim.theory.stragglers)")
    values = np.unique(np.concatenate([law.values for law, _ in laws if isinstance(law, Atoms)]))
    with np.errstate(divide="ignore"):
        below = np.exp(sum(count * np.log1p(-law.survival(values)) for law, count in laws))
    return float(np.sum(values * np.diff(below, prepend=0.0)))


def _of_atoms(law: Atoms, k: int, n: int) -> float:
    import numpy as np
    from scipy.special import betainc

    # fewer than k of n at most x: more than n - k above it
    above = betainc(n - k + 1, k, law.tails)
    return float(np.sum(np.asarray(law.values) * -np.diff(above, prepend=1.0)))


def _by_quadrature(law: Law, k: int, n: int) -> float:
    """Over y = -ln(tail), in which powers of the tail are exponentials; cut where the integrand bends."""
    from scipy.integrate import quad
    from scipy.special import betaln

    log_beta = float(betaln(k, n - k + 1))

    def integrand(y: float) -> float:
        tail = math.exp(-y)
        if tail in (0.0, 1.0):
            return 0.0
        density = math.exp((k - 1) * math.log(-math.expm1(-y)) - (n - k + 1) * y - log_beta)
        return float(law.exceeded(tail)) * density if density else 0.0

    middle = -math.log((n - k + 0.5) / n)
    width = 1.0 / (n - k + 1)
    cuts = {-math.log(tail) for tail in law.breaks if tail > 0}
    cuts |= {middle + width * reach for reach in (-8, -3, -1, 0, 1, 3, 8, 20, 40)} | {1e-12 / n, 0.1 / n, 1.0 / n}
    edges = [0.0, *sorted(cut for cut in cuts if cut > 0)]
    pieces = [quad(integrand, low, high, limit=200)[0] for low, high in pairwise(edges)]
    return math.fsum([*pieces, quad(integrand, edges[-1], math.inf, limit=200)[0]])
