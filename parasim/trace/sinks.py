"""What figures are made of: anything that took rows and can fold them."""

from __future__ import annotations

from typing import Protocol

from parasim.trace.aggregate import Aggregates

__all__ = ["Foldable"]


class Foldable(Protocol):
    """A `Trace` or its `Aggregates`."""

    def fold(self) -> Aggregates:
        """The sums over all rows."""
        ...
