"""Synthetic problems: clouds of points, linear maps with noise, quadratic functions."""

from __future__ import annotations

import math

import numpy as np
import torch

from parasim.learning.dataset import DataSet
from parasim.program.draws import Draws
from parasim.workload.data import DataSpec
from parasim.workload.data_options import Classification, QuadraticData, Regression

__all__ = ["draw_classification", "draw_quadratic", "draw_regression"]


def draw_classification(spec: DataSpec, options: Classification, dtype: torch.dtype) -> DataSet:
    """Points around the centres of their classes, class by class in turn."""
    generator = Draws(options.seed).generator("data", label="classification")
    centres = generator.standard_normal((options.classes, options.inputs))
    count = spec.samples + spec.held_out
    labels = np.arange(count) % options.classes
    points = centres[labels] + options.spread * generator.standard_normal((count, options.inputs))
    return _split(spec, torch.from_numpy(points).to(dtype), torch.from_numpy(labels))


def draw_regression(spec: DataSpec, options: Regression, dtype: torch.dtype) -> DataSet:
    """Inputs, and a fixed linear map of them plus noise."""
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


def draw_quadratic(spec: DataSpec, options: QuadraticData, dtype: torch.dtype) -> DataSet:
    """The function, and noise vectors of mean zero."""
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


def _split(spec: DataSpec, inputs: torch.Tensor, targets: torch.Tensor) -> DataSet:
    train = spec.samples
    return DataSet(spec, inputs[:train], targets[:train], inputs[train:], targets[train:])
