"""Matching of announced sends and posted receives: one rule for both runtimes.

Messages of one source and tag are taken in the order of their announcements; `ANY` takes the earliest announcement of
its tag. A receive posted before any announcement waits in the order of posting.
"""

from __future__ import annotations

from collections import deque

from parasim.errors import ProgramError
from parasim.program.ops import ANY
from parasim.runtime.tasks import Envelope, Receipt

__all__ = ["Mailbox"]


class _Queue:
    """Announced and not taken, and posted and not served, of one tag."""

    __slots__ = ("announced", "by_source", "count", "posted")

    def __init__(self) -> None:
        self.announced: dict[int, Envelope] = {}  # arrival number -> envelope, in order
        self.by_source: dict[int, deque[int]] = {}
        self.posted: dict[int, deque[Receipt]] = {}  # by source, or ANY: never both at once
        self.count = 0


class Mailbox:
    """The incoming side of one actor."""

    __slots__ = ("_queues", "rank")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._queues: dict[str, _Queue] = {}

    def _queue(self, tag: str) -> _Queue:
        queue = self._queues.get(tag)
        if queue is None:
            queue = self._queues[tag] = _Queue()
        return queue

    def offer(self, envelope: Envelope) -> Receipt | None:
        """Announce a message: the receipt that takes it now, or None if it waits."""
        queue = self._queues.get(envelope.tag) or self._queue(envelope.tag)
        posted = queue.posted
        if posted:
            source = envelope.source if envelope.source in posted else ANY
            waiting = posted.get(source)
            if waiting is not None:
                receipt = waiting.popleft()
                if not waiting:
                    del posted[source]
                return receipt
        queue.announced[queue.count] = envelope
        queue.by_source.setdefault(envelope.source, deque()).append(queue.count)
        queue.count += 1
        return None

    def post(self, receipt: Receipt) -> Envelope | None:
        """Post a receive: the message it takes now, or None if it waits.

        Raises
        ------
        ProgramError
            If ANY and a named source would be pending on one tag at once.
        """
        queue = self._queues.get(receipt.tag) or self._queue(receipt.tag)
        if queue.announced:
            envelope = self._take(queue, receipt.source)
            if envelope is not None:
                return envelope
        posted, source = queue.posted, receipt.source
        if posted and (source == ANY) != (ANY in posted):
            raise ProgramError(
                f"rank {self.rank}: a receive from ANY and one from a named source are pending on tag {receipt.tag!r} "
                "at once; use another tag for one of them"
            )
        waiting = posted.get(source)
        if waiting is None:
            posted[source] = deque((receipt,))
        else:
            waiting.append(receipt)
        return None

    def _take(self, queue: _Queue, source: int) -> Envelope | None:
        if source == ANY:
            if not queue.announced:
                return None
            number = next(iter(queue.announced))
            envelope = queue.announced[number]
        else:
            numbers = queue.by_source.get(source)
            if not numbers:
                return None
            number = numbers[0]
            envelope = queue.announced[number]
        numbers = queue.by_source[envelope.source]
        numbers.popleft()
        if not numbers:
            del queue.by_source[envelope.source]
        del queue.announced[number]
        return envelope

    def probe(self, source: int, tag: str) -> bool:
        """Is a message of this tag from `source` (or anyone) announced and not taken?"""
        queue = self._queues.get(tag)
        if queue is None:
            return False
        return bool(queue.announced) if source == ANY else source in queue.by_source

    def withdraw(self, receipt: Receipt) -> bool:
        """Take back a receive that nothing matched; False if it was matched."""
        posted = self._queue(receipt.tag).posted
        waiting = posted.get(receipt.source)
        if waiting is None or receipt not in waiting:
            return False
        waiting.remove(receipt)
        if not waiting:
            del posted[receipt.source]
        return True

    def unclaimed(self) -> list[Envelope]:
        """Announced messages that nobody took."""
        return [envelope for queue in self._queues.values() for envelope in queue.announced.values()]
