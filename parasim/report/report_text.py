"""Folders of results as plain tables, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parasim.metrics.outcome import Outcome
from parasim.report.compare_table import compare_table, outcome_columns
from parasim.report.crosscheck_table import crosscheck_table
from parasim.report.folders import Folder
from parasim.report.replicas import replicas_table
from parasim.report.sweep_table import sweep_table
from parasim.report.table import WIDTH
from parasim.report.text import table
from parasim.report.theory import theory_table

__all__ = ["all_runs", "folder_text", "more_tables", "ran_of", "report_json", "report_text"]


def report_text(folders: Sequence[Folder]) -> str:
    """The tables of each folder under its name, and one of all runs if several folders have some."""
    parts = [f"{folder.path}: {folder.made.title} ({folder.made.verb})\n\n{folder_text(folder)}" for folder in folders]
    if every := all_runs(folders):
        parts.append("\n".join(["all runs", "", *table(outcome_columns(every), WIDTH)]))
    return "\n\n".join(parts)


def report_json(folders: Sequence[Folder]) -> Any:
    """One object for one folder, else a list.

    Each says what the folder is and how it came about, and has `runs` with label, summary and error, or a `score`.
    """
    objects = [
        {
            "folder": str(folder.path),
            **{name: getattr(folder.made, name) for name in ("verb", "title", "command", "written", "simulator")},
            "warnings": folder.made.warnings,
            "runs": [{"label": o.label, "summary": o.summary, "error": o.error or None} for o in folder.outcomes],
            "score": folder.score,
        }
        for folder in folders
    ]
    return objects[0] if len(objects) == 1 else objects


def folder_text(folder: Folder) -> str:
    """Its table or tables."""
    if folder.score is not None:
        return crosscheck_table(folder.score)
    if folder.axes:
        return sweep_table(folder.axes, folder.outcomes)
    return "\n\n".join([compare_table(folder.outcomes), *more_tables(folder).values()])


def more_tables(folder: Folder) -> dict[str, str]:
    """What was asked for beside the figures, by its title: intervals, closed forms."""
    ran, labels = ran_of(folder.outcomes)
    found = {}
    for key, title, write in (
        ("intervals", "Prediction intervals", replicas_table),
        ("theory", "Theory beside simulation", theory_table),
    ):
        shown = [(summary[key], label) for summary, label in zip(ran, labels, strict=True) if key in summary]
        if shown:
            found[title] = write([entry for entry, _ in shown], [label for _, label in shown])
    return found


def ran_of(outcomes: Sequence[Outcome]) -> tuple[list[dict[str, Any]], list[str]]:
    """Summaries of the rows that ran, and their labels."""
    ran = [(dict(outcome.summary), outcome.label) for outcome in outcomes if outcome.summary is not None]
    return [summary for summary, _ in ran], [label for _, label in ran]


def all_runs(folders: Sequence[Folder]) -> list[Outcome]:
    """The rows of all folders under names with their folder's; none if only one folder has runs."""
    having = [folder for folder in folders if folder.outcomes]
    if len(having) < 2:
        return []
    return [
        Outcome(f"{folder.path.name}: {o.label}", o.scheme, {}, o.summary, o.error)
        for folder in having
        for o in folder.outcomes
    ]
