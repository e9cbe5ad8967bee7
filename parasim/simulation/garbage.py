"""How often Python looks for cycles of garbage while a simulation runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["YOUNG", "collecting"]

YOUNG = 50_000


@contextmanager
def collecting(young: int) -> Iterator[None]:
    """Let Python look for cycles after no fewer than so many new objects.

    A run has many objects under way and makes few cycles: looking for them after every 700 objects took a third of the
    time of large runs. Values are large, and none may wait long to be freed.
    """
    before = gc.get_threshold()
    if before[0]:  # else the collector is off
        gc.set_threshold(max(before[0], young), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
