"""The picture of "how many workers are worth it": time per sample against their number, and Seide's limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.plot_text import foot, wrapped
from parasim.report.style import SERIES, figure, house

__all__ = ["scaling_figure"]

Entry = Mapping[str, Any]

_PANEL, _HEIGHT = 3.6, 3.5  # inches
_LIMIT: dict[str, Any] = {"color": "#c0392b", "linewidth": 1.2}
_ALONE: dict[str, Any] = {"color": "#888888", "linewidth": 0.9, "linestyle": ":"}
_ALIKE = 0.01
_COLUMNS = 4
_NAMES = 48  # characters of a line of the legend


def scaling_figure(entries: Sequence[Entry]) -> Any:
    """Draw a panel per setting and a line per scheme, over 1, 2, 4 ... workers; both axes are logarithmic.

    Schemes whose lines are the same in all panels, to 1 %, share one. The limit N^ is a vertical line, that of
    compressed gradients a dashed one; one worker's time per sample a dotted line across.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.lines import Line2D

    lines = _lines(entries)
    with house():
        rows = -(-(len(lines) + 3) // _COLUMNS)
        drawn = figure(max(2, len(entries)) * _PANEL, _HEIGHT + 0.17 * rows, "constrained")
        panels = drawn.subplots(1, len(entries), sharey=True, squeeze=False)[0]
        for place, (axes, entry) in enumerate(zip(panels, entries, strict=True)):
            for (_, points), series in zip(lines, SERIES, strict=False):
                axes.plot(*zip(*points[place], strict=True) if points[place] else ([], []), **series.line())
            _furnish(axes, entry)
        panels[0].set_ylabel("time per sample")
        handles = [
            Line2D([], [], **series.line(label=wrapped(", ".join(names), _NAMES, 1)))
            for (names, _), series in zip(lines, SERIES, strict=False)
        ]
        factor = entries[0]["limits"]["compression"]
        handles += [
            Line2D([], [], **_LIMIT, label="N^: computing = exchanging"),
            Line2D([], [], **_LIMIT, linestyle="--", label=f"N^, gradients {factor:g} times smaller"),
            Line2D([], [], **_ALONE, label="one worker"),
        ]
        drawn.suptitle("How many workers are worth it?", x=0.01, ha="left")
        remark = "closed forms; the total batch is the same everywhere: more workers take fewer samples each"
        foot(drawn, [remark], handles, _COLUMNS)
    return drawn


def _lines(entries: Sequence[Entry]) -> list[tuple[list[str], list[list[tuple[int, float]]]]]:
    """Names that share a line, and its points in every panel; schemes of one number of workers have none."""
    by_name: dict[str, list[list[tuple[int, float]]]] = {}
    for place, entry in enumerate(entries):
        for row in entry["schemes"]:
            points = [(point["workers"], point["seconds_per_sample"]) for point in row.get("scaling", ())]
            by_name.setdefault(row["label"], [[] for _ in entries])[place] = points
    found: list[tuple[list[str], list[list[tuple[int, float]]]]] = []
    for name, panels in by_name.items():
        if not any(len(points) > 1 for points in panels):
            continue
        for names, others in found:
            if all(map(_alike, panels, others)):
                names.append(name)
                break
        else:
            found.append(([name], panels))
    return found


def _alike(points: Sequence[tuple[int, float]], others: Sequence[tuple[int, float]]) -> bool:
    return [workers for workers, _ in points] == [workers for workers, _ in others] and all(
        math.isclose(a, b, rel_tol=_ALIKE) for (_, a), (_, b) in zip(points, others, strict=True)
    )


def _furnish(axes: Any, entry: Entry) -> None:
    """Scales, titles, one worker's time and the limits of a panel."""
    from matplotlib.ticker import EngFormatter, NullLocator

    points = [point for row in entry["schemes"] for point in row.get("scaling", ())]
    alone = [point["seconds_per_sample"] for point in points if point["workers"] == 1]
    counts = sorted({point["workers"] for point in points}) or [1]
    axes.set(xscale="log", yscale="log", xlabel="workers N")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.grid(axis="y")
    if alone:
        axes.axhline(min(alone), **_ALONE)
    low, high = 0.8 * counts[0], 1.25 * counts[-1]
    limits = entry["limits"]
    for value, dashes in ((limits["workers"], "-"), (limits["compressed"]["workers"], "--")):
        if low <= value <= high:
            axes.axvline(value, **_LIMIT, linestyle=dashes)
    plain, packed = (f"{value:.3g}" for value in (limits["workers"], limits["compressed"]["workers"]))
    title = f"{wrapped(entry['scenario'], 44, 1)}\nN^ = {plain}; compressed {packed}"
    axes.set_title(title, loc="left")
    axes.set_xlim(low, high)
