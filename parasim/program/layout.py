"""Where the arrays of parameters lie in a model's flat vector: what compressors and layer-wise optimisers work by.

A `Panel` is a range of a vector that belongs to one array. An array of two or more dimensions is a matrix, its first
dimension by all others, as torch lays it out: a row per output. A range of the vector that cuts an array (the shard of
a server, the piece of a collective) keeps the rows that it holds whole as a matrix; what is left of rows at its ends
are vectors.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

from parasim.program.model import Model, Part

__all__ = ["Panel", "Panels", "layout", "panels"]


@dataclass(frozen=True, slots=True)
class Panel:
    """Elements ``[start, stop)`` of a vector, of one array: a matrix of `rows` rows, or a vector (rows 1).

    Attributes
    ----------
    start, stop
        Where it lies, counted from the beginning of the range that was asked for.
    rows, columns
        Their product is its number of elements.
    layer
        Number of the layer whose parameters they are.
    """

    start: int
    stop: int
    rows: int
    columns: int
    layer: int

    @property
    def is_matrix(self) -> bool:
        """Has it rows and columns?"""
        return self.rows > 1 and self.columns > 1


@functools.lru_cache(maxsize=4096)
def layout(model: Model, start: int, stop: int) -> tuple[Panel, ...]:
    """The panels of elements ``[start, stop)`` of the model's parameters, in order; together they are the range.

    A layer whose arrays are not known is one vector.

    Raises
    ------
    IndexError
        If the range does not lie inside the parameters.
    """
    if not 0 <= start <= stop <= model.whole.parameters:
        raise IndexError(f"parameters [{start}, {stop}) of {model.whole.parameters}")
    panels: list[Panel] = []
    for number, layer in enumerate(model.layers):
        first = model.offsets[number]
        for shape in layer.shapes or ((layer.parameters,),):
            size = math.prod(shape)
            if max(first, start) < min(first + size, stop):
                panels += _panels(first, shape, start, stop, number)
            first += size
    return tuple(panels)


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """Where arrays lie in a vector: ``[start, stop)`` of each, counted from the vector's beginning."""

    ranges: tuple[tuple[int, int], ...]


@functools.lru_cache(maxsize=4096)
def panels(part: Part, elements: tuple[int, int] | None = None) -> Panels:
    """Those of a part, or of a range of its model's parameters: always the same object.

    Raises
    ------
    ValueError
        If the range cuts an array.
    """
    start, stop = elements or (part.offset, part.offset + part.parameters)
    cuts = [0]
    for layer in part.model.layers:
        for shape in layer.shapes or ((layer.parameters,),):
            cuts.append(cuts[-1] + math.prod(shape))
    if start not in cuts or stop not in cuts:
        raise ValueError(f"parameters [{start}, {stop}) cut an array, and norms are of whole arrays")
    inside = [cut - start for cut in cuts if start <= cut <= stop]
    return Panels(tuple((low, high) for low, high in itertools.pairwise(inside) if low < high))


def _panels(first: int, shape: tuple[int, ...], start: int, stop: int, layer: int) -> list[Panel]:
    """What a range holds of one array that begins at `first`."""
    size, rows = math.prod(shape), shape[0]
    columns = size // rows
    low, high = max(first, start), min(first + size, stop)
    cuts = [low, high]
    if rows > 1 and columns > 1:
        whole = first - (first - low) // columns * columns, first + (high - first) // columns * columns
        if whole[0] < whole[1]:
            cuts = sorted({low, *whole, high})
    found = []
    for begin, end in itertools.pairwise(cuts):
        whole_rows = len(shape) > 1 and (begin - first) % columns == 0 and (end - first) % columns == 0
        across = columns if whole_rows else end - begin
        found.append(Panel(begin - start, end - start, (end - begin) // across, across, layer))
    return found
