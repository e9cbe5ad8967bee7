"""A comparison as JSON, and as files in a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parasim.metrics.outcome import Outcome, speedups
from parasim.report.compare_plot import compare_figure
from parasim.report.curves_plot import write_curves
from parasim.report.output import json_text
from parasim.report.style import save
from parasim.trace.files import write_atomic

__all__ = ["compare_json", "csv_bytes", "write_compare"]


def compare_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The summary of each row, with `label`, `speedup` and `error`; where it did not run, these and `scheme` only."""
    return [
        {
            "label": outcome.label,
            "scheme": outcome.scheme,
            **(outcome.summary or {}),
            "speedup": speedup,
            "error": outcome.error or None,
        }
        for outcome, speedup in zip(outcomes, speedups(outcomes), strict=True)
    ]


def write_compare(outcomes: Sequence[Outcome], folder: str | Path, title: str) -> None:
    """Write compare.csv, compare.png, compare.svg and summary.json, each whole or not at all.

    And learning.png and learning.svg, if models were evaluated.
    """
    rows = [
        {"label": outcome.label, "speedup": speedup, **outcome.figures()}
        for outcome, speedup in zip(outcomes, speedups(outcomes), strict=True)
    ]
    write_atomic(Path(folder, "summary.json"), (json_text(compare_json(outcomes)) + "\n").encode())
    write_atomic(Path(folder, "compare.csv"), csv_bytes(rows))
    save(compare_figure(outcomes, title), Path(folder, "compare"))
    ran = [(outcome.summary, outcome.label) for outcome in outcomes if outcome.summary is not None]
    write_curves([summary for summary, _ in ran], [label for _, label in ran], folder, title)


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of the same columns under a heading (RFC 4180); what is None is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
