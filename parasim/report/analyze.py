"""The tables of an analysis: what schemes cost, how long steps take, closed forms in symbols, workers worth having."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parasim.metrics.rates import ends_apart
from parasim.report.output import json_text
from parasim.report.scaling_plot import scaling_figure
from parasim.report.sheets import Cell, Sheet, cell, sheets_csv, sheets_text
from parasim.report.style import save
from parasim.report.table import rates_apart
from parasim.trace.files import write_atomic
from parasim.units import format_quantity

__all__ = ["analysis_sheets", "draw_scaling", "write_tables"]

Entry = Mapping[str, Any]

_FAR = 0.02
"""A difference that is explained."""
_COSTS = (
    "computes, sent, messages: of a worker in a step of all workers. memory: most that a worker holds. "
    "staleness: mean, in updates. Figures are simulated ones, far from the start of a run."
)
_TIMES = (
    "critical path: FLOP, messages and bytes of the passes and transfers that a step waits for, one after the "
    "other, by the closed form; without updates and reductions. closed form, simulated: time per step, far from the "
    "start and the end of a run. best: number of workers of the least time per sample by closed form, of 1, 2, 4 ... "
    "on this cluster."
)
_SYMBOLS = (
    "b samples of all workers, L layers of width n, N workers; c seconds per FLOP, alpha per message, beta per "
    "byte; S servers, period tau, e backups, q gradients per update, M micro-batches, v chunks of a stage, G groups. "
    "Updates and reductions are left out."
)


def analysis_sheets(entries: Iterable[Entry]) -> list[Sheet]:
    """The tables of what `parasim.study.analyze.analyze` found, for each setting: costs, times, formulas."""
    return [sheet for entry in entries for sheet in _sheets(entry)]


def write_tables(entries: Sequence[Entry], sheets: Sequence[Sheet], folder: str) -> list[Path]:
    """Write analysis.json, the tables in every form, and the values of each table as a CSV of its name."""
    written = [write_atomic(Path(folder, "analysis.json"), (json_text(entries) + "\n").encode())]
    for form, ending in (("text", "txt"), ("markdown", "md"), ("latex", "tex")):
        written.append(write_atomic(Path(folder, f"analysis.{ending}"), (sheets_text(sheets, form) + "\n").encode()))
    for name, text in sheets_csv(sheets).items():
        written.append(write_atomic(Path(folder, f"{name}.csv"), (text + "\n").encode()))
    return written


def draw_scaling(entries: Sequence[Entry], folder: str) -> list[Path]:
    """Write workers.png and workers.svg: time per sample against the number of workers."""
    return save(scaling_figure(entries), Path(folder, "workers"))


def _sheets(entry: Entry) -> list[Sheet]:
    rows = [row for row in entry["schemes"] if "error" not in row]
    of, name = f"{entry['scenario']}: steps of {entry['batch']} samples", entry["scenario"]
    if not all("simulated" in row for row in rows):
        return [replace(_scaling(entry, rows, of), of=name)]
    found = [_costs(rows, of), _times(entry, rows, of)] if rows else []
    formulas = [row for row in rows if row.get("formulas")]
    found += [_formulas(formulas)] if formulas else []
    return [replace(sheet, of=name) for sheet in found]


def _costs(rows: Sequence[Entry], of: str) -> Sheet:
    columns = [("scheme", 12), ("workers", None), ("computes", None), ("sent", None), ("messages", None)]
    columns += [("memory", None), ("staleness", None), ("in place of sequential SGD's gradient", 20)]
    cells = [
        [
            cell(row["label"]),
            cell(row["workers"]),
            cell(row["flops"], "FLOP"),
            cell(row["bytes"], "bytes"),
            cell(row["messages"]),
            cell(row["memory"], "bytes"),
            cell(row["staleness"]),
            cell(row["approximates"]),
        ]
        for row in rows
    ]
    return Sheet("costs", f"What schemes cost. {of}", columns, cells, [_COSTS])


def _times(entry: Entry, rows: Sequence[Entry], of: str) -> Sheet:
    columns = [("scheme", 12), ("critical\npath", None), ("messages\non it", None), ("bytes\non it", None)]
    columns += [("closed\nform", None), ("simu-\nlated", None), ("differ-\nence", None), ("closed form\nis", 11)]
    columns += [("best", None), ("time per\nsample there", None)]
    notes = [_limits(entry["limits"]), _TIMES]
    notes += [_apart(rows)] if ends_apart(rows) else []
    notes += [_worth(row) for row in rows if abs(row["difference"] or 0) > _FAR and row["note"]]
    notes += [f"{row['label']}: {row['error']}" for row in entry["schemes"] if "error" in row]
    return Sheet("times", f"How long a step takes. {of}", columns, [_time(row) for row in rows], notes)


def _apart(rows: Sequence[Entry]) -> str:
    """What workers that end apart take together."""
    found = rates_apart((row["label"], row) for row in rows)
    return f"ENDS APART: steps here are those of the slowest worker; samples per s while all work: {found}."


def _worth(row: Entry) -> str:
    """What the closed form of a row leaves out, and the bounds that hold all the same."""
    between = ""
    if row["bounds"] is not None:
        low, high = (format_quantity(seconds, "seconds") for seconds in row["bounds"])
        between = f" A step takes from {low} to {high}."
    return f"{row['label']}: {row['note']}.{between}"


def _time(row: Entry) -> list[Cell]:
    path = row["path"] or {"flops": None, "messages": None, "bytes": None}
    least = {point["workers"]: point["seconds_per_sample"] for point in row["scaling"]}
    difference = row["difference"]
    return [
        cell(row["label"]),
        cell(path["flops"], "FLOP"),
        cell(path["messages"]),
        cell(path["bytes"], "bytes"),
        cell(row["closed_form"], "seconds"),
        cell(row["simulated"], "seconds"),
        cell(None) if difference is None else Cell(f"{round(difference, 3) + 0.0:+.1%}", difference),
        cell(row["meaning"]),
        cell(row["best_workers"]),
        cell(least.get(row["best_workers"]), "seconds"),
    ]


def _scaling(entry: Entry, rows: Sequence[Entry], of: str) -> Sheet:
    """Time per sample, a column for each number of workers."""
    times = [{point["workers"]: point["seconds_per_sample"] for point in row["scaling"]} for row in rows]
    counts = sorted({workers for found in times for workers in found})
    cells = [
        [cell(row["label"]), *(cell(found.get(workers), "seconds") for workers in counts), cell(row["best_workers"])]
        for row, found in zip(rows, times, strict=True)
    ]
    columns = [("scheme", 12), *((f"N = {workers}", None) for workers in counts), ("best", None)]
    return Sheet("scaling", f"Time per sample by number of workers N. {of}", columns, cells, [_limits(entry["limits"])])


def _limits(limits: Entry) -> str:
    """Seide's numbers of workers in a sentence."""
    factor, packed = limits["compression"], limits["compressed"]

    def words(value: float | None) -> str:
        return "none (the update takes longer)" if value is None else "any" if math.isinf(value) else f"{value:.3g}"

    return (
        f"N^, the workers at which computing takes as long as exchanging gradients: {words(limits['workers'])}; with "
        f"gradients {factor:g} times smaller: {words(packed['workers'])}. With double buffering and the update (Seide "
        f"et al. 2014): {words(limits['double_buffering'])}, and {words(packed['double_buffering'])}."
    )


def _formulas(rows: Sequence[Entry]) -> Sheet:
    names = ("seconds", "bytes", "staleness")
    cells = [
        [
            cell(row["label"]),
            *(Cell(f["text"], f["text"], f["latex"]) for f in (row["formulas"][name] for name in names)),
        ]
        for row in rows
    ]
    columns = [("scheme", 12), ("seconds of b samples", 40), ("bytes per worker", 20), ("staleness", 8)]
    return Sheet("formulas", "Layers of one width: closed forms", columns, cells, [_SYMBOLS])
