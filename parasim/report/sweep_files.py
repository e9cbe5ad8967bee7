"""A sweep as JSON, and as files in a folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parasim.metrics.outcome import Outcome
from parasim.report.compare_files import csv_bytes
from parasim.report.curves_plot import write_curves
from parasim.report.output import json_text
from parasim.report.style import save
from parasim.report.sweep_plot import sweep_figure
from parasim.report.sweep_values import point_labels, value_text
from parasim.report.targets import by_seconds
from parasim.trace.files import write_atomic

__all__ = ["sweep_json", "write_sweep"]

_MOST_CURVES = 12
_WHOLE = {"workers", "steps", "updates", "seed", "staleness_max"}
_TEXT = {"scheme", "synthetic_data", "data_sheets", "error"}
_TRUTH = {"calibrated"}


def sweep_json(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`keys`, those of each axis in `axes`; per point `values` by key, `summary` (null if it did not run), `error`."""
    points = [
        {
            "label": outcome.label,
            "scheme": outcome.scheme,
            "values": dict(outcome.values),
            "summary": outcome.summary,
            "error": outcome.error or None,
        }
        for outcome in outcomes
    ]
    return {
        "keys": [key for axis in axes for key in axis],
        "axes": [list(axis) for axis in axes],
        "points": points,
    }


def write_sweep(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome], folder: str | Path, title: str) -> None:
    """Write sweep.json, sweep.csv, sweep.parquet, sweep.png and sweep.svg, each whole or not at all.

    And learning.png and learning.svg, if models were evaluated: of the twelve that were first at their targets.

    They depend on the points alone: not on their number of processes, nor on when they ran; but for sweep.json, which
    keeps the wall times of each.
    """
    write_atomic(Path(folder, "sweep.json"), (json_text(sweep_json(axes, outcomes)) + "\n").encode())
    rows = [{**_plain(outcome.values), **outcome.figures()} for outcome in outcomes]
    write_atomic(Path(folder, "sweep.csv"), csv_bytes(rows))
    write_atomic(Path(folder, "sweep.parquet"), _parquet(rows, set(outcomes[0].values)))
    save(sweep_figure(axes, outcomes, title), Path(folder, "sweep"))
    labels = point_labels(axes, outcomes)
    ran = [(o.summary, label) for o, label in zip(outcomes, labels, strict=True) if o.summary is not None]
    first = by_seconds([summary for summary, _ in ran])
    order = [*first, *(place for place in range(len(ran)) if place not in first)][:_MOST_CURVES]
    write_curves([ran[place][0] for place in order], [ran[place][1] for place in order], folder, title)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists and mappings as text."""
    return {key: value_text(value) if isinstance(value, (dict, list)) else value for key, value in values.items()}


def _parquet(rows: Sequence[Mapping[str, Any]], keys: set[str]) -> bytes:
    """The rows as Parquet; keys of mixed types are text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        if name in keys:
            kinds = {type(cell) for cell in cells if cell is not None}
            if kinds == {int, float}:
                cells = [None if cell is None else float(cell) for cell in cells]
            elif len(kinds) > 1:
                cells = [None if cell is None else value_text(cell) for cell in cells]
            columns[name] = pa.array(cells)
        else:
            kind = pa.int64() if name in _WHOLE else pa.string() if name in _TEXT else pa.float64()
            columns[name] = pa.array(cells, pa.bool_() if name in _TRUTH else kind)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
