"""The intervals of replicas as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parasim.report.table import WIDTH, count
from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["replicas_table"]

Intervals = Mapping[str, Any]


def _seconds(value: float) -> str:
    return format_quantity(value, "seconds")


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


_ROWS: tuple[tuple[str, tuple[str, ...], Callable[[float], str]], ...] = (
    ("time per step", ("seconds_per_step",), _seconds),
    ("samples per second", ("samples_per_second",), count),
    ("compute", ("shares", "compute"), _percent),
    ("transfer", ("shares", "transfer"), _percent),
    ("wait", ("shares", "wait"), _percent),
    ("staleness, mean", ("staleness", "mean"), count),
    ("staleness, variance", ("staleness", "variance"), count),
    ("staleness, most", ("staleness", "max"), count),
)


def replicas_table(found: Sequence[Intervals], labels: Sequence[str]) -> str:
    """Write the intervals of `parasim.study.replicas`: of each scenario a row for every figure that has one."""
    rows = []
    for one, label in zip(found, labels, strict=True):
        shown = [(name, interval, show) for name, path, show in _ROWS if _changes(interval := _at(one, path))]
        for place, (name, interval, show) in enumerate(shown):
            ends = (show(interval[which]) for which in ("median", "low", "high"))
            rows.append(("" if place else label, name, *ends))
    what = list(dict.fromkeys(" and ".join(one["contains"]) or "nothing: no noise, no profile" for one in found))
    level, replicas = _percent(found[0]["level"]), found[0]["replicas"]
    lines = [f"Intervals: {replicas} replicas, and one more would lie from low to high with {level} probability", ""]
    if rows:
        cells = list(zip(*rows, strict=True))
        headings = ("scenario", "quantity", "median", "low", "high")
        least = (4, 12, None, None, None)
        lines += [*table([Column(*column) for column in zip(headings, cells, least, strict=True)], WIDTH), ""]
    return "\n".join([*lines, f"drawn anew in each replica: {'; '.join(what)}. What is not shown is the same in all."])


def _at(one: Intervals, path: Sequence[str]) -> Any:
    value: Any = one
    for part in path:
        value = value[part]
    return value


def _changes(interval: Mapping[str, float] | None) -> bool:
    """Is it an interval of more than a point?"""
    return interval is not None and interval["low"] < interval["high"]
