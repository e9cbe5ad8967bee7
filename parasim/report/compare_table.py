"""The table of a comparison: the table of results with speed-ups, and a row with dashes for what did not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parasim.metrics.outcome import Outcome, first_rate, speedups
from parasim.metrics.rates import ends_apart, rate_name, rates
from parasim.report.table import NONE, WIDTH, count, results_columns, results_footer
from parasim.report.targets import has_targets, targets_table
from parasim.report.text import Column, shortened, table

__all__ = ["compare_columns", "compare_table", "outcome_columns", "reasons"]

_WHOLE_RUN, _WHILE_ALL = "samples\nper s", "while all\nwork"


def compare_table(outcomes: Sequence[Outcome]) -> str:
    """Write the table, a row per outcome, and beneath it what the columns mean and why rows did not run."""
    lines = [*table(compare_columns(outcomes), WIDTH), ""]
    ran = [outcome for outcome in outcomes if outcome.summary is not None]
    summaries = [outcome.summary for outcome in ran if outcome.summary is not None]
    if first := first_rate(outcomes):
        lines.append(f"speed-up: {rate_name(summaries)}, relative to {shortened(outcomes[first[0]].label, 60)}.")
    lines += [*results_footer(summaries), *reasons(outcomes)]
    if has_targets(summaries):
        lines += ["", targets_table(summaries, [outcome.label for outcome in ran])]
    return "\n".join(lines)


def compare_columns(outcomes: Sequence[Outcome]) -> list[Column]:
    """The columns of the table of results, with speed-ups."""
    columns = outcome_columns(outcomes)
    found = speedups(outcomes)
    column = Column("speed-\nup", [NONE if value is None else f"{count(value)}x" for value in found])
    headings = [column.heading for column in columns]
    after = _WHILE_ALL if _WHILE_ALL in headings else _WHOLE_RUN
    columns.insert(headings.index(after) + 1, column)
    return columns


def outcome_columns(outcomes: Sequence[Outcome]) -> list[Column]:
    """The columns of the table of results, and of rates while all work, with dashes where an outcome has no figures."""
    ran = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    columns = results_columns(ran, [""] * len(ran))
    full = [replace(columns[0], cells=[outcome.label for outcome in outcomes])]
    full.append(replace(columns[1], cells=[outcome.figures()["scheme"] for outcome in outcomes]))
    for column in columns[2:]:
        cells = iter(column.cells)
        full.append(replace(column, cells=[NONE if o.summary is None else next(cells) for o in outcomes]))
        if column.heading == _WHOLE_RUN and ends_apart(ran):
            full.append(Column(_WHILE_ALL, [count(rate) for rate in rates([outcome.summary for outcome in outcomes])]))
    return full


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each outcome that did not run."""
    return [f"DID NOT RUN: {outcome.label}: {outcome.error}" for outcome in outcomes if outcome.summary is None]
