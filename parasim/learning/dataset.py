"""A data set as tensors, and the order in which its samples are used."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parasim.program.draws import Draws
from parasim.workload.data import DataSpec

__all__ = ["DataSet", "Pixels", "Sampler"]

_EPOCHS_KEPT = 8
_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """How bytes become numbers, each channel its own way: ``(byte - mean) / deviation``.

    Attributes
    ----------
    mean, deviation
        Of all pixels of the training samples (a deviation of zero counts as one); shape (channels, 1).
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, images: torch.Tensor, channels: int, dtype: torch.dtype) -> Pixels:
        """Mean and deviation of images, a row of bytes each, channel by channel."""
        count = images.numel() // channels
        total, squares = torch.zeros(2, channels, dtype=torch.float64)  # whole numbers below 2**53: no order matters
        for some in torch.split(images, _IMAGES_AT_ONCE):
            values = some.view(len(some), channels, -1).double()
            total += values.sum((0, 2))
            squares += values.square_().sum((0, 2))
        mean = total / count
        deviation = (squares / count - mean**2).clamp_(min=0).sqrt_()
        deviation[deviation == 0] = 1.0
        return cls(mean.to(dtype).view(-1, 1), deviation.to(dtype).view(-1, 1))

    def numbers(self, images: torch.Tensor) -> torch.Tensor:
        """Rows of numbers for rows of bytes."""
        values = images.view(len(images), len(self.mean), -1).to(self.mean.dtype)
        return values.sub_(self.mean).div_(self.deviation).view(len(images), -1)


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Values of a data set: a row per sample.

    Attributes
    ----------
    inputs, targets
        Training samples. Inputs are numbers, tokens (int64), or bytes if there are `pixels`; targets are class labels
        (int64), a label per token, or output vectors.
    held_out_inputs, held_out_targets
        Samples for evaluation.
    hessian, optimum
        Of quadratic data: the matrix H and the point w*; None otherwise.
    pixels
        Of images kept as bytes: how they become numbers.
    """

    spec: DataSpec
    inputs: torch.Tensor
    targets: torch.Tensor
    held_out_inputs: torch.Tensor
    held_out_targets: torch.Tensor
    hessian: torch.Tensor | None = None
    optimum: torch.Tensor | None = None
    pixels: Pixels | None = None

    def to(self, device: torch.device) -> DataSet:
        """The same values on a device; those that are there already are shared."""

        def moved(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else values.to(device)

        pixels = self.pixels
        return DataSet(
            self.spec,
            self.inputs.to(device),
            self.targets.to(device),
            self.held_out_inputs.to(device),
            self.held_out_targets.to(device),
            moved(self.hessian),
            moved(self.optimum),
            None if pixels is None else Pixels(pixels.mean.to(device), pixels.deviation.to(device)),
        )

    def ready(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of `inputs` or `held_out_inputs` as a model takes them."""
        return rows if self.pixels is None else self.pixels.numbers(rows)


class Sampler:
    """The endless sequence of epochs, each a permutation of all samples keyed by (seed, epoch).

    Mini-batch `step` of b samples is positions ``step * b`` to ``(step + 1) * b - 1`` of the sequence (SCHEMES 0.5).
    Sample numbers are on `device`; they do not depend on it. `bagged`: all samples are as many that are drawn from them
    with replacement, once.
    """

    def __init__(self, samples: int, seed: int, device: torch.device | None = None, bagged: bool = False) -> None:
        self._samples = samples
        self._bag = Draws(seed).generator("bag").integers(0, samples, samples) if bagged else None
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
            places = self._draws.generator("samples", step=epoch).permutation(self._samples)
            order = torch.from_numpy(places if self._bag is None else self._bag[places]).to(self._device)
            while len(self._epochs) >= _EPOCHS_KEPT:
                self._epochs.pop(next(iter(self._epochs)), None)
            self._epochs[epoch] = order
        return order
