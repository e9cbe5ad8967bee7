"""Shared memory in virtual time: each access happens at one instant, the end of its compute."""

from __future__ import annotations

from typing import Any

from parasim.program.context import Context
from parasim.program.shared import Shared

__all__ = ["SimulatedVector"]


class SimulatedVector:
    """A `parasim.runtime.shared.SharedVector`; carries values if the context does."""

    def __init__(self, shared: Shared, context: Context) -> None:
        self.shared = shared
        self._tensors = context.tensors
        self._versions = [0] * shared.parts
        self._values: Any = None
        if self._tensors is not None:
            self._values = context.shared_values(shared)

    def version(self, part: int) -> int:
        """Updates written to a part so far."""
        return self._versions[part]

    def load(self, start: int, stop: int) -> Any:
        """A private copy of elements ``[start, stop)``."""
        return None if self._tensors is None else self._tensors.copy(self._values[start:stop])

    def store(self, part: int, start: int, values: Any) -> int:
        """Overwrite from element `start`; counts and replies with the part's version."""
        if self._tensors is not None:
            self._tensors.copy_(self._values[start : start + len(values)], values)
        self._versions[part] += 1
        return self._versions[part]

    def add(self, part: int, start: int, values: Any) -> int:
        """Add from element `start`; counts and replies with the part's version."""
        if self._tensors is not None:
            self._tensors.add_(self._values[start : start + len(values)], values)
        self._versions[part] += 1
        return self._versions[part]
