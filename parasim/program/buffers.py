"""Buffers: what computes touch and messages carry.

A buffer has a name, a number of elements of some size and, when learning, a flat tensor. Splitting works on both
kinds, so a program never asks which it has. A part of a buffer is a view: it shares the root's values, and touching it
touches that range of the root.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Buffer", "bounds"]


def bounds(elements: int, parts: int) -> list[int]:
    """Cut points of `elements` into `parts`: part j is ``[cut[j], cut[j + 1])``, ``cut[j] = elements * j // parts``.

    Sizes differ by at most one element (SCHEMES 13.2).
    """
    return [elements * j // parts for j in range(parts + 1)]


class Buffer:
    """A flat vector of `elements` of `itemsize` bytes, with or without values.

    Parameters
    ----------
    name
        What it is, for traces and errors ("gradient").
    elements, itemsize
        Number of elements and bytes per element; ``nbytes`` is their product.
    values
        A flat tensor of `elements` elements of the tensor namespace in use, or None when no values are carried.
    """

    __slots__ = ("_root", "_values", "elements", "itemsize", "name", "start")

    def __init__(self, name: str, elements: int, itemsize: int = 4, values: Any = None) -> None:
        self.name = name
        self.elements = elements
        self.itemsize = itemsize
        self._values = values
        self._root: Buffer | None = None  # of a root: not itself, a cycle would keep its values until it is found
        self.start = 0

    @property
    def root(self) -> Buffer:
        """The buffer whose view this is; a buffer that is no view: itself."""
        return self if self._root is None else self._root

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.elements * self.itemsize

    @property
    def stop(self) -> int:
        """End of this view in the root's elements."""
        return self.start + self.elements

    @property
    def carries_values(self) -> bool:
        """For runtimes: is there a tensor? Programs don't ask."""
        return self.root._values is not None

    @property
    def values(self) -> Any:
        """The flat tensor (a view of the root's), or None."""
        if self._root is None or self._root._values is None:
            return self.root._values
        return self._root._values[self.start : self.stop]

    def part(self, start: int, stop: int, name: str | None = None) -> Buffer:
        """The view of elements ``[start, stop)``.

        Raises
        ------
        IndexError
            If the range does not lie inside the buffer.
        """
        if not 0 <= start <= stop <= self.elements:
            raise IndexError(f"part [{start}, {stop}) outside {self!r}")
        view = Buffer.__new__(Buffer)
        view.name = self.name if name is None else name
        view.elements = stop - start
        view.itemsize = self.itemsize
        view._values = None
        view._root = self.root
        view.start = self.start + start
        return view

    def split(self, parts: int) -> tuple[Buffer, ...]:
        """Views of `parts` nearly equal consecutive pieces, cut at :func:`bounds`."""
        cuts = bounds(self.elements, parts)
        return tuple(self.part(cuts[j], cuts[j + 1], f"{self.name}[{j}/{parts}]") for j in range(parts))

    def __repr__(self) -> str:
        return f"Buffer({self.name!r}, {self.elements} x {self.itemsize} B)"
