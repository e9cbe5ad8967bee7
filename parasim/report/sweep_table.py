"""The table of a sweep: a row per point, with what its keys were set to in the place of a name."""

from __future__ import annotations

from collections.abc import Sequence

from parasim.metrics.outcome import Outcome
from parasim.report.compare_table import outcome_columns, reasons
from parasim.report.sweep_values import VARIANT, numbers, place_text, point_labels, short_names
from parasim.report.table import WIDTH, results_footer
from parasim.report.targets import has_targets, targets_table
from parasim.report.text import Column, table

__all__ = ["sweep_table"]

_MOST_ROWS = 200
_MOST_REASONS = 20


def sweep_table(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome]) -> str:
    """Write the table, in the order of the outcomes.

    Parameters
    ----------
    axes
        The keys of each axis of the grid.
    outcomes
        The points. Of very many, the first are shown; files have them all.
    """
    shown = outcomes[:_MOST_ROWS]
    columns = []
    if any(VARIANT in outcome.values for outcome in shown):
        columns.append(Column(VARIANT, [str(outcome.values[VARIANT]) for outcome in shown], least=4))
    for axis, name in zip(axes, short_names(axes), strict=True):
        cells = [place_text(outcome, axis) for outcome in shown]
        columns.append(Column(name.replace(", ", ",\n"), cells, least=None if numbers(cells) else 4))
    known = {key for axis in axes for key in axis}
    told = {"scheme": "scheme.kind", "workers": "scheme.workers"}
    columns += [column for column in outcome_columns(shown)[1:] if told.get(column.heading) not in known]
    lines = [*table(columns, WIDTH), ""]
    labels = point_labels(axes, shown)
    ran = [(o.summary, label) for o, label in zip(shown, labels, strict=True) if o.summary is not None]
    if has_targets([summary for summary, _ in ran]):
        lines += [targets_table([summary for summary, _ in ran], [label for _, label in ran]), ""]
    if len(outcomes) > len(shown):
        lines.append(f"... and {len(outcomes) - len(shown)} more points: see sweep.csv (--out DIR).")
    lines += results_footer([outcome.summary for outcome in outcomes if outcome.summary is not None])
    failed = reasons(outcomes)
    more = len(failed) - _MOST_REASONS
    return "\n".join(lines + failed[:_MOST_REASONS] + ([f"... and {more} more that did not run."] if more > 0 else []))
