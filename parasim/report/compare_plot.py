"""The picture of a comparison: throughput, shares of time and staleness, a row for each scheme or variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.metrics.outcome import Outcome, speedups
from parasim.metrics.rates import rates
from parasim.report.plot_text import fit, foot, notes, rate_label, thousands, wrapped
from parasim.report.style import COMPUTE, SMALL, TRANSFER, WAIT, figure, house
from parasim.report.table import count

__all__ = ["compare_figure"]

_WIDTH = 10.0  # inches
_LINE, _ROW, _REST = 0.13, 0.2, 1.4  # inches: a line of a label, the rest of a row, everything but rows
_NAME = 26  # characters of a line of a label
_TALL = 0.62  # of a row, for bars
_MOST_BARS = 40  # of a histogram
_RATE: dict[str, Any] = {"facecolor": "#5f7384", "edgecolor": "#2c3740", "linewidth": 0.5}
_BARS: dict[str, Any] = {"facecolor": "#e0a483", "edgecolor": "none"}
_MEAN: dict[str, Any] = {"color": "black", "marker": "D", "markersize": 4.0, "linestyle": ""}
_MAX: dict[str, Any] = {"color": "black", "marker": "|", "markersize": 11.0, "markeredgewidth": 1.5, "linestyle": ""}


def compare_figure(outcomes: Sequence[Outcome], title: str, remarks: Sequence[str] = ()) -> Any:
    """Draw a row per outcome, in their order from top to bottom.

    Parameters
    ----------
    outcomes
        The rows; of one that did not run, the reason stands in the place of its bars.
    title, remarks
        Stand above, and small beneath.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels side by side: samples per second; the split of a worker's time in percent; and the distribution of
        staleness in updates, with its mean and its maximum.
    """
    with house():
        names = [wrapped(outcome.label, _NAME, 3) for outcome in outcomes]
        height = _REST + sum(_ROW + _LINE * (name.count("\n") + 1) for name in names)
        drawn = figure(_WIDTH, height, "constrained")
        rate, shares, staleness = drawn.subplots(1, 3, sharey=True, width_ratios=(1.15, 1.0, 1.0))
        _rate(rate, outcomes)
        _shares(shares, outcomes)
        _staleness(staleness, outcomes)
        rate.set_yticks(range(len(outcomes)), names)
        rate.set_ylim(len(outcomes) - 0.5, -0.5)
        for axes in (rate, shares, staleness):
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        foot(drawn, [*remarks, *notes(outcomes)], _handles(), 6)
        reasons = [
            drawn.text(0, place, f"did not run: {outcome.error}", transform=rate.transData, size=SMALL, style="italic")
            for place, outcome in enumerate(outcomes)
            if outcome.summary is None
        ]
        for reason in reasons:
            reason.set(va="center", in_layout=False, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})
        drawn.draw_without_rendering()
        fit(reasons, drawn)
    return drawn


def _rate(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Samples per second (`metrics.rates`), with the number and the speed-up beside each bar."""
    most = 0.0
    summaries = [outcome.summary for outcome in outcomes]
    for place, (value, speedup) in enumerate(zip(rates(summaries), speedups(outcomes), strict=True)):
        if value:
            axes.barh(place, value, _TALL, **_RATE)
            text = f"{count(value)}  ({count(speedup)}x)"
            axes.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center", size=SMALL)
            most = max(most, value)
    axes.set_xlim(0, 1.45 * most if most else 1)
    axes.set_xlabel(rate_label(summaries))
    axes.set_title("throughput (and speed-up over the first)", loc="left")
    thousands(axes.xaxis)


def _shares(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Compute, transfer and waiting, stacked to 100 %."""
    for place, outcome in enumerate(outcomes):
        split: Mapping[str, float] = (outcome.summary and outcome.summary["shares"]) or {}
        left = 0.0
        for name, look in (("compute", COMPUTE), ("transfer", TRANSFER), ("wait", WAIT)):
            if value := 100 * split.get(name, 0.0):
                axes.barh(place, value, _TALL, left, **look.patch())
                left += value
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of a worker's time (%)")
    axes.set_title("where the time goes", loc="left")


def _staleness(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """A histogram per row; its highest bar is as high as the bars of the other panels."""
    from matplotlib.ticker import MaxNLocator

    most = 1.0
    for place, outcome in enumerate(outcomes):
        found = (outcome.summary and outcome.summary["staleness"]) or {}
        if found.get("mean") is None:
            continue
        histogram = {int(value): times for value, times in found["histogram"].items()}
        width, bars = _binned(histogram)
        bottom, highest = place + _TALL / 2, max(bars.values())
        axes.bar(
            [value + (width - 1) / 2 for value in bars],
            [-_TALL * times / highest for times in bars.values()],
            0.9 * width,
            bottom,
            **_BARS,
        )
        axes.plot(found["max"], place, **_MAX)
        axes.plot(found["mean"], place, **_MEAN)
        most = max(most, max(bars) + width - 1)
    axes.set_xlim(-0.6 - 0.02 * most, 0.6 + 1.02 * most)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("staleness (updates)")
    axes.set_title("staleness of gradients", loc="left")


def _binned(histogram: Mapping[int, int]) -> tuple[int, dict[int, int]]:
    """Width of the bars, and how many gradients fall into the one that begins at a value."""
    low, high = min(histogram), max(histogram)
    width = -(-(high - low + 1) // _MOST_BARS)
    bars: dict[int, int] = {}
    for value, times in sorted(histogram.items()):
        start = low + (value - low) // width * width
        bars[start] = bars.get(start, 0) + times
    return width, bars


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(**COMPUTE.patch(label="compute")),
        Patch(**TRANSFER.patch(label="transfer")),
        Patch(**WAIT.patch(label="wait")),
        Patch(**_BARS, label="gradients by staleness"),
        Line2D([], [], **_MEAN, label="mean staleness"),
        Line2D([], [], **_MAX, label="maximum"),
    ]
