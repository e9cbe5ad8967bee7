"""Two computes of one actor never overlap if one changes what the other changes or reads; first yielded, first run."""

from __future__ import annotations

from collections.abc import Iterable

from parasim.program.buffers import Buffer
from parasim.program.ops import Compute
from parasim.runtime.tasks import Pending

__all__ = ["Guard"]


def _conflict(first: Compute[object], second: Compute[object]) -> bool:
    return (
        _overlap(first.touches, second.touches)
        or _overlap(first.touches, second.reads)
        or _overlap(first.reads, second.touches)
    )


def _overlap(these: Iterable[Buffer], those: Iterable[Buffer]) -> bool:
    for a in these:
        for b in those:
            if a.root is b.root and a.start < b.stop and b.start < a.stop:
                return True
    return False


class Guard:
    """The computes of one actor that run, and those that must wait for them, in the order of their yields."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running: list[Pending] = []
        self.waiting: list[Pending] = []

    def enter(self, pending: Pending) -> bool:
        """May it start now? If not it waits."""
        if self._blocked(pending, self.waiting):
            self.waiting.append(pending)
            return False
        self.running.append(pending)
        return True

    def leave(self, pending: Pending) -> list[Pending]:
        """It ended (or never started); replies with those that may start now."""
        if pending in self.running:
            self.running.remove(pending)
        else:
            self.waiting.remove(pending)
        if not self.waiting:
            return []
        started: list[Pending] = []
        still: list[Pending] = []
        for candidate in self.waiting:
            if self._blocked(candidate, still):
                still.append(candidate)
            else:
                self.running.append(candidate)
                started.append(candidate)
        self.waiting = still
        return started

    def changing(self, buffer: Buffer) -> Pending | None:
        """The running compute that changes this buffer, if there is one."""
        for pending in self.running:
            touches = pending.op.touches
            if touches and _overlap(touches, (buffer,)):
                return pending
        return None

    def _blocked(self, pending: Pending, ahead: list[Pending]) -> bool:
        op = pending.op
        if not op.touches and not op.reads:
            return False
        changes = bool(op.touches)
        for others in (self.running, ahead):
            for other in others:
                if (changes or other.op.touches) and _conflict(op, other.op):  # many may only read
                    return True
        return False
