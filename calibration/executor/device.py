"""The one seam between CPU and GPU: where a rank's tensors live, and how they get to the wire and back.

gloo moves CPU memory only, so values on a GPU go through pinned copies. On the CPU every step is a view.

CUDA is asked for in ranks only, never in the process they are forked from: a process that has initialised CUDA can't be
forked. What is said here of GPUs has not been run on one yet.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from parasim.errors import ExecutionError

__all__ = ["NO_GPU", "CpuDevice", "CudaDevice", "StagedDevice", "choose_device", "current_device"]

_cuda: Any = torch.cuda  # partly untyped
NO_GPU = -1.0
"""The identity of a device that is no GPU."""


class CpuDevice:
    """Memory is on the wire's side already.

    Attributes
    ----------
    gpu
        The GPU, if it is one.
    identity
        A number that no other GPU of the run has; exact as a float.
    """

    gpu: torch.device | None = None
    identity = NO_GPU

    def to_wire(self, values: torch.Tensor) -> torch.Tensor:
        """The bytes of a flat tensor, as a CPU tensor that stays as it is while the message travels."""
        return values.contiguous().view(torch.uint8)

    def landing(self, like: torch.dtype, elements: int, into: torch.Tensor | None) -> torch.Tensor:
        """A flat CPU tensor for a payload: the memory of `into` itself if its type fits and it has no gaps."""
        if into is not None and into.dtype == like and into.is_contiguous():
            return into
        return torch.empty(elements, dtype=like)

    def landed(self, values: torch.Tensor, into: torch.Tensor | None) -> torch.Tensor:
        """What has landed, where it belongs."""
        if into is None or into is values:
            return values
        return into.copy_(values)

    def synchronize(self) -> None:
        """Return when all work given to the device has been done."""


class StagedDevice(CpuDevice):
    """Memory of its own: payloads pass through CPU memory that :meth:`staging` makes. All values must live there."""

    def staging(self, dtype: torch.dtype, elements: int) -> torch.Tensor:
        """CPU memory that the device copies fast to and from."""
        raise NotImplementedError

    def place(self, values: torch.Tensor) -> torch.Tensor:
        """A new tensor on the device."""
        raise NotImplementedError

    def to_wire(self, values: torch.Tensor) -> torch.Tensor:
        """A copy."""
        return self.staging(values.dtype, values.numel()).copy_(values).view(torch.uint8)

    def landing(self, like: torch.dtype, elements: int, into: torch.Tensor | None) -> torch.Tensor:
        """Staging memory, whatever the payload is for."""
        return self.staging(like, elements)

    def landed(self, values: torch.Tensor, into: torch.Tensor | None) -> torch.Tensor:
        """Copied to the device."""
        return self.place(values) if into is None else into.copy_(values)


class CudaDevice(StagedDevice):
    """A GPU: this rank's own, or shared with others if there are fewer GPUs than ranks."""

    def __init__(self, index: int) -> None:
        self.gpu = torch.device("cuda", index)
        torch.cuda.set_device(self.gpu)
        uuid = str(torch.cuda.get_device_properties(self.gpu).uuid)
        self.identity = float(int.from_bytes(hashlib.sha256(uuid.encode()).digest()[:6], "big"))

    def staging(self, dtype: torch.dtype, elements: int) -> torch.Tensor:
        """Pinned memory."""
        return torch.empty(elements, dtype=dtype, pin_memory=True)

    def place(self, values: torch.Tensor) -> torch.Tensor:
        """A copy on the GPU."""
        return values.to(self.gpu)

    def synchronize(self) -> None:
        """Wait for the stream that this thread's work went to."""
        torch.cuda.current_stream(self.gpu).synchronize()


def choose_device(wanted: str, local_rank: int) -> CpuDevice:
    """The device of the rank with this number on its machine, made the current one; `wanted`: "auto", "cpu" or "cuda".

    Raises
    ------
    ExecutionError
        If a GPU is wanted and there is none, or `wanted` is something else.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ExecutionError(f"there is no device {wanted!r}; use auto, cpu or cuda")
    if wanted == "cpu" or not (wanted == "cuda" or torch.cuda.is_available()):
        return CpuDevice()
    count = torch.cuda.device_count()
    if not count:
        raise ExecutionError("device 'cuda' is wanted, but torch finds no GPU on this machine; use auto or cpu")
    return CudaDevice(local_rank % count)


def current_device() -> str:
    """Where new values go: "cpu", or the GPU that :func:`choose_device` made the current one ("cuda:1")."""
    return f"cuda:{torch.cuda.current_device()}" if _cuda.is_initialized() else "cpu"
