"""Curves of many runs whose names have parts in common: a column of small panels for each value of one part.

"ring, fp16, scaled" has three parts. Columns are made of the part by which the times to the target differ most, colours
of the one with most values of the others, dashes of the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from parasim.report.plot_text import foot, wrapped
from parasim.report.style import SERIES, figure, house
from parasim.report.text import shortened
from parasim.units import format_quantity

__all__ = ["Families", "families", "families_figure"]

_COLUMNS = 6
_COLORS = 5
_DASHES: tuple[Any, ...] = ("-", (0, (2, 1.2)), (0, (1, 1.5, 4, 1.5)))
_WIDEST, _THINNER = 3.6, 0.8  # points: of runs that are alike, each is seen beside those above it
_LABEL = 30
_FAR = 10  # times as long as the shortest: the axis is logarithmic
_BEYOND = 1.25
_UNITS = {"seconds": "s", "steps": "", "bytes": "B"}
_PLAIN = "plain"


class Families(NamedTuple):
    """Parts of names.

    Attributes
    ----------
    columns, colors, dashes
        Values of the part that makes each.
    places
        Of each run a place in each of the three.
    """

    columns: tuple[str, ...]
    colors: tuple[str, ...]
    dashes: tuple[str, ...]
    places: tuple[tuple[int, int, int], ...]


def families(summaries: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Families | None:
    """What the names of runs have in common; None if they don't differ in two or three parts with few values each.

    A part that some names lack is "plain" there.
    """
    split = [label.split(", ") for label in labels]
    most = max(map(len, split))
    padded = [[*parts, *([_PLAIN] * (most - len(parts)))] for parts in split]
    values = [tuple(dict.fromkeys(parts[at] for parts in padded)) for at in range(most)]
    varied = [at for at in range(most) if len(values[at]) > 1]
    whole = {tuple(parts) for parts in padded}
    if (
        len(varied) not in (2, 3)
        or len(whole) != len(labels)
        or len(labels) < math.prod(len(values[at]) for at in varied) / 2
    ):
        return None
    columns = max(varied, key=lambda at: _apart(summaries, [parts[at] for parts in padded]))
    others = sorted((at for at in varied if at != columns), key=lambda at: -len(values[at]))
    limits = zip((columns, *others), (_COLUMNS, _COLORS, len(_DASHES)), strict=False)
    if any(len(values[at]) > limit for at, limit in limits):
        return None
    used = [columns, *others]
    places = tuple((*(values[at].index(parts[at]) for at in used), *((0,) * (3 - len(used)))) for parts in padded)
    dashes = values[used[2]] if len(used) == 3 else ("",)
    return Families(values[columns], values[used[1]], dashes, places)  # type: ignore[arg-type]


def _apart(summaries: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> float:
    """By how much logarithms of times to the target differ between runs with different values of a part."""
    found: dict[str, list[float]] = {}
    for summary, part in zip(summaries, parts, strict=True):
        found.setdefault(part, []).append(math.log(_seconds(summary)))
    means = [sum(logs) / len(logs) for logs in found.values()]
    return max(means) - min(means)


def _seconds(summary: Mapping[str, Any]) -> float:
    """To the target; of the whole run where it was not reached."""
    target = summary.get("target")
    return max(float((target or summary["evaluation"]["points"][-1])["seconds"]), 1e-12)


def families_figure(
    summaries: Sequence[Mapping[str, Any]],
    found: Families,
    title: str,
    name: str,
    axes_of: Sequence[tuple[str, str]],
    said: Sequence[str],
) -> Any:
    """Draw a row of panels for each axis, a column for each value of the first part.

    Parameters
    ----------
    summaries, found
        Of runs whose model was evaluated, and their families.
    title, said
        Above, and below.
    name
        "accuracy" or "loss".
    axes_of
        Names of figures and what to write at their axes.
    """
    from matplotlib.lines import Line2D

    wanted = {w["value"] for s in summaries if (w := s["evaluation"].get("wanted")) and w["figure"] == name}
    with house():
        drawn = figure(10.0, 2.1 * len(axes_of) + 1.0, "constrained")
        grid = drawn.subplots(len(axes_of), len(found.columns), sharey=True, sharex="row", squeeze=False)
        for row, (over, words) in zip(grid, axes_of, strict=True):
            for summary, (column, color, dashes) in zip(summaries, found.places, strict=True):
                look = SERIES[color].color, _DASHES[dashes], _WIDEST - _THINNER * color
                _draw(row[column], summary, over, name, look)
            for axes in row:
                for value in wanted:
                    axes.axhline(value, color="#777777", linewidth=0.8, zorder=0)
                axes.set_xlabel(words)
                axes.grid()
            _scale(row[0], summaries, over)
            row[0].set_ylabel(f"{name} on held-out data")
        for place, (axes, value) in enumerate(zip(grid[0], found.columns, strict=True)):
            axes.set_title(
                _heading(value, [s for s, at in zip(summaries, found.places, strict=True) if at[0] == place])
            )
        if name == "accuracy":
            grid[0][0].set_ylim(top=1.02)
        handles = [
            Line2D([], [], color=SERIES[at].color, linewidth=_WIDEST - _THINNER * at, label=shortened(value, _LABEL))
            for at, value in enumerate(found.colors)
        ]
        if len(found.dashes) > 1:
            handles += [
                Line2D([], [], color="#555555", linestyle=_DASHES[at], label=shortened(value, _LABEL))
                for at, value in enumerate(found.dashes)
            ]
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        foot(drawn, [*said, "lines inside others: runs that are alike"], handles, len(handles))
    return drawn


def _scale(axes: Any, summaries: Sequence[Mapping[str, Any]], over: str) -> None:
    """Of a row: logarithmic where runs are far apart, and no longer than a little behind the last target."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    targets = [summary["target"][over] for summary in summaries if summary.get("target")]
    far = len(targets) > 1 and 0 < _FAR * min(targets) < max(targets)
    if far:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(unit=_UNITS[over], sep=" " if _UNITS[over] else ""))
    if targets and len(targets) == len(summaries):
        axes.set_xlim(left=None if far else 0, right=_BEYOND * max(targets))


def _draw(axes: Any, summary: Mapping[str, Any], over: str, name: str, look: tuple[str, Any, float]) -> None:
    """A line, and a mark where the target was reached."""
    color, dashes, width = look
    order = 2 - width / 10  # thinner ones above
    line = [point for point in summary["evaluation"]["points"] if point[over]]
    values = [point[name] for point in line]
    axes.plot([point[over] for point in line], values, color=color, linestyle=dashes, linewidth=width, zorder=order)
    target = summary.get("target")
    if target is not None and target[over]:
        mark = {
            "marker": "o",
            "markersize": width + 3.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.7,
            "linestyle": "",
        }
        axes.plot(target[over], target[name], color=color, zorder=order + 1, **mark)


def _heading(value: str, summaries: Sequence[Mapping[str, Any]]) -> str:
    """Of a column: what its runs have in common, and how soon the first reached its target."""
    times = [summary["target"]["seconds"] for summary in summaries if summary.get("target")]
    best = f"first at {format_quantity(min(times), 'seconds')}" if times else ""
    if any("target" in summary for summary in summaries) and not times:
        best = "not reached"
    return f"{shortened(value, _LABEL)}\n{best}" if best else shortened(value, _LABEL)
