"""What the data look like: sizes, found without loading images; texts are read, since their characters are counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parasim.errors import ScenarioError
from parasim.workload.choice import choose
from parasim.workload.data_options import (
    Characters,
    Cifar10,
    Classification,
    Digits,
    ImageFolder,
    Images,
    QuadraticData,
    Regression,
)
from parasim.workload.folders import cifar_files, cifar_records, image_files
from parasim.workload.texts import alphabet, get_text, split_text

__all__ = ["DATA", "DIGITS_TOTAL", "HELD_OUT_EVERY", "DataKind", "DataSpec", "build_data"]

DataKind = Literal["classification", "regression", "quadratic", "tokens"]

DATA: dict[str, type] = {
    "characters": Characters,
    "cifar10": Cifar10,
    "classification": Classification,
    "digits": Digits,
    "image_folder": ImageFolder,
    "images": Images,
    "quadratic": QuadraticData,
    "regression": Regression,
}
"""Kinds of data and their options."""

DIGITS_TOTAL = 1797
"""Samples of the digits data set, training and evaluation."""
HELD_OUT_EVERY = 5
"""Of the digits and of folders of images, samples 0, 5, 10 ... are held out."""


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Sizes of a data set.

    Attributes
    ----------
    name
        Its kind in `DATA`.
    samples, held_out
        Samples to train on, and to evaluate on.
    input_shape
        Of one sample: (channels, rows, columns) of an image, (tokens,) of a sequence, (elements,) of a vector.
    outputs
        Classes to tell apart, elements of a target vector, or kinds of tokens.
    kind
        "classification" (cross-entropy over the classes), "tokens" (the same of the next token, mean over all
        positions), "regression" (half the squared error) or "quadratic" (the model's parameters are the point itself).
    synthetic
        Were the values generated? Results on such data are labelled wherever they are shown.
    """

    name: str
    samples: int
    held_out: int
    input_shape: tuple[int, ...]
    outputs: int
    kind: DataKind
    synthetic: bool

    @property
    def input_elements(self) -> int:
        """Elements per sample of what enters the model."""
        return math.prod(self.input_shape)

    @property
    def output_elements(self) -> int:
        """Elements per sample of what leaves the model."""
        return self.outputs * (self.input_elements if self.kind == "tokens" else 1)


def build_data(kind: str, options: Mapping[str, Any]) -> DataSpec:
    """Sizes of the data of this kind with these options (`DATA`).

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown or out of range, or what `path` names is not there or is something else.
    """
    chosen = choose("data", DATA, kind, options)
    return _BUILDERS[kind](chosen)


def _digits(options: Digits) -> DataSpec:
    held_out = len(range(0, DIGITS_TOTAL, HELD_OUT_EVERY))
    return DataSpec("digits", DIGITS_TOTAL - held_out, held_out, (1, 8, 8), 10, "classification", synthetic=False)


def _cifar10(options: Cifar10) -> DataSpec:
    training, test = cifar_files(options.path)
    samples = sum(map(cifar_records, training))
    return DataSpec("cifar10", samples, cifar_records(test), (3, 32, 32), 10, "classification", synthetic=False)


def _image_folder(options: ImageFolder) -> DataSpec:
    classes, images = image_files(options.path)
    held_out = len(range(0, len(images), HELD_OUT_EVERY))
    shape = (options.channels, options.size, options.size)
    samples = len(images) - held_out
    return DataSpec("image_folder", samples, held_out, shape, len(classes), "classification", synthetic=False)


def _images(options: Images) -> DataSpec:
    held_out = max(1, options.samples // 4)
    shape = (options.channels, options.size, options.size)
    return DataSpec("images", options.samples, held_out, shape, options.classes, "classification", synthetic=True)


def _characters(options: Characters) -> DataSpec:
    text = get_text(options.path)
    _, samples, held_out = split_text(len(text), options.sequence)
    kinds = len(alphabet(text))
    if kinds < 2:
        raise ScenarioError(f"data characters: {options.path} repeats one character; give a text to learn from")
    return DataSpec("characters", samples, held_out, (options.sequence,), kinds, "tokens", synthetic=not options.path)


def _classification(options: Classification) -> DataSpec:
    held_out = max(1, options.samples // 4)
    return DataSpec(
        "classification",
        options.samples,
        held_out,
        (options.inputs,),
        options.classes,
        "classification",
        synthetic=True,
    )


def _regression(options: Regression) -> DataSpec:
    held_out = max(1, options.samples // 4)
    shape = (options.inputs,)
    return DataSpec("regression", options.samples, held_out, shape, options.outputs, "regression", synthetic=True)


def _quadratic(options: QuadraticData) -> DataSpec:
    return DataSpec("quadratic", options.samples, 0, (options.dimension,), 1, "quadratic", synthetic=True)


_BUILDERS: dict[str, Callable[[Any], DataSpec]] = {
    "characters": _characters,
    "cifar10": _cifar10,
    "classification": _classification,
    "digits": _digits,
    "image_folder": _image_folder,
    "images": _images,
    "quadratic": _quadratic,
    "regression": _regression,
}
