"""Probes of every verb of the tensor namespace (parasim/program/tensors.py) over sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from calibration.probes.compute_timing import CpuClock, Point, observed
from calibration.probes.record import Observation, Task
from parasim.program.tensors import CountingTensors, Shape

__all__ = ["COMMON", "LARGEST", "SIZES", "VERBS", "probe_verbs", "verb_points"]

SIZES = (1, 16_384, 1_048_576)
"""Elements of the vectors."""

LARGEST = 16_777_216
"""Elements to which the verbs are timed that work on whole models: `COMMON`."""
COMMON = frozenset({"zeros", "copy", "copy_", "add_", "scale_", "fill_", "maximum_"})

_KEPT = 64
"""One element in so many is chosen, gathered and scattered, as sparse messages do."""
_COLUMNS = 4
"""Of the matrices, which are as tall as can be: those of low-rank compression."""

Call = Callable[[Any, Mapping[str, Any]], object]


def _rows(operands: Mapping[str, Any]) -> int:
    """Rows of the largest matrix with `_COLUMNS` columns."""
    return max(_COLUMNS, int(operands["size"]) // _COLUMNS)


VERBS: Mapping[str, Call] = {
    "zeros": lambda xp, o: xp.zeros(o["size"]),
    "zeros_like": lambda xp, o: xp.zeros_like(o["x"]),
    "copy": lambda xp, o: xp.copy(o["x"]),
    "concatenate": lambda xp, o: xp.concatenate([o["x"], o["y"]]),
    "cast": lambda xp, o: xp.cast(o["x"], "float64"),
    "copy_": lambda xp, o: xp.copy_(o["x"], o["y"]),
    "add_": lambda xp, o: xp.add_(o["x"], o["y"], 0.5),
    "scale_": lambda xp, o: xp.scale_(o["x"], 0.999),
    "fill_": lambda xp, o: xp.fill_(o["x"], 0.5),
    "maximum_": lambda xp, o: xp.maximum_(o["x"], o["y"]),
    "add": lambda xp, o: xp.add(o["x"], o["y"], 0.5),
    "multiply": lambda xp, o: xp.multiply(o["x"], o["y"]),
    "divide": lambda xp, o: xp.divide(o["x"], o["y"]),
    "sqrt": lambda xp, o: xp.sqrt(o["y"]),
    "absolute": lambda xp, o: xp.absolute(o["x"]),
    "sign": lambda xp, o: xp.sign(o["x"]),
    "floor": lambda xp, o: xp.floor(o["x"]),
    "clip": lambda xp, o: xp.clip(o["x"], 0.25, 0.75),
    "greater": lambda xp, o: xp.greater(o["x"], o["y"]),
    "where": lambda xp, o: xp.where(o["mask"], o["x"], o["y"]),
    "uniform": lambda xp, o: xp.uniform(o["x"], o["draws"], "probe", 0),
    "sum": lambda xp, o: xp.sum(o["x"]),
    "maximum": lambda xp, o: xp.maximum(o["x"]),
    "norm": lambda xp, o: xp.norm(o["x"]),
    "dot": lambda xp, o: xp.dot(o["x"], o["y"]),
    "indices": lambda xp, o: xp.indices(o["sparse"], o["few"]),
    "choose": lambda xp, o: xp.choose(o["x"], o["few"], o["draws"], "probe", 0),
    "top_k": lambda xp, o: xp.top_k(o["x"], o["few"]),
    "take": lambda xp, o: xp.take(o["x"], o["indices"]),
    "put_": lambda xp, o: xp.put_(o["x"], o["indices"], o["values"]),
    "add_at_": lambda xp, o: xp.add_at_(o["x"], o["indices"], o["values"]),
    "pack_bits": lambda xp, o: xp.pack_bits(o["mask"]),
    "unpack_bits": lambda xp, o: xp.unpack_bits(o["packed"], o["size"]),
    "pack_integers": lambda xp, o: xp.pack_integers(o["bytes"], 4),
    "unpack_integers": lambda xp, o: xp.unpack_integers(o["nibbles"], o["size"], 4),
    "bytes_of": lambda xp, o: xp.bytes_of([o["x"], o["indices"]]),
    "from_bytes": lambda xp, o: xp.from_bytes(o["four"], "float32"),
    "sum_rows": lambda xp, o: xp.sum_rows(o["tall"], _rows(o), _COLUMNS),
    "sum_columns": lambda xp, o: xp.sum_columns(o["tall"], _rows(o), _COLUMNS),
    "maximum_rows": lambda xp, o: xp.maximum_rows(o["tall"], _rows(o), _COLUMNS),
    "spread_rows": lambda xp, o: xp.spread_rows(o["values"], _KEPT),
    "spread_columns": lambda xp, o: xp.spread_columns(o["values"], _KEPT),
    "matmul": lambda xp, o: xp.matmul(o["tall"], o["square"], _rows(o), _COLUMNS, _COLUMNS),
    "transpose": lambda xp, o: xp.transpose(o["tall"], _rows(o), _COLUMNS),
    "orthonormalise": lambda xp, o: xp.orthonormalise(o["tall"], _rows(o), _COLUMNS),
}
"""A call of each verb; what it works on is made by :func:`_shapes`, and by :func:`_values` in the same words."""


def probe_verbs(task: Task) -> Iterator[Observation]:
    """Every verb at every size, on vectors that the caches hold if they can."""
    yield from observed("verbs", task, verb_points("cpu"), CpuClock())


def verb_points(device: str) -> list[Point]:
    """Each verb and size, with the FLOP and bytes that simulation counts."""
    points = []
    for size in (*SIZES, LARGEST):
        for verb, call in VERBS.items():
            if size == LARGEST and verb not in COMMON:
                continue
            cost = CountingTensors()
            call(cost, _shapes(size))
            parameters = {"flops": cost.flops, "nbytes": cost.nbytes, "elements": size}

            def make(call: Call = call, size: int = size) -> Callable[[], object]:
                xp, operands = _values(size, device)
                return lambda: call(xp, operands)

            points.append(Point(verb, parameters, make))
    return points


def _shapes(size: int) -> dict[str, Any]:
    """Operands as shapes, for counting."""
    few = max(1, size // _KEPT)
    x, mask, packed = Shape(size, 4), Shape(size, 1), Shape((size + 7) // 8, 1)
    nibbles, four = Shape((size + 1) // 2, 1), Shape(4 * size, 1)
    tall = Shape(max(_COLUMNS, size // _COLUMNS) * _COLUMNS, 4)
    return {
        "size": size, "x": x, "y": x, "mask": mask, "packed": packed, "few": few, "indices": Shape(few, 4),
        "values": Shape(few, 4), "tall": tall, "square": Shape(_COLUMNS**2, 4), "draws": None, "sparse": mask,
        "bytes": mask, "nibbles": nibbles, "four": four,
    }  # fmt: skip


@functools.lru_cache(1)
def _values(size: int, device: str) -> tuple[Any, dict[str, Any]]:
    """The same operands as tensors; verbs of one size share them, as making them takes longer than most verbs."""
    import torch

    from parasim.learning.tensors import TorchTensors
    from parasim.program.draws import Draws

    xp = TorchTensors("float32", device)
    generator = torch.Generator(device).manual_seed(1)

    def vector(elements: int) -> Any:
        return torch.rand(elements, generator=generator, device=device)

    few = max(1, size // _KEPT)
    x, y = vector(size), vector(size)
    mask = x > y
    indices = torch.randint(size, (few,), generator=generator, device=device, dtype=torch.int32)
    integers = torch.randint(16, (size,), generator=generator, device=device, dtype=torch.uint8)
    tall, square = vector(max(_COLUMNS, size // _COLUMNS) * _COLUMNS), vector(_COLUMNS**2)
    return xp, {
        "size": size, "x": x, "y": y, "mask": mask, "packed": xp.pack_bits(mask), "few": few, "indices": indices,
        "values": vector(few), "tall": tall, "square": square, "draws": Draws(0), "sparse": x > 1 - 1 / _KEPT,
        "bytes": integers, "nibbles": xp.pack_integers(integers, 4), "four": xp.bytes_of([x]),
    }  # fmt: skip
