"""Data sets as tensors, and the order in which their samples are used."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parasim.program.draws import Draws
from parasim.workload.choice import choose
from parasim.workload.data import DATA, HELD_OUT_EVERY, DataSpec, build_data
from parasim.workload.data_options import Classification, Digits, QuadraticData, Regression

__all__ = ["DataSet", "Sampler", "load_data"]

_EPOCHS_KEPT = 8


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Values of a data set: a row per sample.

    Attributes
    ----------
    inputs, targets
        Training samples; targets are class labels (int64) or output vectors.
    held_out_inputs, held_out_targets
        Samples for evaluation.
    hessian, optimum
        Of quadratic data: the matrix H and the point w*; None otherwise.
    """

    spec: DataSpec
    inputs: torch.Tensor
    targets: torch.Tensor
    held_out_inputs: torch.Tensor
    held_out_targets: torch.Tensor
    hessian: torch.Tensor | None = None
    optimum: torch.Tensor | None = None

    def to(self, device: torch.device) -> DataSet:
        """The same values on a device; those that are there already are shared."""

        def moved(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else values.to(device)

        return DataSet(
            self.spec,
            self.inputs.to(device),
            self.targets.to(device),
            self.held_out_inputs.to(device),
            self.held_out_targets.to(device),
            moved(self.hessian),
            moved(self.optimum),
        )


class Sampler:
    """The endless sequence of epochs, each a permutation of all samples keyed by (seed, epoch).

    Mini-batch `step` of b samples is positions ``step * b`` to ``(step + 1) * b - 1`` of the sequence (SCHEMES 0.5).
    Sample numbers are on `device`; they do not depend on it.
    """

    def __init__(self, samples: int, seed: int, device: torch.device | None = None) -> None:
        self._samples = samples
        self._device = device
        self._draws = Draws(seed)
        self._epochs: dict[int, torch.Tensor] = {}

    def take(self, step: int, start: int, stop: int, batch: int) -> torch.Tensor:
        """Sample numbers of positions `start`..`stop` - 1 of mini-batch `step` of `batch` samples."""
        first, end = step * batch + start, step * batch + stop
        epoch, offset = divmod(first, self._samples)
        if end <= (epoch + 1) * self._samples:
            return self._epoch(epoch)[offset : offset + end - first]
        pieces = []
        while first < end:
            epoch, offset = divmod(first, self._samples)
            piece = self._epoch(epoch)[offset : offset + end - first]
            pieces.append(piece)
            first += piece.numel()
        return torch.cat(pieces)

    def _epoch(self, epoch: int) -> torch.Tensor:
        order = self._epochs.get(epoch)
        if order is None:
            order = torch.from_numpy(self._draws.generator("samples", step=epoch).permutation(self._samples))
            order = order.to(self._device)
            while len(self._epochs) >= _EPOCHS_KEPT:
                self._epochs.pop(next(iter(self._epochs)), None)
            self._epochs[epoch] = order
        return order


def load_data(kind: str, options: Mapping[str, Any], dtype: torch.dtype) -> DataSet:
    """Values of the data that `parasim.workload.build_data` describes.

    Raises
    ------
    ScenarioError
        As `build_data`.
    """
    spec = build_data(kind, options)
    return _LOADERS[kind](spec, choose("data", DATA, kind, options), dtype)


@functools.cache
def _digits_arrays() -> tuple[Any, Any]:
    """Read images (values 0 to 16) and labels from scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


def _digits(spec: DataSpec, options: Digits, dtype: torch.dtype) -> DataSet:
    images, labels = _digits_arrays()
    held_out = np.arange(len(images)) % HELD_OUT_EVERY == 0
    inputs, targets = torch.from_numpy(images / 16.0).to(dtype), torch.from_numpy(labels).long()
    return DataSet(spec, inputs[~held_out], targets[~held_out], inputs[held_out], targets[held_out])


def _classification(spec: DataSpec, options: Classification, dtype: torch.dtype) -> DataSet:
    generator = Draws(options.seed).generator("data", label="classification")
    centres = generator.standard_normal((options.classes, options.inputs))
    count = spec.samples + spec.held_out
    labels = np.arange(count) % options.classes
    points = centres[labels] + options.spread * generator.standard_normal((count, options.inputs))
    return _split(spec, torch.from_numpy(points).to(dtype), torch.from_numpy(labels))


def _regression(spec: DataSpec, options: Regression, dtype: torch.dtype) -> DataSet:
    generator = Draws(options.seed).generator("data", label="regression")
    count = spec.samples + spec.held_out
    if options.integers:
        inputs = generator.integers(-2, 3, (count, options.inputs)).astype(float)
        outputs = inputs @ generator.integers(-1, 2, (options.inputs, options.outputs)).astype(float)
    else:
        inputs = generator.standard_normal((count, options.inputs))
        slopes = generator.standard_normal((options.inputs, options.outputs)) / math.sqrt(options.inputs)
        outputs = inputs @ slopes + options.noise * generator.standard_normal((count, options.outputs))
    return _split(spec, torch.from_numpy(inputs).to(dtype), torch.from_numpy(outputs).to(dtype))


def _split(spec: DataSpec, inputs: torch.Tensor, targets: torch.Tensor) -> DataSet:
    train = spec.samples
    return DataSet(spec, inputs[:train], targets[:train], inputs[train:], targets[train:])


def _quadratic(spec: DataSpec, options: QuadraticData, dtype: torch.dtype) -> DataSet:
    generator = Draws(options.seed).generator("data", label="quadratic")
    size = options.dimension
    exponents = np.linspace(0.0, 1.0, size) if size > 1 else np.zeros(1)
    curvatures = options.curvature * options.condition**-exponents
    pairs = options.noise * generator.standard_normal((options.samples // 2, size))
    if options.integers:
        optimum = generator.integers(-3, 4, size).astype(float)
        hessian = np.diag(2.0 ** np.rint(np.log2(curvatures)))
        pairs = np.rint(pairs)
    else:
        optimum = generator.standard_normal(size)
        basis = np.linalg.qr(generator.standard_normal((size, size)))[0]
        hessian = (basis * curvatures) @ basis.T
    noise = np.zeros((options.samples, size))  # v and -v in turn, so that the mean is zero
    noise[: 2 * len(pairs)] = np.stack([pairs, -pairs], axis=1).reshape(-1, size)
    inputs, nothing = torch.from_numpy(noise).to(dtype), torch.zeros(options.samples, 0, dtype=dtype)
    matrix, point = torch.from_numpy(hessian).to(dtype), torch.from_numpy(optimum).to(dtype)
    return DataSet(spec, inputs, nothing, torch.zeros(1, size, dtype=dtype), nothing[:1], matrix, point)


_LOADERS: dict[str, Callable[[DataSpec, Any, torch.dtype], DataSet]] = {
    "classification": _classification,
    "digits": _digits,
    "quadratic": _quadratic,
    "regression": _regression,
}
