"""One line of progress on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType

__all__ = ["Progress"]


class Progress:
    """A line on standard error that is written over and is gone at the end; to be used in a `with` statement."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._shown = sys.stderr.isatty()

    def show(self, done: int, of: int, what: str) -> None:
        """Say how many of how many are done, and what is being done or was done last."""
        if self._shown:
            print(f"\r\x1b[K{self._doing} {done}/{of}: {what[:80]}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
