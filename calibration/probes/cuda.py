"""Probes of a GPU: the same points as of a core, timed by events; every observation says device "cuda".

A calibration whose profile is to describe the GPU takes these in the place of the host's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from calibration.probes.compute import end_points, layer_points, peak_points
from calibration.probes.compute_timing import CudaClock, Point, observed
from calibration.probes.optimizers import update_points
from calibration.probes.record import Observation, Skipped, Task
from calibration.probes.verbs import verb_points

__all__ = ["cuda_points", "probe_cuda"]


def probe_cuda(task: Task) -> Iterator[Observation]:
    """Peaks, layers, verbs and updates on the first GPU.

    Raises
    ------
    Skipped
        If torch finds none.
    """
    import torch

    if not torch.cuda.is_available():
        raise Skipped("torch finds no GPU")
    yield from observed("cuda", task, cuda_points("cuda"), CudaClock(torch.cuda))


def cuda_points(device: str) -> list[Point]:
    """All points, with values on this device."""
    return [
        *peak_points(device), *layer_points(device), *end_points(device), *verb_points(device), *update_points(device)
    ]  # fmt: skip
