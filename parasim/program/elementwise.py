"""Functions of many programs over the tensor namespace; `Context.math` takes them, closed forms price them."""

from __future__ import annotations

from parasim.program.tensors import Tensor, Tensors

__all__ = ["add", "clear", "copied", "difference", "overwrite", "scale"]


def copied(xp: Tensors, x: Tensor) -> Tensor:
    """A copy."""
    return xp.copy(x)


def overwrite(xp: Tensors, into: Tensor, x: Tensor) -> None:
    """Into = x."""
    xp.copy_(into, x)


def add(xp: Tensors, into: Tensor, x: Tensor, scale: float = 1.0) -> None:
    """Into += scale * x."""
    xp.add_(into, x, scale)


def scale(xp: Tensors, x: Tensor, factor: float) -> None:
    """X *= factor."""
    xp.scale_(x, factor)


def clear(xp: Tensors, x: Tensor) -> None:
    """X = 0."""
    xp.fill_(x, 0.0)


def difference(xp: Tensors, one: Tensor, other: Tensor) -> Tensor:
    """One - other."""
    return xp.add(one, other, -1.0)
