"""Threads that wait: one per blocked operation, kept for the next one.

There is never a limit: an operation that had to queue for a thread could be the one that all others wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Helpers"]

Job = Callable[[], None]


class Helpers:
    """A pool of daemon threads, each of which begins with `prepare`. Jobs must not raise."""

    def __init__(self, prepare: Job = lambda: None) -> None:
        self._prepare = prepare
        self._idle: list[SimpleQueue[Job]] = []

    def submit(self, job: Job) -> None:
        """Run a job now, on a thread that nothing else runs on."""
        try:
            jobs = self._idle.pop()
        except IndexError:
            jobs = SimpleQueue()
            threading.Thread(target=self._serve, args=(jobs,), name="helper", daemon=True).start()
        jobs.put(job)

    def _serve(self, jobs: SimpleQueue[Job]) -> None:
        self._prepare()
        while True:
            jobs.get()()
            self._idle.append(jobs)
