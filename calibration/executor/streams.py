"""Native collectives: the backend's own, a process group for each group of ranks and lane."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from calibration.executor.backend import Group
from calibration.executor.device import NO_GPU, CpuDevice
from parasim.program.buffers import Buffer
from parasim.program.collectives.algorithms import ALGORITHMS, check, cuts, cuts_in
from parasim.program.ops import Collective

__all__ = ["Stream"]

_SCRATCH = {1: torch.uint8, 2: torch.float16, 4: torch.float32, 8: torch.float64}
"""What stands for elements of so many bytes where no values are carried."""
_LIKE = dict(reversed(ALGORITHMS))
"""A named algorithm of each kind, whose checks of the operation hold for the native one too."""


class Stream:
    """The native collectives of one group and lane: members call them in one order, one at a time.

    Parameters
    ----------
    open_group
        Makes the process group of a name (over NCCL if a GPU is given); all members do, when the first collective is
        called or before.
    device
        Where this rank's values live. They stay there, and go over NCCL, if every member has a GPU of its own.
    """

    def __init__(
        self, name: str, size: int, open_group: Callable[[str, torch.device | None], Group], device: CpuDevice
    ) -> None:
        self.size = size
        self.begun = 0
        self.waiting = False
        self._name = name
        self._open = open_group
        self._device = device
        self._group: Group | None = None
        self._nccl: Group | None = None
        self._scratch: dict[torch.dtype, torch.Tensor] = {}

    def open(self) -> Group:
        """Make the process groups, unless that is done."""
        if self._group is None:
            group = self._open(self._name, None)
            gpus = {identity for (identity,) in group.exchange([self._device.identity])} - {NO_GPU}
            if len(gpus) == self.size:
                self._nccl = self._open(f"{self._name}/nccl", self._device.gpu)
            self._group = group
        return self._group

    def run(self, op: Collective, t_post: float, now: Callable[[], float]) -> tuple[float, float, Any]:
        """Take part: when the last member had come, when it was done, and the reply.

        The last member's time is found by a reduction of 8 bytes ahead, so that waiting is not taken for communication.
        """
        group = self.open()
        check(replace(op, algorithm=_LIKE.get(op.kind, "native")), group.index)
        start = group.latest(t_post)
        if op.buffer is None:
            return start, now(), None
        tensor = self._staged(op.buffer, group)
        reply = self._reply(op, op.buffer, tensor, group if tensor.is_cpu or self._nccl is None else self._nccl)
        if op.buffer.carries_values and op.kind != "all_to_all" and tensor is not op.buffer.values:
            op.buffer.values.copy_(tensor)
        return start, now(), reply

    def _staged(self, buffer: Buffer, group: Group) -> torch.Tensor:
        values = buffer.values
        if values is None:
            return self._zeros(buffer.elements, _SCRATCH.get(buffer.itemsize, torch.float32))
        staged: torch.Tensor = values if self._nccl is not None else values.cpu()
        return staged

    def _zeros(self, elements: int, dtype: torch.dtype) -> torch.Tensor:
        """The same memory every time, as a gradient has it; zeros stay zeros in every collective."""
        if elements > len(self._scratch.get(dtype, ())):
            self._scratch[dtype] = torch.zeros(elements, dtype=dtype)
        return self._scratch[dtype][:elements]

    def _reply(self, op: Collective, buffer: Buffer, tensor: torch.Tensor, group: Group) -> Any:
        if op.kind == "all_reduce":
            group.all_reduce(tensor, op.reduce)
        elif op.kind == "broadcast":
            group.broadcast(tensor, op.root)
        elif op.kind == "all_gather":
            group.all_gather(tensor, cuts(op))
        elif op.kind == "reduce_scatter":
            pieces = cuts(op)
            group.reduce_scatter(tensor, pieces, op.reduce)
            return buffer.part(pieces[group.index], pieces[group.index + 1])
        else:
            return self._all_to_all(op, buffer, tensor, group)
        return None

    def _all_to_all(self, op: Collective, buffer: Buffer, tensor: torch.Tensor, group: Group) -> Buffer:
        counts, counts_in = _sizes(cuts(op)), _sizes(cuts_in(op, group.index))
        out = tensor.new_empty(sum(counts_in))
        group.all_to_all(out, tensor.contiguous(), counts_in, counts)
        values = out.to(buffer.values.device) if buffer.carries_values else None
        return Buffer(buffer.name, len(out), buffer.itemsize, values)


def _sizes(points: list[int]) -> list[int]:
    return [stop - start for start, stop in itertools.pairwise(points)]
