"""The picture of memory: the most that a worker held, and what of, a row for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.plot_text import foot, wrapped
from parasim.report.style import SMALL, Look, figure, house
from parasim.trace.parts import PARTS, part_of
from parasim.units import format_quantity

__all__ = ["memory_figure"]

_WIDTH = 10.0  # inches
_LINE, _ROW, _REST = 0.13, 0.2, 1.3  # inches: a line of a label, the rest of a row, everything but rows
_NAME = 40  # characters of a line of a label
_TALL = 0.62  # of a row, for bars
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_LOOKS = (
    Look("#14283c", "#14283c", "", "white"),
    Look("#8c2d1a", "#5e1e12", "xxxx", "white"),
    Look("#f6b04e", "#9a5b00", "//////", "black"),
    Look("#6aa84f", "#3c542b", "\\\\\\\\", "black"),
    Look("#a6cbe3", "#41698a", "", "black"),
    Look("#d9c8e8", "#6b4a86", "----", "black"),
    Look("#f1f1f1", "#9a9a9a", "....", "black"),
)
_MOST: dict[str, Any] = {"color": "black", "marker": "|", "markersize": 11.0, "markeredgewidth": 1.5, "linestyle": ""}


def memory_figure(summaries: Sequence[Mapping[str, Any]], labels: Sequence[str], title: str) -> Any:
    """Draw a row per run.

    Parameters
    ----------
    summaries, labels
        `Result.summary` of each run, and its name.
    title
        Stands above.

    Returns
    -------
    matplotlib.figure.Figure
        Bars of the largest sizes of weights, stashed versions, gradients, optimizer state, activations, messages and
        buffers, one after the other, as means over workers. As these may be largest at different times, the whole,
        whose number stands beside the bars and whose place is marked, may be less.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bars = [_parts(summary) for summary in summaries]
    wholes = [summary["memory_bytes_per_worker"] or 0.0 for summary in summaries]
    far = max([*(sum(bar.values()) for bar in bars), *wholes], default=0.0)
    unit, name = next((entry for entry in _UNITS if far >= entry[0]), _UNITS[-1])
    with house():
        names = [wrapped(label, _NAME, 3) for label in labels]
        height = _REST + sum(_ROW + _LINE * (text.count("\n") + 1) for text in names)
        drawn = figure(_WIDTH, height, "constrained")
        axes = drawn.subplots()
        for place, (bar, whole) in enumerate(zip(bars, wholes, strict=True)):
            left = 0.0
            for part, look in zip(PARTS, _LOOKS, strict=True):
                if value := bar.get(part, 0.0) / unit:
                    axes.barh(place, value, _TALL, left, **look.patch())
                    left += value
            axes.plot(whole / unit, place, **_MOST)
            axes.annotate(
                format_quantity(whole, "bytes"), (max(left, whole / unit), place), (6, 0),
                textcoords="offset points", va="center", size=SMALL,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.12 * far / unit if far else 1)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel(f"held by a worker ({name})")
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        used = {part for bar in bars for part, value in bar.items() if value}
        handles = [Patch(**look.patch(label=part)) for part, look in zip(PARTS, _LOOKS, strict=True) if part in used]
        foot(drawn, [], [*handles, Line2D([], [], **_MOST, label="most at once")], 7)
    return drawn


def _parts(summary: Mapping[str, Any]) -> dict[str, float]:
    """Bytes by part."""
    found: dict[str, float] = {}
    for label, value in (summary.get("memory_bytes_per_worker_by_part") or {}).items():
        found[part_of(label)] = found.get(part_of(label), 0.0) + (value or 0.0)
    return found
