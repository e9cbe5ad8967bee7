"""Buffers: what computes touch and messages carry.

A buffer has a name, a number of elements of some size and, when learning, a flat tensor. Splitting works on both
kinds, so a program never asks which it has. A part of a buffer is a view: it shares the root's values, and touching it
touches that range of the root.

A root's values are a tensor of its own, or a `Content` that other buffers may have too (contents.py). `values` works on
both; `look`, `change`, `replace` and `share` leave a content what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parasim.program.contents import Content, is_shared

if TYPE_CHECKING:
    from parasim.program.tensors import Tensors

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
        A flat tensor of `elements` elements of the tensor namespace in use, a `Content` with one, or None when no
        values are carried.
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
        """The flat tensor (a view of the root's), or None; the root's own from now on."""
        root = self.root
        if type(root._values) is Content:
            shared = is_shared(root)
            root._values = root._values.changed(shared=shared).tensor
        return self._cut(root._values)

    @property
    def content(self) -> Content | None:
        """What it may have in common with others, as a whole; None if it has a tensor of its own, or is a part."""
        root = self.root
        return root._values if type(root._values) is Content and self.elements == root.elements else None

    def look(self) -> Any:
        """The values, to be read now and left alone; None if there are none."""
        held = self.root._values
        return self._cut(held.tensor if type(held) is Content else held)

    def change(self) -> Any:
        """The values, to be changed in place now."""
        root = self.root
        if type(root._values) is not Content:
            return self._cut(root._values)
        shared = is_shared(root)
        root._values = root._values.changed(shared=shared)
        return self._cut(root._values.tensor)

    def replace(self, values: Any, tensors: Tensors) -> None:
        """Have these values from now on: a content, or a tensor that nobody else has."""
        if self.content is not None:
            self.root._values = values if type(values) is Content else Content(values, tensors)
        else:
            tensors.copy_(self.change(), values.tensor if type(values) is Content else values)

    def take(self, other: Buffer, tensors: Tensors) -> None:
        """Have the values of another buffer."""
        if self.content is None:
            tensors.copy_(self.change(), other.look())
        else:
            self.replace(other.share(tensors), tensors)

    def share(self, tensors: Tensors) -> Any:
        """Values for another buffer: the content, or a copy."""
        return self.content or tensors.copy(self.look())

    def freeze(self) -> tuple[Any, Content] | None:
        """The values, and what keeps them as they are for as long as it is referred to; None if nothing can."""
        held = self.root._values
        return (self._cut(held.tensor), held) if type(held) is Content else None

    def _cut(self, tensor: Any) -> Any:
        """The range of the root's values that is this buffer's."""
        if self._root is None or tensor is None or self.elements == self._root.elements:
            return tensor
        return tensor[self.start : self.stop]

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
