"""What a difference between a real and a simulated run is made of, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.crosscheck_table import percent
from parasim.report.table import WIDTH, count
from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["explain_table"]

_MOST = 15


def explain_table(explained: Mapping[str, Any]) -> str:
    """Write the largest contributors to the error of a case (`calibration.checking.explaining`)."""
    real, simulated = explained["real"], explained["simulated"]
    lines = [
        f"{explained['case']}: a worker's step takes {_seconds(real)} really and {_seconds(simulated)} simulated "
        f"({percent(simulated / real - 1, signed=True)})",
        f"{percent(explained['matched'])} of all operations have a counterpart: the same actor, lane, program, "
        "operation, peer and label",
    ]
    for grouping in explained["groupings"]:
        found = grouping["contributors"]
        lines += ["", *_table(grouping["by"], found[:_MOST], real)]
        rest = sum(one["difference"] for one in found[_MOST:])
        if len(found) > _MOST:
            lines.append(f"{len(found) - _MOST} more make {_signed(rest)} together.")
    lines += ["", "waiting: until the other side, or the device, is ready; work: from then on; between: no operation."]
    return "\n".join([*lines, "Rows of real and of simulated seconds sum to the step's."])


def _table(by: Sequence[str], found: Sequence[Mapping[str, Any]], real: float) -> list[str]:
    return table(
        [
            Column(", ".join(by), [" ".join(filter(None, one["name"])) or "-" for one in found], least=16),
            Column("what", [one["kind"] for one in found], least=7),
            Column("per step\nreal", [count(one["real_count"]) for one in found]),
            Column("\nsim.", [count(one["simulated_count"]) for one in found]),
            Column("time per step\nreal", [_seconds(one["real"]) for one in found]),
            Column("\nsimulated", [_seconds(one["simulated"]) for one in found]),
            Column("\ndifference", [_signed(one["difference"]) for one in found]),
            Column("of the\nstep", [percent(one["difference"] / real, signed=True) for one in found]),
        ],
        WIDTH,
    )


def _seconds(value: float) -> str:
    return format_quantity(value, "seconds")


def _signed(value: float) -> str:
    return f"{'+' * (value >= 0)}{format_quantity(value, 'seconds')}"
