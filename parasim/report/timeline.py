"""Timelines of runs as files: a picture (PNG and SVG), and a trace that ui.perfetto.dev opens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.report.output import Runs, claim_folder, suffixes
from parasim.report.perfetto import write_trace_events
from parasim.report.plot_text import sheet_names
from parasim.report.style import save
from parasim.report.table import coupled_collectives, profile_words
from parasim.report.text import shortened
from parasim.report.timeline_draw import draw
from parasim.report.timeline_view import View, view
from parasim.report.timeline_window import Selection
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["Selection", "prepared", "timeline", "write_timeline"]

_ABOUT = (
    "scenario", "scheme", "clock", "workers", "steps", "seconds", "seed", "calibrated", "data_sheets", "profile",
    "data",
)  # fmt: skip


def prepared(scenarios: Sequence[Scenario], path: str, selection: Selection) -> Callable[[Runs], str]:
    """Check, before anything runs, that timelines can be drawn and written.

    Parameters
    ----------
    scenarios
        What will run.
    path
        Where timelines go, as for :func:`write_timeline`; an ending .png or .svg is left out, and the names of several
        runs are added.
    selection
        Which steps, how many actors.

    Returns
    -------
    Callable
        Writes the timelines of the runs, and says in a line which files they are.

    Raises
    ------
    ScenarioError
        If a scenario keeps no rows, or has not the steps that were asked for; if there is no such place.
    """
    first, last, actors = selection.first_step, selection.last_step, selection.actors
    if actors is not None and actors < 1:
        raise ScenarioError(f"--actors {actors}: show at least 1")
    if first is not None and last is not None and first > last:
        raise ScenarioError(f"--from-step {first} is after --to-step {last}: give the first step first")
    for scenario in scenarios:
        if scenario.run.trace == "aggregate":
            raise ScenarioError(
                f"--timeline: {scenario.name} keeps no rows (run: {{trace: aggregate}}); give run.trace=rows too"
            )
        for option, step in (("--from-step", first), ("--to-step", last)):
            if step is not None and not 0 <= step < scenario.run.steps:
                raise ScenarioError(
                    f"{option} {step}: {scenario.name} has steps 0 to {scenario.run.steps - 1}; choose among them"
                )
    path = path.removesuffix(".png").removesuffix(".svg")
    claim_folder(os.path.dirname(path) or ".", "--timeline")

    def write(runs: Runs) -> str:
        lines = []
        for (_, result), suffix in zip(runs, suffixes(runs), strict=True):
            first, *more = write_timeline(result, f"{path}{suffix}", selection)
            lines.append(f"timeline: {first}, {', '.join(file.name.removeprefix(first.stem) for file in more)}")
        return "\n".join([*lines, "ui.perfetto.dev opens a .trace.json"])

    return write


def timeline(result: Result, selection: Selection | None = None) -> Any:
    """The picture of a run.

    Parameters
    ----------
    result
        Of a simulated or of a real run, with its rows.
    selection
        Which steps, how many actors; by default what stays legible.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `parasim.report.style.save`.

    Raises
    ------
    ScenarioError
        If the result has no rows, or not the steps that were asked for.
    """
    if not isinstance(result.trace, Trace):
        raise ScenarioError("the result keeps sums only, no rows to draw a timeline from; run it with run.trace=rows")
    shown = view(result.trace, selection or Selection())
    return draw(shown, _title(result, shown), _note(result))


def write_timeline(result: Result, path: str | Path, selection: Selection | None = None) -> list[Path]:
    """Write the timeline of a run.

    Parameters
    ----------
    result
        Of a simulated or of a real run, with its rows.
    path
        Where, without an ending.
    selection
        As for :func:`timeline`; the events for Perfetto are those of the whole run.

    Returns
    -------
    list of Path
        PATH.png, PATH.svg and PATH.trace.json (PATH.trace.json.gz if that is large).

    Raises
    ------
    ScenarioError
        As :func:`timeline`.
    """
    written = save(timeline(result, selection), path)
    assert isinstance(result.trace, Trace)
    about = {key: result.summary.get(key) for key in _ABOUT}
    return [*written, write_trace_events(result.trace, path, about)]


def _title(result: Result, shown: View) -> str:
    """What is shown."""
    summary = result.summary
    words = f"{shortened(summary['scenario'], 56)} ({summary['scheme']})"
    if shown.steps is None:
        return words
    first, last, count = shown.steps
    steps = f"step {first}" if first == last else f"steps {first}-{last}"
    return f"{words}, {steps} of {count}"


def _note(result: Result) -> str:
    """Whose clock it is, what the times rest on, and whether what was trained on is no real data."""
    summary = result.summary
    if summary["clock"] == "real":
        words = "Measured in a real run."
    elif summary.get("profile"):
        words = f"Simulated time; {profile_words(summary)}."
    elif summary["calibrated"]:
        words = "Simulated time."
    else:
        sheets = sheet_names([summary])
        words = f"Simulated time; uncalibrated{f': data sheet of {sheets}' if sheets else ''}."
    if coupled := coupled_collectives([summary]):
        words = f"{words} {coupled}."
    data = summary.get("data") or {}
    return f"{words} Synthetic data ({data['kind']})." if summary.get("loss") and data.get("synthetic") else words
