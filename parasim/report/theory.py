"""The table of theory beside simulation: for each run, what closed forms say, how far off the run is, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["theory_table"]

WIDTH = 120
_NONE = "-"
_NAMES = {
    "seconds_per_step": ("time per step", "seconds"),
    "bytes_sent_per_worker_per_step": ("sent per step", "bytes"),
    "messages_sent_per_worker_per_step": ("messages per step", None),
    "staleness_mean": ("staleness, mean", None),
}

Compared = Mapping[str, Any]


def theory_table(runs: Sequence[Compared], labels: Sequence[str]) -> str:
    """A row per run and quantity, then a paragraph per run on what the closed form is worth there.

    Parameters
    ----------
    runs
        What `parasim.study.theory.beside_theory` returned for each run.
    labels
        Name of each run.
    """
    rows = [
        ("" if place else label, *_row(name, values, str(run["meaning"])))
        for run, label in zip(runs, labels, strict=True)
        for place, (name, values) in enumerate(run["quantities"].items())
    ]
    lines = ["Theory beside simulation", ""]
    if rows:
        cells = list(zip(*rows, strict=True))
        columns = [
            Column("scenario", cells[0], least=4),
            Column("quantity", cells[1], least=17),
            Column("simulated", cells[2]),
            Column("theory", cells[3]),
            Column("simulated\n/ theory", cells[4]),
            Column("theory is", cells[5], least=12),
        ]
        lines += [*table(columns, WIDTH), ""]
    for run, label in zip(runs, labels, strict=True):
        reasons = [*([run["note"]] if run["note"] else []), *run["broken"]]
        if reasons:
            lines += textwrap.wrap(f"{label}: {'; '.join(reasons)}.", WIDTH, subsequent_indent="  ")
    return "\n".join(lines).rstrip()


def _row(name: str, values: Compared, meaning: str) -> tuple[str, str, str, str, str]:
    words, dimension = _NAMES[name]
    ratio = values["ratio"]
    worth = ""
    if values["theory"] is not None:
        worth = meaning if name == "seconds_per_step" else ""
        for bound, name_of_bound in (("about", "about"), ("at_most", "at most")):
            if values.get(bound) is not None:
                worth += f", {name_of_bound} {_shown(values[bound], dimension)}"
    return (
        words,
        _shown(values["simulated"], dimension),
        _shown(values["theory"], dimension),
        _NONE if ratio is None else f"{ratio:.4f}",
        worth,
    )


def _shown(value: float | None, dimension: str | None) -> str:
    if value is None:
        return _NONE
    return format_quantity(value, dimension) if dimension else f"{value:.4g}"
