"""Images as tensors: digits, CIFAR-10, folders, and synthetic stand-ins. A row per image: channel by channel."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parasim.errors import ScenarioError
from parasim.learning.dataset import DataSet, Pixels
from parasim.program.draws import Draws
from parasim.workload.data import HELD_OUT_EVERY, DataSpec
from parasim.workload.data_options import Cifar10, Digits, ImageFolder, Images
from parasim.workload.folders import CIFAR_PIXELS, cifar_files, cifar_records, image_files

__all__ = ["load_cifar10", "load_digits", "load_image_folder", "load_images"]

_BLOCKS = 4
"""Blocks of colour along a side of a synthetic image."""


def load_digits(spec: DataSpec, options: Digits, dtype: torch.dtype) -> DataSet:
    """Grey values from 0 to 1, as scikit-learn has them."""
    images, labels = _digits_arrays()
    held_out = _held_out(len(images))
    inputs, targets = torch.from_numpy(images / 16.0).to(dtype), torch.from_numpy(labels).long()
    return DataSet(spec, inputs[~held_out], targets[~held_out], inputs[held_out], targets[held_out])


@functools.cache
def _digits_arrays() -> tuple[Any, Any]:
    """Read images (values 0 to 16) and labels from scikit-learn."""
    from sklearn.datasets import load_digits as read

    images, labels = read(return_X_y=True)
    return images, labels


def load_cifar10(spec: DataSpec, options: Cifar10, dtype: torch.dtype) -> DataSet:
    """Bytes of the files, standardised when used.

    Raises
    ------
    ScenarioError
        If a label is no class.
    """
    training, test = cifar_files(options.path)
    return _of_bytes(spec, *_cifar_batches(training), *_cifar_batches([test]), dtype)


def _cifar_batches(files: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of some files."""
    counts = [cifar_records(file) for file in files]
    images = np.empty((sum(counts), CIFAR_PIXELS), np.uint8)
    labels = np.empty(len(images), np.int64)
    first = 0
    for file, count in zip(files, counts, strict=True):
        records = np.fromfile(file, np.uint8).reshape(count, -1)
        labels[first : first + count] = records[:, 0]
        images[first : first + count] = records[:, 1:]
        first += count
        if (most := int(records[:, 0].max())) > 9:
            raise ScenarioError(f"data cifar10: {file} has an image of class {most}, not 0 to 9; unpack it again")
    return torch.from_numpy(images), torch.from_numpy(labels)


def load_image_folder(spec: DataSpec, options: ImageFolder, dtype: torch.dtype) -> DataSet:
    """Bytes of the files, resized (bilinear, without keeping the ratio of the sides), standardised when used.

    Raises
    ------
    ScenarioError
        If a file can't be read as an image.
    """
    _, files = image_files(options.path)
    images = torch.stack([_read_image(file, options) for file, _ in files])
    labels = torch.tensor([label for _, label in files])
    held_out = _held_out(len(files))
    return _of_bytes(spec, images[~held_out], labels[~held_out], images[held_out], labels[held_out], dtype)


def _read_image(file: Path, options: ImageFolder) -> torch.Tensor:
    try:
        from PIL import Image
    except ImportError:
        raise ScenarioError("data image_folder: Pillow is not installed; install it: pip install pillow") from None
    try:
        with Image.open(file, formats=["PNG", "JPEG"]) as opened:
            image = opened.convert("L" if options.channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        what = " ".join(str(error).split())
        raise ScenarioError(f"data image_folder: {file} can't be read as an image ({what}); replace it") from None
    pixels = np.asarray(image.resize((options.size, options.size), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.reshape(options.size, options.size, -1).transpose(2, 0, 1).copy()).view(-1)


def load_images(spec: DataSpec, options: Images, dtype: torch.dtype) -> DataSet:
    """Class c is at place c, c + classes ...; the same numbers in every type, rounded."""
    generator = Draws(options.seed).generator("data", label="images")
    coarse = generator.standard_normal((options.classes, options.channels, _BLOCKS, _BLOCKS), dtype=np.float32)
    block = np.arange(options.size) * _BLOCKS // options.size
    patterns = coarse[:, :, block][:, :, :, block].reshape(options.classes, -1)
    labels = np.arange(spec.samples + spec.held_out) % options.classes
    values = generator.standard_normal((len(labels), patterns.shape[1]), dtype=np.float32)
    values *= np.float32(options.noise)
    values += patterns[labels]
    inputs, targets = torch.from_numpy(values).to(dtype), torch.from_numpy(labels)
    train = spec.samples
    return DataSet(spec, inputs[:train], targets[:train], inputs[train:], targets[train:])


def _held_out(count: int) -> torch.Tensor:
    """Which samples are held out, as a mask."""
    return torch.arange(count) % HELD_OUT_EVERY == 0


def _of_bytes(
    spec: DataSpec,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    held_out_inputs: torch.Tensor,
    held_out_targets: torch.Tensor,
    dtype: torch.dtype,
) -> DataSet:
    pixels = Pixels.of(inputs, spec.input_shape[0], dtype)
    return DataSet(spec, inputs, targets, held_out_inputs, held_out_targets, pixels=pixels)
