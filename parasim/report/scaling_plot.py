"""The picture of "how many workers are worth it": time per sample against their number, and Seide's limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.plot_text import foot, wrapped
from parasim.report.style import SERIES, SMALL, figure, house

__all__ = ["scaling_figure"]

Entry = Mapping[str, Any]
Points = list[tuple[int, float]]

_PANEL, _LEGEND, _HEIGHT = 3.2, 1.7, 2.2  # inches: width of a panel and of the names beside it, height of a row
_LIMIT: dict[str, Any] = {"color": "#c0392b", "linewidth": 1.2}
_ALONE: dict[str, Any] = {"color": "#888888", "linewidth": 0.9, "linestyle": ":"}
_ALIKE = 0.01
_NAMES = 26  # characters of a line of the legend
_NAME = r"$\hat{N}$"
_BENEATH = 8.0
"""Of the least time: there the limits have their names."""
_REMARK = (
    "closed forms; the total batch is the same everywhere: more workers take fewer samples each. An arrow: the limit "
    "lies beyond the edge."
)


def scaling_figure(entries: Sequence[Entry]) -> Any:
    """Draw a column per setting, a row per family of schemes, and a line per scheme, over 1, 2, 4 ... workers.

    Both axes are logarithmic, and the same everywhere. Schemes of a family whose lines are the same in all settings, to
    1 %, share one. One worker's time per sample is a dotted line across. Where data are divided the limit N^ is a
    vertical line, that of compressed gradients a dashed one, or arrows at the edge where they lie beyond.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.lines import Line2D

    families = dict.fromkeys(row["family"] for entry in entries for row in entry["schemes"] if row.get("scaling"))
    rows = {family: lines for family in families if (lines := _lines(entries, family))} or {"": []}
    with house():
        drawn = figure(max(2, len(entries)) * _PANEL + _LEGEND, len(rows) * _HEIGHT + 1.0, "constrained")
        panels = drawn.subplots(len(rows), len(entries), sharex=True, sharey=True, squeeze=False)
        for above, (family, lines) in zip(panels, rows.items(), strict=True):
            for place, (axes, entry) in enumerate(zip(above, entries, strict=True)):
                for (_, points), series in zip(lines, SERIES, strict=False):
                    axes.plot(*zip(*points[place], strict=True) if points[place] else ([], []), **series.line())
                _furnish(axes, entry)
                if family.startswith("data parallel"):
                    _limits(axes, entry["limits"])
            above[0].set_ylabel(f"{wrapped(family, 30, 2)}\ntime per sample")
            handles = [
                Line2D([], [], **series.line(label=wrapped(", ".join(names), _NAMES, 3)))
                for (names, _), series in zip(lines, SERIES, strict=False)
            ]
            if handles:
                above[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for axes, entry in zip(panels[0], entries, strict=True):
            axes.set_title(wrapped(entry["scenario"], 42, 2), loc="left")
        for axes in panels[-1]:
            axes.set_xlabel("workers N")
        low, high = panels[0][0].get_ylim()
        panels[0][0].set_ylim(low / _BENEATH, high)
        factor = entries[0]["limits"]["compression"]
        handles = [
            Line2D([], [], **_LIMIT, label=f"{_NAME}: computing takes as long as exchanging gradients"),
            Line2D([], [], **_LIMIT, linestyle="--", label=f"{_NAME} of gradients {factor:g} times smaller"),
            Line2D([], [], **_ALONE, label="one worker"),
        ]
        drawn.suptitle("How many workers are worth it?", x=0.01, ha="left")
        foot(drawn, [_REMARK], handles, len(handles))
        for text in drawn.legends[-1].get_texts():
            text.set_parse_math(True)
    return drawn


def _lines(entries: Sequence[Entry], family: str) -> list[tuple[list[str], list[Points]]]:
    """Names that share a line, and its points in every setting; schemes of one number of workers have none."""
    by_name: dict[str, list[Points]] = {}
    for place, entry in enumerate(entries):
        for row in entry["schemes"]:
            if row.get("family") == family:
                points = [(point["workers"], point["seconds_per_sample"]) for point in row.get("scaling", ())]
                by_name.setdefault(row["label"], [[] for _ in entries])[place] = points
    found: list[tuple[list[str], list[Points]]] = []
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


def _alike(points: Points, others: Points) -> bool:
    return [workers for workers, _ in points] == [workers for workers, _ in others] and all(
        math.isclose(a, b, rel_tol=_ALIKE) for (_, a), (_, b) in zip(points, others, strict=True)
    )


def _furnish(axes: Any, entry: Entry) -> None:
    """Scales of a panel, and one worker's time."""
    from matplotlib.ticker import EngFormatter, NullLocator

    points = [point for row in entry["schemes"] for point in row.get("scaling", ())]
    alone = [point["seconds_per_sample"] for point in points if point["workers"] == 1]
    counts = sorted({point["workers"] for point in points}) or [1]
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.grid(axis="y")
    if alone:
        axes.axhline(min(alone), **_ALONE)
    axes.set_xlim(0.8 * counts[0], 1.25 * counts[-1])


def _limits(axes: Any, limits: Entry) -> None:
    """Vertical lines at numbers of workers, which stand beside them, or arrows to where they lie, beyond the edge."""
    low, high = axes.get_xlim()
    smaller = f" ({limits['compression']:g} times smaller)"
    found = ((limits["workers"], "", "-", 0.14), (limits["compressed"]["workers"], smaller, "--", 0.03))
    for value, which, dashes, height in found:
        if not math.isfinite(value):
            continue
        place = math.log(min(max(value, low), high) / low) / math.log(high / low)  # of the width
        words, left = f"{_NAME} = {value:.3g}{which}", place < 0.5
        if low <= value <= high:
            axes.axvline(value, **_LIMIT, linestyle=dashes)
        else:
            words = f"\N{LEFTWARDS ARROW} {words}" if left else f"{words} \N{RIGHTWARDS ARROW}"
        axes.text(
            place + (0.015 if left else -0.015), height, words, transform=axes.transAxes, parse_math=True, size=SMALL,
            color=_LIMIT["color"], va="bottom", ha="left" if left else "right",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
