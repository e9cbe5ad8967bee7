"""The picture of a sweep: how throughput scales with workers, or how time per step depends on another number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parasim.metrics.outcome import Outcome
from parasim.metrics.rates import rates
from parasim.report.compare_plot import compare_figure
from parasim.report.plot_text import foot, notes, rate_label, thousands, tilt, wrapped
from parasim.report.style import SERIES, figure, house
from parasim.report.sweep_values import VARIANT, numbers, place_text, short_names

__all__ = ["sweep_figure"]

_MOST_LINES = 12
_MOST_BARS = 24
_MOST_TICKS = 10
_WIDE = 8.0  # largest over smallest number from which on an axis is logarithmic
_FAR = 100  # likewise, of throughputs where the workers are not
_CHARACTERS = 125  # of the legend's font, in the width of the figure
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "\u00b5s"), (1e-9, "ns"))
_IDEAL: dict[str, Any] = {"color": "#8a8a8a", "linestyle": ":", "linewidth": 1.0, "zorder": 1.5}


@dataclass(frozen=True, slots=True)
class _Line:
    """Points that differ in one axis alone: its number, the words for it, and the outcome."""

    name: str
    points: list[tuple[float, str, Outcome]] = field(default_factory=list)


def sweep_figure(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome], title: str) -> Any:
    """Draw a sweep.

    Where an axis changes the number of workers: throughput against it, with what would be ideal, and efficiency, the
    throughput per worker relative to that of the line's smallest number of workers. Else, where an axis has numbers:
    time per step against it. A line per combination of the other axes. Without such an axis: a row per point, as in a
    comparison.

    Parameters
    ----------
    axes
        The keys of each axis of the grid.
    outcomes
        The points, in any order.
    title
        Stands above.

    Returns
    -------
    matplotlib.figure.Figure
    """
    failed = sum(outcome.summary is None for outcome in outcomes)
    remarks = [f"{failed} of {len(outcomes)} points did not run"] if failed else []
    if (found := _workers_axis(axes, outcomes)) is not None:
        return _scaling(_lines(axes, outcomes, found, by_workers=True), title, remarks, outcomes)
    found = _number_axis(axes, outcomes)
    if found is not None and (lines := _lines(axes, outcomes, found, by_workers=False)):
        return _dependence(lines, title, ", ".join(axes[found]), remarks, outcomes)
    if len(outcomes) > _MOST_BARS:
        remarks.append(f"the first {_MOST_BARS} of {len(outcomes)} points; sweep.csv has all")
    names = short_names(axes)
    return compare_figure([_renamed(o, axes, names) for o in outcomes[:_MOST_BARS]], title, remarks)


def _renamed(outcome: Outcome, axes: Sequence[Sequence[str]], names: Sequence[str]) -> Outcome:
    """The same with a short label."""
    label = _combination(outcome, axes, names, None)
    return Outcome(label, outcome.scheme, outcome.values, outcome.summary, outcome.error, outcome.error_kind)


def _combination(outcome: Outcome, axes: Sequence[Sequence[str]], names: Sequence[str], without: int | None) -> str:
    """What an outcome's axes, but for one, were set to."""
    words = [str(outcome.values[VARIANT])] if VARIANT in outcome.values else []
    for place, (axis, name) in enumerate(zip(axes, names, strict=True)):
        if place != without:
            words.append(f"{name}={place_text(outcome, axis)}")
    return ", ".join(words)


def _workers_axis(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome]) -> int | None:
    """The axis along which the number of workers changes, if there is one."""
    for wanted in ("scheme.workers", "cluster.topology."):
        for place, axis in enumerate(axes):
            if not any(key.startswith(wanted) for key in axis):
                continue
            lines = _lines(axes, outcomes, place, by_workers=True)
            if any(len({number for number, _, _ in line.points}) > 1 for line in lines):
                return place
    return None


def _number_axis(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome]) -> int | None:
    """The axis with most values, among those whose values are all numbers."""
    sizes = {}
    for place, axis in enumerate(axes):
        texts = list(dict.fromkeys(place_text(outcome, axis) for outcome in outcomes))
        if numbers(texts) is not None:
            sizes[place] = len(texts)
    return max(sizes, key=lambda place: sizes[place]) if sizes else None


def _lines(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome], along: int, *, by_workers: bool) -> list[_Line]:
    """The points that ran, by what the other axes were set to, each line from small to large."""
    names = short_names(axes)
    texts = [place_text(outcome, axes[along]) for outcome in outcomes]
    places = [0.0] * len(texts) if by_workers else numbers(texts) or []
    lines: dict[str, _Line] = {}
    for outcome, text, number in zip(outcomes, texts, places, strict=True):
        line = lines.setdefault(name := _combination(outcome, axes, names, along), _Line(name))
        if outcome.summary is None or not outcome.summary["seconds_per_step"]:
            continue
        if by_workers:
            workers = outcome.summary["workers"]
            line.points.append((float(workers), str(workers), outcome))
        else:
            line.points.append((number, text, outcome))
    for line in lines.values():
        line.points.sort(key=lambda point: point[0])
    return [line for line in lines.values() if line.points]


