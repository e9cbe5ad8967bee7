"""Kernels of a model's passes, and of any function over the tensor namespace."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from parasim.program.buffers import Buffer
from parasim.program.learner import Optimizer
from parasim.program.model import Part
from parasim.program.ops import Kernel, Piece
from parasim.program.passes import backward_pieces, forward_pieces, half_pieces, pass_signature
from parasim.program.shared import Shared
from parasim.program.tensors import CountingTensors, Shape, Tensor, Tensors

__all__ = [
    "Counted",
    "backward_kernel",
    "counted",
    "counted_of",
    "forward_kernel",
    "half_kernel",
    "read_kernel",
    "shape_of",
    "update_function",
    "wrapped",
    "write_kernels",
]

_KEPT = 64
"""Steps of which kernels are kept."""
_LINE = 64
"""Bytes of a cache line."""


def forward_kernel(part: Part, samples: int, step: int = -1, micro: int = -1) -> Kernel:
    """Forward pass of a part on so many samples: reads parameters and inputs, writes what is stored and the outputs."""
    key = ("forward", part.start, part.stop, samples)
    found = part.model.kernels.get(key)
    if found is None:
        moved = part.parameters + samples * (part.input_elements + part.stored_elements)
        found = part.model.kernels[key] = Kernel(
            "forward",
            "forward",
            part.forward_flops * samples,
            moved * part.model.itemsize,
            part.name,
            pieces=forward_pieces(part, samples),
            signature=pass_signature(part, "forward"),
            size=samples,
        )
    return _of(part.model.kernels, key, found, step, micro)


def backward_kernel(part: Part, samples: int, step: int = -1, micro: int = -1) -> Kernel:
    """Backward pass: reads parameters, stored activations and output gradients; writes both gradients."""
    key = ("backward", part.start, part.stop, samples)
    found = part.model.kernels.get(key)
    if found is None:
        moved = 2 * part.parameters + samples * (2 * part.stored_elements + part.input_elements)
        found = part.model.kernels[key] = Kernel(
            "backward",
            "backward",
            part.backward_flops * samples,
            moved * part.model.itemsize,
            part.name,
            pieces=backward_pieces(part, samples),
            signature=pass_signature(part, "backward"),
            size=samples,
        )
    return _of(part.model.kernels, key, found, step, micro)


def half_kernel(
    part: Part, samples: int, half: Literal["inputs", "weights"], step: int = -1, micro: int = -1
) -> Kernel:
    """The half of a backward pass that finds gradients of inputs, or of weights; both take what a whole pass does."""
    key = (half, part.start, part.stop, samples)
    found = part.model.kernels.get(key)
    if found is None:
        pieces = half_pieces(part, samples, half)
        flops, moved = (math.fsum(getattr(p, name) * p.count for p in pieces) for name in ("flops", "nbytes"))
        found = part.model.kernels[key] = Kernel(
            f"backward {half}", "backward", flops, moved, part.name, pieces=pieces, size=samples
        )
    return _of(part.model.kernels, key, found, step, micro)


def read_kernel(shared: Shared, part: int) -> Kernel:
    """Copying a part of a shared vector into private memory."""
    return _access(shared, part, "read", 2)


def write_kernels(shared: Shared, part: int, atomic: bool, stolen: bool = False) -> tuple[Kernel, ...]:
    """Adding to a part of a shared vector: at once, or reading and adding, then writing back.

    `stolen`: another core wrote the part last, so that the write fetches its cache lines from there (SCHEMES S14.5).
    """
    lines = -(-shared.nbytes(part) // _LINE) if stolen else 0
    if atomic:
        return (_access(shared, part, "add", 3, 1, lines),)
    return _access(shared, part, "add", 2, 1), _access(shared, part, "write", 1, 0, lines)


def _access(shared: Shared, part: int, label: str, passes: int, flops: int = 0, lines: int = 0) -> Kernel:
    nbytes = shared.nbytes(part)
    return Kernel(label, "shared", flops * nbytes / shared.itemsize, passes * nbytes, shared.name, lines=lines)


def _of(kernels: dict[tuple[object, ...], Kernel], key: tuple[object, ...], k: Kernel, step: int, micro: int) -> Kernel:
    """The kernel of one step and micro-batch; the latest are kept, as many actors ask for the same.

    A step that is no plain number stands for more than one: its kernel is nobody else's.
    """
    own = None
    if type(step) is int:
        own = (key, micro, step % _KEPT)
        kept = kernels.get(own)
        if kept is not None and kept.step == step:
            return kept
    kernel = Kernel(k.label, k.kind, k.flops, k.nbytes, k.layer, step, micro, k.pieces, k.signature, k.size)
    if own is not None:
        kernels[own] = kernel
    return kernel


class Counted:
    """Cost and result shapes of a function over the tensor namespace.

    `verbs` are its steps, as pieces by verb; `size` is the elements of its first operand.
    """

    __slots__ = ("_kernels", "flops", "nbytes", "result", "size", "verbs")

    def __init__(self, flops: float, nbytes: float, result: Any, verbs: tuple[Piece, ...] = (), size: int = 0) -> None:
        self.flops = flops
        self.nbytes = nbytes
        self.result = result
        self.verbs = verbs
        self.size = size
        self._kernels: dict[tuple[str, str], Kernel] = {}

    def kernel(self, label: str, kind: str = "elementwise") -> Kernel:
        """As a kernel: always the same one.

        The verbs of an update, whose operands are all of one size, are an exact signature.
        """
        kernel = self._kernels.get((label, kind))
        if kernel is None:
            pieces = tuple([replace(verb, kind=f"{kind}/{verb.kind}") for verb in self.verbs])
            signature = _signature(self.verbs, self.size) if kind == "update" else ""
            kernel = self._kernels[label, kind] = Kernel(
                label, kind, self.flops, self.nbytes, pieces=pieces, signature=signature, size=self.size
            )
        return kernel


def _signature(verbs: tuple[Piece, ...], size: int) -> str:
    """Each verb with FLOP and bytes per element: numbers of other types, and scaled additions, are told apart."""
    words = [
        f"{f'{verb.count} x ' if verb.count > 1 else ''}{verb.kind} {verb.flops / size:g} FLOP {verb.nbytes / size:g} B"
        for verb in verbs
        if size
    ]
    return f"{', '.join(words)}/update" if words else ""


class _Watched:
    """A counting namespace that notes what each verb adds to the count."""

    def __init__(self, xp: CountingTensors) -> None:
        self._xp = xp
        self.steps: Counter[tuple[str, float, float]] = Counter()

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._xp, name)
        if not callable(verb):
            return verb

        def call(*operands: Any, **more: Any) -> Any:
            flops, nbytes = self._xp.flops, self._xp.nbytes
            result = verb(*operands, **more)
            self.steps[name, self._xp.flops - flops, self._xp.nbytes - nbytes] += 1
            return result

        return call


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
    watched = _Watched(xp)
    result = function(watched, *shapes, **dict(constants), **dict.fromkeys(varying, 1))
    verbs = [Piece(verb, "", flops, nbytes, count) for (verb, flops, nbytes), count in watched.steps.items()]
    return Counted(xp.flops, xp.nbytes, result, tuple(verbs), shapes[0].elements if shapes else 0)


@functools.lru_cache(maxsize=65536)
def counted_of(
    function: Callable[..., Any],
    sizes: tuple[tuple[int, int], ...],
    constants: tuple[tuple[str, Any], ...],
    varying: tuple[str, ...],
) -> Counted:
    """:func:`counted` for operands of these elements and bytes per element, found sooner than by shapes."""
    return counted(function, tuple([Shape(*size) for size in sizes]), constants, varying)


@functools.lru_cache(maxsize=1024)
def update_function(
    optimizer: Optimizer, copy: bool, correct: Callable[..., Tensor] | None = None
) -> Callable[..., Any]:
    """An optimiser's update as a function of flat operands: parameters, slots..., beside..., gradient.

    `copy`: it replies a copy of the parameters. ``correct(xp, gradient, parameters, *beside)`` replies what is applied
    in the gradient's place; it may change what is beside. `count` is the update's number, `step` where the run is.
    """
    num_slots = len(optimizer.slots)

    def update(
        xp: Tensors, parameters: Tensor, *rest: Tensor, count: int, scale: float, step: float = 0.0
    ) -> Tensor | None:
        slots, beside, gradient = rest[:num_slots], rest[num_slots:-1], rest[-1]
        if correct is not None:
            gradient = correct(xp, gradient, parameters, *beside)
        optimizer.at(step).update(xp, parameters, gradient, slots, count, scale)
        return xp.copy(parameters) if copy else None

    return update


def wrapped(label: str, shapes: Any, values: Any) -> Any:
    """Buffers in the structure of `shapes`, with `values` if there are any."""
    if shapes is None:
        return None
    if isinstance(shapes, Shape):
        return Buffer(label, shapes.elements, shapes.itemsize, values)
    carried: Iterator[Any] = iter([None] * len(shapes) if values is None else values)
    return tuple(wrapped(label, shape, value) for shape, value in zip(shapes, carried, strict=True))
