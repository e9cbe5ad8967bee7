"""Loads data sets of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parasim.learning.dataset import DataSet
from parasim.learning.pictures import load_cifar10, load_digits, load_image_folder, load_images
from parasim.learning.problems import draw_classification, draw_quadratic, draw_regression
from parasim.workload.choice import choose
from parasim.workload.data import DATA, DataSpec, build_data
from parasim.workload.data_options import Characters
from parasim.workload.texts import alphabet, get_text, split_text

__all__ = ["load_data"]


def load_data(kind: str, options: Mapping[str, Any], dtype: torch.dtype) -> DataSet:
    """Values of the data that `parasim.workload.build_data` describes.

    Raises
    ------
    ScenarioError
        As `build_data`, or if a file holds something else than it should.
    """
    spec = build_data(kind, options)
    return _LOADERS[kind](spec, choose("data", DATA, kind, options), dtype)


def _load_characters(spec: DataSpec, options: Characters, dtype: torch.dtype) -> DataSet:
    """Characters as their places in the alphabet; the targets are the characters that follow."""
    text = get_text(options.path)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.frombuffer(alphabet(text).encode("utf-32-le"), np.uint32)
    tokens = torch.from_numpy(np.searchsorted(known, codes))
    start, samples, held_out = split_text(len(text), options.sequence)

    def pieces(first: int, count: int) -> torch.Tensor:
        return tokens[first : first + count * options.sequence].view(count, options.sequence)

    return DataSet(spec, pieces(0, samples), pieces(1, samples), pieces(start, held_out), pieces(start + 1, held_out))


_LOADERS: dict[str, Callable[[DataSpec, Any, torch.dtype], DataSet]] = {
    "characters": _load_characters,
    "cifar10": load_cifar10,
    "classification": draw_classification,
    "digits": load_digits,
    "image_folder": load_image_folder,
    "images": load_images,
    "quadratic": draw_quadratic,
    "regression": draw_regression,
}
