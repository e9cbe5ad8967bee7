"""Kernels of a model's passes, and of any function over the tensor namespace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from parasim.program.buffers import Buffer
from parasim.program.learner import Optimizer
from parasim.program.model import Part
from parasim.program.ops import Kernel
from parasim.program.tensors import CountingTensors, Shape, Tensor, Tensors

__all__ = ["Counted", "backward_kernel", "counted", "forward_kernel", "shape_of", "update_function"]


def forward_kernel(part: Part, samples: int, step: int = -1, micro: int = -1) -> Kernel:
    """Forward pass of a part on so many samples: reads parameters and inputs, writes what is stored and the outputs."""
    moved = part.parameters + samples * (part.input_elements + part.stored_elements)
    return Kernel(
        "forward", "forward", part.forward_flops * samples, moved * part.model.itemsize, part.name, step, micro
    )


def backward_kernel(part: Part, samples: int, step: int = -1, micro: int = -1) -> Kernel:
    """Backward pass: reads parameters, stored activations and output gradients; writes both gradients."""
    moved = 2 * part.parameters + samples * (2 * part.stored_elements + part.input_elements)
    return Kernel(
        "backward", "backward", part.backward_flops * samples, moved * part.model.itemsize, part.name, step, micro
    )


class Counted:
    """Cost and result shapes of a function over the tensor namespace."""

    __slots__ = ("flops", "nbytes", "result")

    def __init__(self, flops: float, nbytes: float, result: Any) -> None:
        self.flops = flops
        self.nbytes = nbytes
        self.result = result

    def kernel(self, label: str, kind: str = "elementwise") -> Kernel:
        """As a kernel."""
        return Kernel(label, kind, self.flops, self.nbytes)


def shape_of(buffer: Buffer) -> Shape:
    """The buffer's shape in the counting namespace."""
    return Shape(buffer.elements, buffer.itemsize)


@functools.lru_cache(maxsize=65536)
def counted(
    function: Callable[..., Any],
    shapes: tuple[Shape, ...],
    constants: tuple[tuple[str, Any], ...] = (),
    varying: tuple[str, ...] = (),
) -> Counted:
    """Run ``function(xp, *shapes, **constants)`` on shapes alone and count what it would cost.

    `function` is hashable and pure (module level, or a bound method of a frozen object). `varying` names arguments that
    change from call to call and don't change the cost; they are 1 here.
    """
    xp = CountingTensors(shapes[0].itemsize if shapes else 4)
    result = function(xp, *shapes, **dict(constants), **dict.fromkeys(varying, 1))
    return Counted(xp.flops, xp.nbytes, result)


@functools.lru_cache(maxsize=64)
def update_function(optimizer: Optimizer, copy: bool) -> Callable[..., Any]:
    """An optimiser's update as a function of flat operands: parameters, slots..., gradient. `copy`: it replies one."""

    def update(xp: Tensors, parameters: Tensor, *rest: Tensor, count: int, scale: float) -> Tensor | None:
        *slots, gradient = rest
        optimizer.update(xp, parameters, gradient, tuple(slots), count, scale)
        return xp.copy(parameters) if copy else None

    return update
