"""Options of every kind of data."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program.scheme import option

__all__ = ["Classification", "Digits", "QuadraticData", "Regression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The 8x8 handwritten digits of scikit-learn; every fifth sample is held out for evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Inputs drawn at random, outputs a fixed linear map of them plus noise; loss: half the squared error."""

    samples: int = option(1024, "training samples (a quarter as many more are held out)", ge=1)
    inputs: int = option(16, "input elements", ge=1)
    outputs: int = option(4, "output elements", ge=1)
    noise: float = option(0.1, "standard deviation of the noise in the outputs", ge=0)
    integers: bool = option(False, "small integers only, without noise (bit-exact sums in float64)")
    seed: int = option(0, "which problem to draw", ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One normal cloud of points per class around a random centre; loss: cross-entropy."""

    samples: int = option(1024, "training samples (a quarter as many more are held out)", ge=1)
    inputs: int = option(16, "input elements", ge=1)
    classes: int = option(4, "number of classes", ge=2)
    spread: float = option(0.5, "standard deviation of a cloud; the centres are standard normal", ge=0)
    seed: int = option(0, "which problem to draw", ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadraticData:
    """f(w) = 1/2 (w - w*)' H (w - w*), with eigenvalues of H spread evenly on a logarithmic scale."""

    dimension: int = option(16, "number of parameters", ge=1)
    curvature: float = option(1.0, "largest eigenvalue of H", gt=0)
    condition: float = option(10.0, "largest over smallest eigenvalue", ge=1)
    noise: float = option(0.0, "standard deviation of a sample's gradient, per element", ge=0)
    samples: int = option(1024, "number of noise vectors (their mean is zero)", ge=1)
    integers: bool = option(
        False, "H diagonal with powers of two, w* and noise of small integers (bit-exact in float64)"
    )
    seed: int = option(0, "which problem to draw", ge=0)
