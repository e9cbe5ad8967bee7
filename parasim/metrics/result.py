"""What a run gives back, whichever runtime it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parasim.trace.aggregate import Aggregates
from parasim.trace.record import Record
from parasim.trace.table import Trace

__all__ = ["Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run.

    Attributes
    ----------
    summary
        The figures, ready for JSON.
    trace
        Its rows, or their sums only.
    returns
        What each rank's main program returned.
    record
        The choices of a real run, for replay; None for a simulated one.
    """

    summary: dict[str, Any]
    trace: Trace | Aggregates
    returns: tuple[Any, ...] = ()
    record: Record | None = None
