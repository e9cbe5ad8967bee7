"""Shared memory in virtual time: each access happens at one instant, the end of its compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from parasim.program.context import Context
from parasim.program.shared import Shared

__all__ = ["Memory", "SimulatedVector"]


class Memory:
    """All shared vectors of a run, made when first asked for, with a lock each; `context` is that of any actor."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._vectors: dict[str, SimulatedVector] = {}
        self._queues: dict[str, deque[Callable[[], None]]] = {}

    def vector(self, shared: Shared) -> SimulatedVector:
        """The values behind a shared vector."""
        if shared.name not in self._vectors:
            self._vectors[shared.name] = SimulatedVector(shared, self._context)
        return self._vectors[shared.name]

    def acquire(self, shared: Shared, granted: Callable[[], None]) -> None:
        """Wait for its lock, first-in first-out; `granted` is called at once if it is free."""
        queue = self._queues.setdefault(shared.name, deque())
        queue.append(granted)
        if len(queue) == 1:
            granted()

    def release(self, shared: Shared) -> None:
        """Grant the lock to the next in line."""
        queue = self._queues[shared.name]
        queue.popleft()
        if queue:
            queue[0]()


class SimulatedVector:
    """A `parasim.runtime.shared.SharedVector`; carries values if the context does."""

    def __init__(self, shared: Shared, context: Context) -> None:
        self.shared = shared
        self._tensors = context.tensors
        self._versions = [0] * shared.parts
        self._writers = [-1] * shared.parts
        self._values: Any = None
        if self._tensors is not None:
            self._values = context.shared_values(shared)

    def version(self, part: int) -> int:
        """Updates written to a part so far."""
        return self._versions[part]

    def claim(self, part: int, rank: int) -> bool:
        """A rank is about to write a part: did another write it last?"""
        last, self._writers[part] = self._writers[part], rank
        return last not in (-1, rank)

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
