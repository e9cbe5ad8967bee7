"""Time to accuracy as a table: who reached the target, in which order, and with how much of everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.table import NONE, WIDTH, count
from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["best_value", "by_seconds", "has_targets", "target_words", "targets_table"]

Summary = Mapping[str, Any]


def has_targets(summaries: Sequence[Summary]) -> bool:
    """Does any of the runs have a target?"""
    return any("target" in summary for summary in summaries)


def by_seconds(summaries: Sequence[Summary]) -> list[int]:
    """Places of the runs that have a target, by seconds to it; last those that did not reach it."""
    places = [place for place, summary in enumerate(summaries) if "target" in summary]
    return sorted(places, key=lambda place: (summaries[place]["target"] or {"seconds": math.inf})["seconds"])


def target_words(summary: Summary) -> str:
    """What a run was trained for: "accuracy 0.95"."""
    wanted = summary["evaluation"]["wanted"]
    return f"{wanted['figure']} {wanted['value']:g}"


def best_value(summary: Summary) -> float:
    """The best value of the target's figure that any evaluation gave."""
    figure = summary["evaluation"]["wanted"]["figure"]
    values = [point[figure] for point in summary["evaluation"]["points"]]
    return float(min(values) if figure == "loss" else max(values))


def targets_table(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """Write the table of those runs that have a target, the fastest first."""
    places = by_seconds(summaries)
    runs = [summaries[place] for place in places]
    found = [run["target"] for run in runs]
    clocks = [str(run["clock"]) for run in runs]

    def cells(name: str, write: Any) -> list[str]:
        return [NONE if target is None else write(target[name]) for target in found]

    columns = [
        Column("to the target", [labels[place] for place in places], least=4),
        *([Column("clock", clocks, least=9)] if len(set(clocks)) > 1 else []),
        Column("target", [target_words(run) for run in runs]),
        Column("best", [f"{best_value(run):.4g}" for run in runs]),
        Column("time", cells("seconds", lambda value: format_quantity(value, "seconds"))),
        Column("not yet\nat", cells("missed_at_seconds", _seconds)),
        Column("steps", cells("steps", lambda value: f"{value:g}")),
        Column("samples", cells("samples", count)),
        Column("sent by\nall", cells("bytes", lambda value: format_quantity(value, "bytes"))),
    ]
    every = " or ".join(dict.fromkeys(run["evaluation"]["every"] for run in runs))
    lines = table(columns, WIDTH)
    lines.append("")
    lines.append(f"time: of the first evaluation on held-out data at the target or beyond it; evaluated every {every}.")
    lines.append("not yet at: the evaluation before. best: of all evaluations. steps: of each worker.")
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return NONE if value is None else format_quantity(value, "seconds")
