"""What the loop of a rank takes next: results of threads, what was done at once, and timers."""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from calibration.executor.helpers import Helpers

__all__ = ["Inbox", "Item", "throw"]

Item = Callable[[], None]
_SPIN_SECONDS = 3e-5
"""Waiting for a timer ends so much early; the rest is spun, because sleeping is not that exact (`scheduling.awake`:
measured 4 to 28 us late on average). Spinning is no longer than that: other ranks may want the core."""
_LONGEST_WAIT = 3600.0


class Inbox:
    """Items for the one thread that takes them. Only :meth:`put` may be called by others.

    The bell is a lock that whoever waits can't take until an item is put. A ``queue.SimpleQueue`` would do, but in
    CPython 3.11 its ``get`` with a timeout of some microseconds may wait for ever.

    Parameters
    ----------
    helpers
        Threads for what is run `beside`; None: its own.

    Attributes
    ----------
    running
        Operations under way that will end by themselves; whoever starts and ends them counts them.
    """

    def __init__(self, helpers: Helpers | None = None) -> None:
        self.running = 0
        self._items: deque[Item] = deque()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._soon: deque[Item] = deque()
        self._timers: list[tuple[float, int, Item, Callable[[], bool]]] = []
        self._numbers = itertools.count()
        self._helpers = helpers or Helpers()

    def put(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call the function in the loop."""
        self._items.append(functools.partial(function, *arguments))
        with suppress(RuntimeError):  # it has been rung
            self._bell.release()

    def soon(self, function: Callable[..., None], *arguments: Any) -> None:
        """The same, before everything else; without crossing threads."""
        self._soon.append(functools.partial(function, *arguments))

    def at(self, moment: float, item: Item, dropped: Callable[[], bool] = lambda: False) -> None:
        """Call the item in the loop at a moment of `time.monotonic`; forget it if it has been `dropped` before."""
        heapq.heappush(self._timers, (moment, next(self._numbers), item, dropped))

    def beside(
        self, job: Callable[[], tuple[Any, ...]], then: Callable[..., None], helpers: Helpers | None = None
    ) -> None:
        """Run a job in a thread of its own, then `then` with its results in the loop; the loop raises its errors.

        The thread is one of the inbox's helpers, if not of other `helpers`.
        """

        def work() -> None:
            try:
                results = job()
            except BaseException as error:
                self.put(throw, error)
            else:
                self.put(then, *results)

        (helpers or self._helpers).submit(work)

    def take(self, calm: Callable[[], float]) -> Item | None:
        """Wait for the next item.

        While nothing is under way, `calm` is asked how long to wait at most (seconds); at 0 or below the reply is None.
        """
        if self._soon:
            return self._soon.popleft()
        while True:
            while self._timers and self._timers[0][3]():
                heapq.heappop(self._timers)
            timeout = _LONGEST_WAIT
            if self._timers:
                left = self._timers[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._timers)[2]
                timeout = min(left - _SPIN_SECONDS, timeout)
            if self._items:
                return self._items.popleft()
            if not self._timers and not self.running:
                timeout = min(calm(), timeout)
                if timeout <= 0:
                    return None
            if timeout > 0:
                self._bell.acquire(timeout=timeout)


def throw(error: BaseException) -> None:
    """Raise it here."""
    raise error
