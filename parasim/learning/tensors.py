"""The tensor namespace on torch. Every verb is deterministic, also between a vector and its slices where it can be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from parasim.program.draws import Draws

__all__ = ["DTYPES", "TorchTensors", "aligned"]

DTYPES: dict[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
_ALIGNMENT = 64


def aligned(x: torch.Tensor) -> torch.Tensor:
    """`x`, copied if it does not start on a cache line: BLAS may sum in another order there."""
    return x if x.data_ptr() % _ALIGNMENT == 0 else x.clone()


class TorchTensors:
    """`parasim.program.tensors.Tensors` on flat torch vectors.

    Parameters
    ----------
    dtype
        "float32" or "float64": what `zeros` and `where` of two scalars make.
    device
        Where new vectors are made, and where all operands are: "cpu", "cuda:1". Draws are the same on every device.

    Notes
    -----
    Not run on a GPU yet. There, `add_at_` with equal indices adds in no fixed order.
    """

    def __init__(self, dtype: str = "float32", device: str = "cpu") -> None:
        self.dtype = DTYPES[dtype]
        self.device = torch.device(device)
        self._weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=self.device)

    # making
    def zeros(self, elements: int, dtype: str = "") -> torch.Tensor:
        """Make a zero vector, of the run's type unless another is named."""
        return torch.zeros(elements, dtype=DTYPES[dtype] if dtype else self.dtype, device=self.device)

    def zeros_like(self, x: torch.Tensor) -> torch.Tensor:
        """Zeros of the size and type of `x`."""
        return torch.zeros_like(x)

    def copy(self, x: torch.Tensor) -> torch.Tensor:
        """Make a copy that shares nothing with `x`."""
        return x.clone()

    def concatenate(self, xs: list[torch.Tensor]) -> torch.Tensor:
        """All of `xs`, one after the other."""
        return torch.cat(xs)

    def cast(self, x: torch.Tensor, dtype: str) -> torch.Tensor:
        """Make a copy in another type, rounded to nearest."""
        return x.to(DTYPES[dtype], copy=True)

    # writing in place
    def copy_(self, into: torch.Tensor, x: torch.Tensor) -> None:
        """Write `x` into `into`."""
        into.copy_(x)

    def add_(self, into: torch.Tensor, x: torch.Tensor, scale: float = 1.0) -> None:
        """Add ``scale * x`` to `into`."""
        into.add_(x, alpha=scale) if scale != 1.0 else into.add_(x)

    def scale_(self, into: torch.Tensor, factor: float) -> None:
        """Multiply `into` by `factor`."""
        into.mul_(factor)

    def fill_(self, into: torch.Tensor, value: float) -> None:
        """Set every element to `value`."""
        into.fill_(value)

    def maximum_(self, into: torch.Tensor, x: torch.Tensor) -> None:
        """Raise every element of `into` to that of `x` if that is larger."""
        torch.maximum(into, x, out=into)

    # elementwise
    def add(self, x: torch.Tensor, y: torch.Tensor | float, scale: float = 1.0) -> torch.Tensor:
        """``x + scale * y``."""
        return torch.add(x, y, alpha=scale) if scale != 1.0 else torch.add(x, y)

    def multiply(self, x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
        """``x * y``."""
        return torch.mul(x, y)

    def divide(self, x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
        """``x / y``."""
        return torch.div(x, y)

    def sqrt(self, x: torch.Tensor) -> torch.Tensor:
        """Take the square root."""
        return torch.sqrt(x)

    def absolute(self, x: torch.Tensor) -> torch.Tensor:
        """Take the magnitude."""
        return torch.abs(x)

    def sign(self, x: torch.Tensor) -> torch.Tensor:
        """-1, 0 or 1."""
        return torch.sign(x)

    def floor(self, x: torch.Tensor) -> torch.Tensor:
        """Round down to an integer."""
        return torch.floor(x)

    def clip(self, x: torch.Tensor, low: torch.Tensor | float, high: torch.Tensor | float) -> torch.Tensor:
        """`x`, moved into ``[low, high]``."""
        if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
            return torch.minimum(torch.maximum(x, torch.as_tensor(low).to(x)), torch.as_tensor(high).to(x))
        return torch.clamp(x, low, high)

    def greater(self, x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
        """Make the mask of where ``x > y`` holds."""
        return torch.gt(x, y)

    def where(self, mask: torch.Tensor, x: torch.Tensor | float, y: torch.Tensor | float) -> torch.Tensor:
        """`x` where the mask holds, `y` elsewhere."""
        if not isinstance(x, torch.Tensor) and not isinstance(y, torch.Tensor):
            x = torch.tensor(x, dtype=self.dtype, device=self.device)
        return torch.where(mask.bool(), x, y)

    def uniform(self, x: torch.Tensor, draws: Draws, purpose: str, step: int) -> torch.Tensor:
        """Uniform draws in [0, 1), as many as `x` has elements, of its type.

        Raises
        ------
        TypeError
            If `x` is neither float32 nor float64: rounding could give 1.
        """
        generator = draws.generator(purpose, step)
        if x.dtype == torch.float64:
            return torch.from_numpy(generator.random(x.numel())).to(self.device)
        if x.dtype == torch.float32:
            return torch.from_numpy(generator.random(x.numel(), dtype="float32")).to(self.device)
        raise TypeError(f"uniform draws like {x.dtype} could round to 1; draw like float32 or float64 and cast")

    # reductions to a tensor of one element
    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """Sum up; integers or masks in the namespace's type."""
        return x.sum(dtype=None if x.is_floating_point() else self.dtype).reshape(1)

    def maximum(self, x: torch.Tensor) -> torch.Tensor:
        """Find the largest element."""
        return x.max().reshape(1)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the Euclidean norm."""
        norm: torch.Tensor = torch.linalg.vector_norm(x)
        return norm.reshape(1)

    def dot(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Compute the inner product."""
        return torch.mul(x, y).sum().reshape(1)

    # selection and packing
    def indices(self, mask: torch.Tensor, expected: int) -> torch.Tensor:
        """int32 indices of the elements where the mask holds, rising; however many are `expected`."""
        return torch.nonzero(mask).flatten().to(torch.int32)

    def choose(self, x: torch.Tensor, k: int, draws: Draws, purpose: str, step: int) -> torch.Tensor:
        """int32 indices of k different elements of `x` drawn at random, rising."""
        chosen = draws.generator(purpose, step).choice(x.numel(), k, replace=False, shuffle=False)
        chosen.sort()
        return torch.from_numpy(chosen).to(torch.int32).to(self.device)

    def top_k(self, x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and int32 indices of the k elements largest in magnitude, by falling magnitude, then index.

        A NaN counts as infinite. torch.topk alone leaves the order of equals open.
        """
        size = x.abs().nan_to_num_(nan=math.inf, posinf=math.inf)
        if k == 0:
            return x[:0].clone(), torch.zeros(0, dtype=torch.int32, device=x.device)
        least = torch.topk(size, k, sorted=False).values.min()
        above = torch.nonzero(size > least).flatten()
        equal = torch.nonzero(size == least).flatten()[: k - above.numel()]
        order = torch.sort(size[above], descending=True, stable=True).indices
        indices = torch.cat([above[order], equal])
        return x[indices], indices.to(torch.int32)

    def take(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Gather the elements of `x` at `indices`."""
        return torch.index_select(x, 0, indices)

    def put_(self, into: torch.Tensor, indices: torch.Tensor, values: torch.Tensor) -> None:
        """Write `values` at `indices`; of equal indices the last counts."""
        into.index_copy_(0, indices.long(), values.to(into.dtype))

    def add_at_(self, into: torch.Tensor, indices: torch.Tensor, values: torch.Tensor) -> None:
        """Add `values` at `indices`, in order."""
        into.index_add_(0, indices, values.to(into.dtype))

    def pack_bits(self, mask: torch.Tensor) -> torch.Tensor:
        """uint8 vector of ceil(elements / 8) bytes; bit i of byte j is element 8 j + i."""
        bits = torch.zeros((mask.numel() + 7) // 8 * 8, dtype=torch.uint8, device=mask.device)
        bits[: mask.numel()] = mask.bool()
        return (bits.view(-1, 8) * self._weights).sum(1, dtype=torch.uint8)

    def unpack_bits(self, packed: torch.Tensor, elements: int) -> torch.Tensor:
        """Restore the mask of `elements` elements that :meth:`pack_bits` packed."""
        return torch.bitwise_and(packed[:, None], self._weights).ne(0).flatten()[:elements]

    def pack_integers(self, x: torch.Tensor, bits: int) -> torch.Tensor:
        """uint8 vector of ceil(elements * bits / 8) bytes: integers 0..2^bits - 1, low bits first."""
        if bits == 8:
            return x.to(torch.uint8, copy=True)
        places = torch.arange(bits, dtype=torch.int32, device=x.device)
        return self.pack_bits(torch.bitwise_right_shift(x.to(torch.int32)[:, None], places).bitwise_and_(1).flatten())

    def unpack_integers(self, packed: torch.Tensor, elements: int, bits: int) -> torch.Tensor:
        """Restore the int32 numbers that :meth:`pack_integers` packed."""
        if bits == 8:
            return packed[:elements].to(torch.int32)
        weights = 2 ** torch.arange(bits, dtype=torch.int32, device=packed.device)
        ones = self.unpack_bits(packed, elements * bits).view(elements, bits)
        return torch.mul(ones, weights).sum(1, dtype=torch.int32)

    def bytes_of(self, xs: list[torch.Tensor]) -> torch.Tensor:
        """uint8 vector of the bytes of all of `xs`, one after the other."""
        return torch.cat([x.contiguous().view(torch.uint8) for x in xs])

    def from_bytes(self, packed: torch.Tensor, dtype: str) -> torch.Tensor:
        """Numbers of this type from their bytes."""
        return packed.clone().view(DTYPES[dtype])

    # matrices
    def sum_rows(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Sum of each row."""
        return x.view(rows, columns).sum(1)

    def sum_columns(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Sum of each column."""
        return x.view(rows, columns).sum(0)

    def maximum_rows(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Largest element of each row."""
        return x.view(rows, columns).amax(1)

    def spread_rows(self, x: torch.Tensor, columns: int) -> torch.Tensor:
        """The matrix whose row i is `columns` times element i."""
        return x.repeat_interleave(columns)

    def spread_columns(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """The matrix of `rows` rows that all are `x`."""
        return x.repeat(rows)

    def matmul(self, x: torch.Tensor, y: torch.Tensor, rows: int, inner: int, columns: int) -> torch.Tensor:
        """Multiply `x` (rows x inner) and `y` (inner x columns)."""
        return torch.mm(aligned(x).view(rows, inner), aligned(y).view(inner, columns)).view(-1)

    def transpose(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Transpose `x` (rows x columns)."""
        return x.view(rows, columns).T.clone(memory_format=torch.contiguous_format).view(-1)

    def orthonormalise(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Q of the reduced QR of a tall matrix, with the signs that make R's diagonal positive."""
        q, r = torch.linalg.qr(aligned(x).view(rows, columns))
        signs = torch.where(torch.diagonal(r) < 0, -1.0, 1.0).to(x.dtype)
        return torch.mul(q, signs).contiguous().view(-1)
