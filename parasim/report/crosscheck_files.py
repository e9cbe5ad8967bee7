"""A cross-check as files in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parasim.report.compare_files import csv_bytes
from parasim.report.crosscheck_plot import crosscheck_figure
from parasim.report.crosscheck_table import crosscheck_table
from parasim.report.output import json_text
from parasim.report.style import save
from parasim.trace.files import write_atomic

__all__ = ["write_crosscheck"]


def write_crosscheck(score: Mapping[str, Any], folder: str | Path, title: str) -> None:
    """Write crosscheck.json, crosscheck.txt, crosscheck.csv, crosscheck.png and crosscheck.svg.

    Each is there whole or not at all. The CSV has a row per case, the errors as fractions.
    """
    write_atomic(Path(folder, "crosscheck.json"), (json_text(score) + "\n").encode())
    write_atomic(Path(folder, "crosscheck.txt"), (crosscheck_table(score) + "\n").encode())
    write_atomic(Path(folder, "crosscheck.csv"), csv_bytes([_row(case) for case in score["cases"]]))
    save(crosscheck_figure(score, title), Path(folder, "crosscheck"))


def _row(case: Mapping[str, Any]) -> dict[str, Any]:
    seconds = case.get("seconds_per_step", {})
    real, simulated = seconds.get("measured", {}), seconds.get("predicted", {})
    staleness = case.get("staleness") or {}
    target = case.get("target") or {}
    return {
        **{name: case[name] for name in ("case", "scheme", "workers", "ranks", "group")},
        "measured_seconds_per_step": real.get("median"),
        "measured_low": real.get("low"),
        "measured_high": real.get("high"),
        "predicted_seconds_per_step": simulated.get("median"),
        "predicted_low": simulated.get("low"),
        "predicted_high": simulated.get("high"),
        "error": case.get("error"),
        "floor": (case.get("floor") or {}).get("mean_absolute_error"),
        "runs": case.get("runs"),
        "runs_inside": case.get("inside"),
        "traffic_equal": case.get("traffic_equal"),
        "traffic_error": case.get("traffic_error"),
        "staleness_mean_error": staleness.get("mean_error"),
        "staleness_variance_error": staleness.get("variance_error"),
        "staleness_distance": staleness.get("distance"),
        "measured_seconds_to_target": target.get("measured"),
        "predicted_seconds_to_target": target.get("predicted"),
        "target_error": target.get("error"),
        "accepted": case["accepted"],
        "failure": case["failure"],
    }
