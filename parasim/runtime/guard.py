"""Two computes of one actor never overlap if one changes what the other changes or reads; first yielded, first run."""

from __future__ import annotations

from collections.abc import Iterable

from parasim.program.buffers import Buffer
from parasim.program.ops import Compute
from parasim.runtime.tasks import Pending

__all__ = ["Guard", "conflict", "overlap"]


def conflict(first: Compute[object], second: Compute[object]) -> bool:
    """Does one change what the other changes or reads?"""
    return (
        overlap(first.touches, second.touches)
        or overlap(first.touches, second.reads)
        or overlap(first.reads, second.touches)
    )


def overlap(these: Iterable[Buffer], those: Iterable[Buffer]) -> bool:
    """Has one of these buffers a part in common with one of those?"""
    for a in these:
        for b in those:
            if a.root is b.root and a.start < b.stop and b.start < a.stop:
                return True
    return False


class Guard:
    """The computes of one actor that run, and those that must wait for them, in the order of their yields.

    Attributes
    ----------
    running, waiting
        The computes, to be looked at only.
    """

    __slots__ = ("_changing", "running", "waiting")

    def __init__(self) -> None:
        self.running: dict[Pending, None] = {}
        self.waiting: list[Pending] = []
        self._changing: dict[Pending, None] = {}  # those that run and change something: many may only read

    def enter(self, pending: Pending) -> bool:
        """May it start now? If not it waits."""
        if self._blocked(pending, self.waiting):
            self.waiting.append(pending)
            return False
        self.run(pending)
        return True

    def run(self, pending: Pending) -> None:
        """It runs, whatever else does."""
        self.running[pending] = None
        if pending.op.touches:
            self._changing[pending] = None

    def stop(self, pending: Pending) -> None:
        """It does not run any more; those that wait go on waiting, until they are admitted."""
        del self.running[pending]
        self._changing.pop(pending, None)

    def leave(self, pending: Pending) -> list[Pending]:
        """It ended (or never started); replies with those that may start now."""
        if pending in self.running:
            self.stop(pending)
        else:
            self.waiting.remove(pending)
        return self.admit()

    def admit(self) -> list[Pending]:
        """Those that wait and may start now run from now on."""
        if not self.waiting:
            return []
        started: list[Pending] = []
        still: list[Pending] = []
        for candidate in self.waiting:
            if self._blocked(candidate, still):
                still.append(candidate)
            else:
                self.run(candidate)
                started.append(candidate)
        self.waiting = still
        return started

    def changing(self, buffer: Buffer) -> Pending | None:
        """The running compute that changes this buffer, if there is one."""
        for pending in self._changing:
            if overlap(pending.op.touches, (buffer,)):
                return pending
        return None

    def _blocked(self, pending: Pending, ahead: list[Pending]) -> bool:
        op = pending.op
        if not op.touches and not op.reads:
            return False
        for others in (self.running if op.touches else self._changing, ahead):
            for other in others:
                if conflict(op, other.op):
                    return True
        return False
