"""The one seam between CPU and CUDA: where a rank's tensors live, and how they get to the wire and back.

gloo moves CPU memory only, so values on a GPU go through pinned copies. On the CPU every step is a view.
"""

from __future__ import annotations

from typing import Any

import torch

cuda: Any = torch.cuda  # partly untyped

__all__ = ["CpuDevice", "CudaDevice", "choose_device"]


class CpuDevice:
    """The placeholder: memory is on the wire's side already."""

    cuda = False

    def to_wire(self, values: torch.Tensor) -> torch.Tensor:
        """The bytes of a flat tensor, as a CPU tensor that stays as it is while the message travels."""
        return values.contiguous().view(torch.uint8)

    def landing(self, like: torch.dtype, elements: int, into: torch.Tensor | None) -> torch.Tensor:
        """A flat CPU tensor for a payload: the memory of `into` itself if its type fits and it has no gaps."""
        if into is not None and into.dtype == like and into.is_contiguous() and into.device.type == "cpu":
            return into
        return torch.empty(elements, dtype=like)

    def landed(self, values: torch.Tensor, into: torch.Tensor | None) -> torch.Tensor:
        """What has landed, where it belongs."""
        if into is None or into is values:
            return values
        return into.copy_(values)

    def synchronize(self) -> None:
        """Return when all work given to the device has been done."""


class CudaDevice(CpuDevice):
    """One GPU of this rank's own, or shared with others if there are fewer GPUs than ranks."""

    cuda = True

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)
        torch.cuda.set_device(self.device)

    def to_wire(self, values: torch.Tensor) -> torch.Tensor:
        """A pinned copy."""
        if not values.is_cuda:
            return super().to_wire(values)
        pinned = torch.empty(values.numel(), dtype=values.dtype, pin_memory=True)
        pinned.copy_(values)
        return pinned.view(torch.uint8)

    def landing(self, like: torch.dtype, elements: int, into: torch.Tensor | None) -> torch.Tensor:
        """Pinned memory, unless `into` is the CPU's."""
        if into is not None and not into.is_cuda:
            return super().landing(like, elements, into)
        return torch.empty(elements, dtype=like, pin_memory=True)

    def landed(self, values: torch.Tensor, into: torch.Tensor | None) -> torch.Tensor:
        """Copied to the GPU."""
        if into is None:
            return values.to(self.device)
        return super().landed(values, into)

    def synchronize(self) -> None:
        """Wait for an event at the end of the work."""
        event = cuda.Event()
        event.record()
        event.synchronize()


def choose_device(local_rank: int) -> CpuDevice:
    """The GPU of this rank, or the CPU if there is none."""
    if torch.cuda.is_available():
        return CudaDevice(local_rank % torch.cuda.device_count())
    return CpuDevice()