def _scaling(lines: list[_Line], title: str, remarks: list[str], outcomes: Sequence[Outcome]) -> Any:
    """Throughput and efficiency against the number of workers."""
    from matplotlib.lines import Line2D

    summaries = [outcome.summary for outcome in outcomes]
    of_each = {id(outcome): found or 0.0 for outcome, found in zip(outcomes, rates(summaries), strict=True)}
    with house():
        drawn, (rate, efficiency) = _panels(2, lines, title)
        for line, series in zip(lines[:_MOST_LINES], SERIES, strict=False):
            workers = [number for number, _, _ in line.points]
            found = [of_each[id(outcome)] for _, _, outcome in line.points]
            rate.plot(workers, found, **series.line(label=line.name or "simulated"))
            rate.plot(workers, [found[0] * number / workers[0] for number in workers], **_IDEAL)
            each = [value / number for value, number in zip(found, workers, strict=True)]
            efficiency.plot(workers, [100 * value / each[0] for value in each], **series.line())
        efficiency.axhline(100, **_IDEAL)
        _from_zero(efficiency)
        _across((rate, efficiency), lines, "workers")
        low, high = _extremes(rate)
        if rate.get_xscale() == "log" or high >= _FAR * low:
            _logarithmic(rate.yaxis)
        else:
            _from_zero(rate)
        thousands(rate.yaxis)
        rate.set_ylabel(rate_label(summaries))
        efficiency.set_ylabel("efficiency (%)")
        rate.set_title("throughput", loc="left")
        efficiency.set_title("efficiency", loc="left")
        remarks = [*remarks, "efficiency: throughput per worker, relative to the first point of the line"]
        ideal = Line2D([], [], **_IDEAL, label="ideal")
        _finish(drawn, (rate, efficiency), lines, [ideal], remarks, outcomes)
    return drawn


def _dependence(lines: list[_Line], title: str, name: str, remarks: list[str], outcomes: Sequence[Outcome]) -> Any:
    """Time per step against a number."""
    times = [o.summary["seconds_per_step"] for line in lines for _, _, o in line.points if o.summary]
    unit, symbol = next((entry for entry in _UNITS if max(times) >= entry[0]), _UNITS[-1])
    with house():
        drawn, (axes,) = _panels(1, lines, title)
        for line, series in zip(lines[:_MOST_LINES], SERIES, strict=False):
            heights = [outcome.summary["seconds_per_step"] / unit for _, _, outcome in line.points if outcome.summary]
            axes.plot([number for number, _, _ in line.points], heights, **series.line(label=line.name or "simulated"))
        _across((axes,), lines, name)
        if max(times) >= _WIDE * min(times):
            _logarithmic(axes.yaxis)
        else:
            _from_zero(axes)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(f"time per step ({symbol})")
        _finish(drawn, (axes,), lines, [], remarks, outcomes)
    return drawn


def _panels(count: int, lines: Sequence[_Line], title: str) -> tuple[Any, list[Any]]:
    """A figure of so many panels side by side, high enough for its legend."""
    shown = lines[:_MOST_LINES]
    rows = -(-(len(shown) + 1) // _columns(shown))
    drawn = figure(8.0, 3.6 + 0.17 * rows, "constrained")
    drawn.suptitle(wrapped(title, 80, 2), x=0.01, ha="left")
    return drawn, list(drawn.subplots(1, count, squeeze=False)[0])


def _columns(lines: Sequence[_Line]) -> int:
    """Columns of the legend."""
    return max(1, min(4, _CHARACTERS // (max(len(line.name) for line in lines) + 9)))


def _across(panels: Sequence[Any], lines: Sequence[_Line], name: str) -> None:
    """The axis from left to right, with ticks at the points where they are few."""
    from matplotlib.ticker import NullFormatter, NullLocator

    ticks = {number: text for line in lines[:_MOST_LINES] for number, text, _ in line.points}
    low, high = min(ticks), max(ticks)
    for axes in panels:
        if low > 0 and high >= _WIDE * low:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        if len(ticks) <= _MOST_TICKS:
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(list(ticks), list(ticks.values()))
        else:
            thousands(axes.xaxis)
        axes.set_xlabel(name)
        axes.grid()


def _extremes(axes: Any) -> tuple[float, float]:
    """The least and the greatest height of the lines."""
    heights = [height for line in axes.lines for height in line.get_ydata()]
    return min(heights), max(heights)


def _from_zero(axes: Any) -> None:
    """Heights from 0, and room above the highest: matplotlib leaves a share of their range, which may be tiny."""
    axes.set_ylim(0, 1.06 * axes.dataLim.y1)


def _logarithmic(axis: Any) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.axes.set_yscale("log")
    low, high = axis.get_view_interval()
    fine = math.log10(high / low) <= 3
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if fine else (1.0,), numticks=12))
    axis.set_minor_locator(NullLocator())


def _finish(
    drawn: Any,
    panels: Sequence[Any],
    lines: Sequence[_Line],
    more: list[Any],
    remarks: list[str],
    outcomes: Sequence[Outcome],
) -> None:
    """The legend, and what must be said."""
    if len(lines) > _MOST_LINES:
        remarks = [*remarks, f"{_MOST_LINES} of {len(lines)} lines are shown; sweep.csv has all points"]
    handles, _ = panels[0].get_legend_handles_labels()
    foot(drawn, [*remarks, *notes(outcomes)], [*handles, *more], _columns(lines[:_MOST_LINES]))
    drawn.draw_without_rendering()
    tilt(panels)
