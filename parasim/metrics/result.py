"""What a run gives back, whichever runtime it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parasim.trace.aggregate import Aggregates
from parasim.trace.table import Trace

__all__ = ["Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: `summary` (the figures, ready for JSON) and `trace` (its rows, or their sums only)."""

    summary: dict[str, Any]
    trace: Trace | Aggregates
