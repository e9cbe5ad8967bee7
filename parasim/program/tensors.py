"""The tensor namespace: all that a scheme, an optimiser or a compressor does to values goes through these verbs.

`Tensors` is the interface; parasim/learning supplies it on torch. `CountingTensors` implements it on shapes alone and
counts FLOP and bytes moved, so that a function over the namespace is its own cost model: run it on shapes, read the
cost.

All tensors are flat vectors unless a verb says otherwise. Verbs that end in ``_`` write into their first argument.
A verb's cost: one FLOP per element and elementary operation; bytes of all elements read and written once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from parasim.program.draws import Draws

__all__ = ["ITEMSIZES", "CountingTensors", "Shape", "Tensor", "Tensors"]

Tensor = Any
"""An opaque tensor: of torch, or a `Shape`."""


class Tensors(Protocol):
    """The verbs. `x`, `y` are tensors of equal size or (where a float is allowed) Python scalars.

    Where `y` may be a scalar it may be a tensor of one element, which counts for every element of `x`.
    """

    # making
    def zeros(self, elements: int, dtype: str = "") -> Tensor: ...
    def zeros_like(self, x: Tensor) -> Tensor: ...
    def copy(self, x: Tensor) -> Tensor: ...
    def concatenate(self, xs: list[Tensor]) -> Tensor: ...
    def cast(self, x: Tensor, dtype: str) -> Tensor: ...

    # writing in place
    def copy_(self, into: Tensor, x: Tensor) -> None: ...
    def add_(self, into: Tensor, x: Tensor, scale: float = 1.0) -> None: ...
    def scale_(self, into: Tensor, factor: float) -> None: ...
    def fill_(self, into: Tensor, value: float) -> None: ...
    def maximum_(self, into: Tensor, x: Tensor) -> None: ...

    # elementwise
    def add(self, x: Tensor, y: Tensor | float, scale: float = 1.0) -> Tensor: ...
    def multiply(self, x: Tensor, y: Tensor | float) -> Tensor: ...
    def divide(self, x: Tensor, y: Tensor | float) -> Tensor: ...
    def sqrt(self, x: Tensor) -> Tensor: ...
    def absolute(self, x: Tensor) -> Tensor: ...
    def sign(self, x: Tensor) -> Tensor: ...
    def floor(self, x: Tensor) -> Tensor: ...
    def clip(self, x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor: ...
    def greater(self, x: Tensor, y: Tensor | float) -> Tensor: ...
    def where(self, mask: Tensor, x: Tensor | float, y: Tensor | float) -> Tensor: ...
    def uniform(self, x: Tensor, draws: Draws, purpose: str, step: int) -> Tensor:
        """Uniform draws in [0, 1), as many as `x` has elements."""

    # reductions to a tensor of one element
    def sum(self, x: Tensor) -> Tensor: ...
    def maximum(self, x: Tensor) -> Tensor: ...
    def norm(self, x: Tensor) -> Tensor: ...
    def dot(self, x: Tensor, y: Tensor) -> Tensor: ...

    # selection and packing
    def indices(self, mask: Tensor, expected: int) -> Tensor:
        """int32 indices of the elements where the mask holds, rising; `expected` is how many are counted on shapes."""

    def choose(self, x: Tensor, k: int, draws: Draws, purpose: str, step: int) -> Tensor:
        """int32 indices of k different elements of `x` drawn at random, rising."""

    def top_k(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Values and int32 indices of the k elements largest in magnitude, by falling magnitude, then index."""

    def take(self, x: Tensor, indices: Tensor) -> Tensor: ...
    def put_(self, into: Tensor, indices: Tensor, values: Tensor) -> None: ...
    def add_at_(self, into: Tensor, indices: Tensor, values: Tensor) -> None: ...
    def pack_bits(self, mask: Tensor) -> Tensor:
        """uint8 vector of ceil(elements / 8) bytes; bit i of byte j is element 8 j + i."""

    def unpack_bits(self, packed: Tensor, elements: int) -> Tensor: ...
    def pack_integers(self, x: Tensor, bits: int) -> Tensor:
        """uint8 vector of ceil(elements * bits / 8) bytes: integers 0..2^bits - 1 one after the other, low bits first.

        `bits` is 1 to 16; `x` may be of any type.
        """

    def unpack_integers(self, packed: Tensor, elements: int, bits: int) -> Tensor:
        """int32."""

    def bytes_of(self, xs: list[Tensor]) -> Tensor:
        """uint8 vector of the bytes of all of `xs` (of any types), one after the other."""

    def from_bytes(self, packed: Tensor, dtype: str) -> Tensor:
        """Numbers of this type from their bytes."""

    # matrices: flat row-major vectors with their shape given
    def sum_rows(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Sum of each row: as many elements as rows."""

    def sum_columns(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Sum of each column."""

    def maximum_rows(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Largest element of each row."""

    def spread_rows(self, x: Tensor, columns: int) -> Tensor:
        """The matrix whose row i is `columns` times element i."""

    def spread_columns(self, x: Tensor, rows: int) -> Tensor:
        """The matrix of `rows` rows that all are `x`."""

    def matmul(self, x: Tensor, y: Tensor, rows: int, inner: int, columns: int) -> Tensor: ...
    def transpose(self, x: Tensor, rows: int, columns: int) -> Tensor: ...
    def orthonormalise(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Q of the reduced QR of a tall matrix, with the signs that make R's diagonal positive."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor without values: so many elements of so many bytes."""

    elements: int
    itemsize: int

    def __getitem__(self, index: slice) -> Shape:
        start, stop, _ = index.indices(self.elements)
        return Shape(max(0, stop - start), self.itemsize)


ITEMSIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}
"""Bytes per element, by type."""


class CountingTensors:
    """`Tensors` on `Shape`s: `flops` and `nbytes` add up what the verbs called so far would cost."""

    def __init__(self, itemsize: int = 4) -> None:
        self.itemsize = itemsize
        self.flops = 0.0
        self.nbytes = 0.0

    def _count(
        self, like: Shape, reads: int, writes: int, flops: float, result: Shape | None = None, read: object = None
    ) -> Shape:
        out = like if result is None else result
        if isinstance(read, Shape):
            self.nbytes += read.elements * read.itemsize
        self.flops += flops * like.elements
        self.nbytes += reads * like.elements * like.itemsize + writes * out.elements * out.itemsize
        return out

    def _tensors(self, *xs: object) -> int:
        return sum(isinstance(x, Shape) for x in xs)

    def zeros(self, elements: int, dtype: str = "") -> Shape:
        return self._count(Shape(elements, ITEMSIZES[dtype] if dtype else self.itemsize), 0, 1, 0)

    def zeros_like(self, x: Shape) -> Shape:
        return self._count(x, 0, 1, 0)

    def copy(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 0)

    def concatenate(self, xs: list[Shape]) -> Shape:
        out = Shape(sum(x.elements for x in xs), xs[0].itemsize)
        return self._count(out, 1, 1, 0)

    def cast(self, x: Shape, dtype: str) -> Shape:
        return self._count(x, 1, 1, 0, Shape(x.elements, ITEMSIZES[dtype]))

    def copy_(self, into: Shape, x: Shape) -> None:
        self._count(into, 1, 1, 0)

    def add_(self, into: Shape, x: Shape, scale: float = 1.0) -> None:
        self._count(into, 2, 1, 1 if scale == 1.0 else 2)

    def scale_(self, into: Shape, factor: float) -> None:
        self._count(into, 1, 1, 1)

    def fill_(self, into: Shape, value: float) -> None:
        self._count(into, 0, 1, 0)

    def maximum_(self, into: Shape, x: Shape) -> None:
        self._count(into, 2, 1, 1)

    def add(self, x: Shape, y: Shape | float, scale: float = 1.0) -> Shape:
        return self._count(x, 1, 1, 1 if scale == 1.0 else 2, read=y)

    def multiply(self, x: Shape, y: Shape | float) -> Shape:
        return self._count(x, 1, 1, 1, read=y)

    def divide(self, x: Shape, y: Shape | float) -> Shape:
        return self._count(x, 1, 1, 1, read=y)

    def sqrt(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1)

    def absolute(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1)

    def sign(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1)

    def floor(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1)

    def clip(self, x: Shape, low: Shape | float, high: Shape | float) -> Shape:
        return self._count(x, 1, 1, 2)

    def greater(self, x: Shape, y: Shape | float) -> Shape:
        return self._count(x, 1, 1, 1, Shape(x.elements, 1), read=y)

    def where(self, mask: Shape, x: Shape | float, y: Shape | float) -> Shape:
        itemsize = next((v.itemsize for v in (x, y) if isinstance(v, Shape)), self.itemsize)
        return self._count(mask, 1 + self._tensors(x, y), 1, 1, Shape(mask.elements, itemsize))

    def uniform(self, x: Shape, draws: Draws, purpose: str, step: int) -> Shape:
        return self._count(x, 0, 1, 4)

    def sum(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1, Shape(1, x.itemsize))

    def maximum(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 1, Shape(1, x.itemsize))

    def norm(self, x: Shape) -> Shape:
        return self._count(x, 1, 1, 2, Shape(1, x.itemsize))

    def dot(self, x: Shape, y: Shape) -> Shape:
        return self._count(x, 2, 1, 2, Shape(1, x.itemsize))

    def top_k(self, x: Shape, k: int) -> tuple[Shape, Shape]:
        self._count(x, 1, 0, 2)
        out = self._count(Shape(k, x.itemsize), 0, 1, max(1.0, math.log2(max(k, 1))))
        return out, self._count(Shape(k, 4), 0, 1, 0)

    def take(self, x: Shape, indices: Shape) -> Shape:
        return self._count(indices, 1, 2, 0, Shape(indices.elements, x.itemsize))

    def put_(self, into: Shape, indices: Shape, values: Shape) -> None:
        self._count(indices, 1, 0, 0)
        self._count(values, 1, 1, 0)

    def add_at_(self, into: Shape, indices: Shape, values: Shape) -> None:
        self._count(indices, 1, 0, 0)
        self._count(values, 2, 1, 1)

    def indices(self, mask: Shape, expected: int) -> Shape:
        self._count(mask, 1, 0, 1)
        return self._count(Shape(expected, 4), 0, 1, 0)

    def choose(self, x: Shape, k: int, draws: Draws, purpose: str, step: int) -> Shape:
        return self._count(Shape(k, 4), 1, 1, 4 + max(1.0, math.log2(max(k, 1))))

    def pack_bits(self, mask: Shape) -> Shape:
        return self._count(mask, 1, 1, 1, Shape((mask.elements + 7) // 8, 1))

    def unpack_bits(self, packed: Shape, elements: int) -> Shape:
        return self._count(packed, 1, 1, 8, Shape(elements, 1))

    def pack_integers(self, x: Shape, bits: int) -> Shape:
        return self._count(x, 1, 1, 2, Shape((x.elements * bits + 7) // 8, 1))

    def unpack_integers(self, packed: Shape, elements: int, bits: int) -> Shape:
        self.nbytes += packed.elements * packed.itemsize
        return self._count(Shape(elements, 4), 0, 1, 2)

    def bytes_of(self, xs: list[Shape]) -> Shape:
        return self._count(Shape(sum(x.elements * x.itemsize for x in xs), 1), 1, 1, 0)

    def from_bytes(self, packed: Shape, dtype: str) -> Shape:
        return self._count(packed, 1, 1, 0, Shape(packed.elements // ITEMSIZES[dtype], ITEMSIZES[dtype]))

    def sum_rows(self, x: Shape, rows: int, columns: int) -> Shape:
        return self._count(x, 1, 1, 1, Shape(rows, x.itemsize))

    def sum_columns(self, x: Shape, rows: int, columns: int) -> Shape:
        return self._count(x, 1, 1, 1, Shape(columns, x.itemsize))

    def maximum_rows(self, x: Shape, rows: int, columns: int) -> Shape:
        return self._count(x, 1, 1, 1, Shape(rows, x.itemsize))

    def spread_rows(self, x: Shape, columns: int) -> Shape:
        return self._count(x, 1, 1, 0, Shape(x.elements * columns, x.itemsize))

    def spread_columns(self, x: Shape, rows: int) -> Shape:
        return self._count(x, 1, 1, 0, Shape(rows * x.elements, x.itemsize))

    def matmul(self, x: Shape, y: Shape, rows: int, inner: int, columns: int) -> Shape:
        out = Shape(rows * columns, x.itemsize)
        self.flops += 2.0 * rows * inner * columns
        self.nbytes += (rows * inner + inner * columns + rows * columns) * x.itemsize
        return out

    def transpose(self, x: Shape, rows: int, columns: int) -> Shape:
        return self._count(x, 1, 1, 0)

    def orthonormalise(self, x: Shape, rows: int, columns: int) -> Shape:
        self.flops += 4.0 * rows * columns**2
        self.nbytes += 2.0 * rows * columns * x.itemsize
        return Shape(rows * columns, x.itemsize)
