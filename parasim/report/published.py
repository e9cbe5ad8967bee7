"""The scoreboard: published results beside predictions, signed errors, and what explains the misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.sheets import Cell, Sheet, cell

__all__ = ["MISS", "scoreboard_sheet"]

MISS = 0.05
"""An error beyond this wants an explanation."""
_UNITS = {"s": "seconds", "bytes": "bytes"}


def scoreboard_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """The table of what `parasim.study.published.scoreboard` found."""
    columns = [("paper", 16), ("what", 20), ("published", None), ("predicted", None), ("error", None), ("verdict", 13)]
    cells = [
        [
            cell(row["paper"]),
            cell(row["what"]),
            cell(row["published"], _UNITS.get(row["unit"])),
            cell(row["predicted"], _UNITS.get(row["unit"])),
            Cell(f"{round(row['error'], 3) + 0.0:+.1%}", row["error"]),
            cell("calibrated on" if row["calibrated"] else "miss" if abs(row["error"]) > MISS else ""),
        ]
        for row in rows
    ]
    judged = [row for row in rows if not row["calibrated"]]
    near = sum(abs(row["error"]) <= MISS for row in judged)
    within = sum(abs(row["error"]) <= 3 * MISS for row in judged)
    notes = [
        f"{near} of {len(judged)} predictions are within {MISS:.0%} of what was published, {within} within "
        f"{3 * MISS:.0%}. (m): the published number is from memory.",
        *(f"{row['paper']}, {row['what']}: {row['why']}." for row in judged if abs(row["error"]) > MISS),
    ]
    return Sheet("published", "Published results beside predictions", columns, cells, notes)
