"""Which of several failures is the one to report."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parasim import errors
from parasim.errors import ExecutionError, ParasimError

__all__ = ["Failure", "first_failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A rank that failed: when (seconds of the machine's clock), the error, and if it only followed from another's."""

    rank: int
    at: float
    error: ParasimError
    follows: bool

    @classmethod
    def of_message(cls, rank: int, message: Mapping[str, Any]) -> Failure:
        """What a rank said of its own failure."""
        kind = getattr(errors, message["error"], None) if message["error"] else None
        if kind is None:
            error: ParasimError = ExecutionError(f"rank {rank} failed: {message['text']}")
            if "traceback" in message:
                error.add_note(message["traceback"])
        else:
            error = kind(message["text"])
        return cls(rank, message["at"], error, message["lost"])

    @classmethod
    def of_death(cls, rank: int, status: int | None, tail: str) -> Failure:
        """A rank that said nothing: its exit status (negative: a signal; None: unknown) and its last words."""
        if status is None:
            what = "has ended with the process it was forked from"
        elif status < 0:
            number = -status
            name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
            what = f"was killed by signal {number} ({name})"
            if number == signal.SIGKILL:
                what += "; if nobody did it, the machine ran out of memory: use smaller sizes or fewer ranks"
        else:
            what = f"ended with status {status}"
        text = f"rank {rank} {what}" + (f"\n{tail}" if tail else "")
        return cls(rank, -math.inf, ExecutionError(text), follows=False)


def first_failure(failures: Sequence[Failure]) -> ParasimError:
    """The error of the rank that failed first; what only followed from another's failure comes last.

    A death has no time of its own, and nothing but a failure before it makes others fail: it goes before all of them.
    """
    return min(failures, key=lambda failure: (failure.follows, failure.at, failure.rank)).error
