"""Heaps on arrays, compiled: entries of a key, an order among equal keys, and an item.

A heap is a stretch of three arrays that begins at `first`; who keeps it knows its size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parasim.simulation.compiling import compiled

__all__ = ["Numbers", "Places", "Reals", "pop", "push", "sort"]

Reals = NDArray[np.float64]
Numbers = NDArray[np.int32]
Places = NDArray[np.int64]


@compiled
def push(
    keys: Reals, orders: Places, items: Numbers, first: int, size: int, key: float, order: int, item: int
) -> None:  # fmt: skip
    """Put an entry into a heap of so many."""
    at = size
    while at > 0:
        above = (at - 1) // 2
        place = first + above
        if keys[place] < key or (keys[place] == key and orders[place] < order):
            break
        keys[first + at], orders[first + at], items[first + at] = keys[place], orders[place], items[place]
        at = above
    keys[first + at], orders[first + at], items[first + at] = key, order, item


@compiled
def pop(keys: Reals, orders: Places, items: Numbers, first: int, size: int) -> None:
    """Take the least entry out of a heap of so many; read it before."""
    last = first + size - 1
    key, order, item = keys[last], orders[last], items[last]
    size -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        place = first + child
        if child + 1 < size and (
            keys[place + 1] < keys[place] or (keys[place + 1] == keys[place] and orders[place + 1] < orders[place])
        ):
            child += 1
            place += 1
        if key < keys[place] or (key == keys[place] and order < orders[place]):
            break
        keys[first + at], orders[first + at], items[first + at] = keys[place], orders[place], items[place]
        at = child
    if size > 0:
        keys[first + at], orders[first + at], items[first + at] = key, order, item


@compiled
def sort(items: Numbers, size: int, by: Places) -> None:
    """Put the first `size` items into the order of their numbers `by`, which all differ (Shell 1959)."""
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(gap, size):
            item = items[at]
            number = by[item]
            place = at
            while place >= gap and by[items[place - gap]] > number:
                items[place] = items[place - gap]
                place -= gap
            items[place] = item
        gap //= 3
