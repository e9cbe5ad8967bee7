"""Options of every kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parasim.program.scheme import option

__all__ = [
    "Characters",
    "Cifar10",
    "Classification",
    "Digits",
    "ImageFolder",
    "Images",
    "QuadraticData",
    "Regression",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The 8x8 handwritten digits of scikit-learn; every fifth sample is held out for evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar10:
    """CIFAR-10 (Krizhevsky 2009) from a local folder: the binary version; test_batch.bin is held out."""

    path: str = option("", "folder of data_batch_1.bin ... and test_batch.bin, relative to the scenario file")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """PNG and JPEG files from a local folder, a sub-folder per class; in order of names every fifth is held out."""

    path: str = option("", "folder with a sub-folder per class, relative to the scenario file")
    size: int = option(32, "rows and columns that every image is resized to", ge=1, le=4096)
    channels: Literal[1, 3] = option(3, "3: red, green, blue; 1: grey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Synthetic stand-ins for images: a pattern of 4x4 blocks of colour per class, plus noise; loss: cross-entropy."""

    samples: int = option(1024, "training samples (a quarter as many more are held out)", ge=1)
    size: int = option(32, "rows and columns", ge=1, le=4096)
    channels: int = option(3, "channels", ge=1, le=4096)
    classes: int = option(10, "number of classes", ge=2, le=1_000_000)
    noise: float = option(1.0, "standard deviation of the noise; the patterns are standard normal", ge=0)
    seed: int = option(0, "which patterns and noise to draw", ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Characters:
    """Text to predict character by character, cut into sequences; the last tenth is held out for evaluation."""

    path: str = option("", "text file (UTF-8), relative to the scenario file; without it a synthetic stand-in")
    sequence: int = option(64, "characters of a sample", ge=1, le=1_000_000)


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
