"""What the data look like, without loading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parasim.workload.choice import choose
from parasim.workload.data_options import Classification, Digits, QuadraticData, Regression

__all__ = ["DATA", "DIGITS_TOTAL", "HELD_OUT_EVERY", "DataKind", "DataSpec", "build_data"]

DataKind = Literal["classification", "regression", "quadratic"]

DATA: dict[str, type] = {
    "classification": Classification,
    "digits": Digits,
    "quadratic": QuadraticData,
    "regression": Regression,
}
"""Kinds of data and their options."""

DIGITS_TOTAL = 1797
"""Samples of the digits data set, training and evaluation."""
HELD_OUT_EVERY = 5
"""Of the digits, samples 0, 5, 10 ... are held out."""


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Sizes of a data set.

    Attributes
    ----------
    name
        Its kind in `DATA`.
    samples, held_out
        Samples to train on, and to evaluate on.
    input_elements, output_elements
        Elements per sample of what enters the model and of what leaves it.
    kind
        "classification" (cross-entropy over `output_elements` classes), "regression" (half the squared error) or
        "quadratic" (the model's parameters are the point itself).
    """

    name: str
    samples: int
    held_out: int
    input_elements: int
    output_elements: int
    kind: DataKind


def build_data(kind: str, options: Mapping[str, Any]) -> DataSpec:
    """Sizes of the data of this kind with these options (`DATA`); loads nothing.

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown or out of range.
    """
    chosen = choose("data", DATA, kind, options)
    return _BUILDERS[kind](chosen)


def _digits(options: Digits) -> DataSpec:
    held_out = len(range(0, DIGITS_TOTAL, HELD_OUT_EVERY))
    return DataSpec("digits", DIGITS_TOTAL - held_out, held_out, 64, 10, "classification")


def _classification(options: Classification) -> DataSpec:
    held_out = max(1, options.samples // 4)
    return DataSpec("classification", options.samples, held_out, options.inputs, options.classes, "classification")


def _regression(options: Regression) -> DataSpec:
    held_out = max(1, options.samples // 4)
    return DataSpec("regression", options.samples, held_out, options.inputs, options.outputs, "regression")


def _quadratic(options: QuadraticData) -> DataSpec:
    return DataSpec("quadratic", options.samples, 0, options.dimension, 1, "quadratic")


_BUILDERS: dict[str, Callable[[Any], DataSpec]] = {
    "classification": _classification,
    "digits": _digits,
    "quadratic": _quadratic,
    "regression": _regression,
}
