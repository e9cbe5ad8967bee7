"""The picture of a cross-check: predicted over measured with their intervals, and the signed error of every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.plot_text import foot, wrapped
from parasim.report.style import SERIES, figure, house

__all__ = ["crosscheck_figure"]

_WIDTH = 10.0  # inches
_LINE, _ROW, _REST, _LEAST = 0.13, 0.16, 1.5, 4.2  # inches: a line of a label, the rest of a row, all else, at least
_NAME = 30  # characters of a line of a label
_ROOM = 1.15
_BAND = "#e3ebf2"

Case = Mapping[str, Any]


def crosscheck_figure(score: Mapping[str, Any], title: str) -> Any:
    """Draw a score (`calibration.crosscheck`).

    Parameters
    ----------
    score
        Cases that did not run are named beneath.
    title
        Stands above.

    Returns
    -------
    matplotlib.figure.Figure
        To the left predicted over measured time per step, both on logarithmic axes, with the interval of the measured
        median across and that of the prediction upright; to the right the errors in percent, a row per case, with the
        interval that single runs should lie in, the single runs themselves, and the bound of the case.
    """
    cases = [case for case in score["cases"] if case["failure"] is None]
    groups = list(dict.fromkeys(case["group"] for case in cases))
    looks = dict(zip(groups, SERIES, strict=False))
    with house():
        names = [wrapped(case["case"], _NAME, 2) for case in cases]
        height = max(_LEAST, _REST + sum(_ROW + _LINE * (name.count("\n") + 1) for name in names))
        drawn = figure(_WIDTH, height, "constrained")
        left, right = drawn.subplots(1, 2, width_ratios=(1.0, 1.1))
        _scatter(left, cases, looks)
        _errors(right, cases, looks)
        right.set_yticks(range(len(cases)), names)
        right.set_ylim(max(1, len(cases)) - 0.5, -0.5)
        right.tick_params(axis="y", length=0)
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        foot(drawn, _remarks(score), _handles(looks), 5)
    return drawn


def _scatter(axes: Any, cases: Sequence[Case], looks: Mapping[str, Any]) -> None:
    values = []
    for case in cases:
        real, simulated = case["seconds_per_step"]["measured"], case["seconds_per_step"]["predicted"]
        look = looks[case["group"]]
        across = [[real["median"] - real["low"]], [real["high"] - real["median"]]]
        upright = [
            [max(0.0, simulated["value"] - simulated["low"])],
            [max(0.0, simulated["high"] - simulated["value"])],
        ]
        axes.errorbar(
            real["median"],
            simulated["value"],
            xerr=across,
            yerr=upright,
            color=look.color,
            marker=look.marker,
            markersize=4.5,
            markerfacecolor=look.color if case["accepted"] else "white",
            elinewidth=0.9,
            linestyle="",
        )
        values += [real["median"], simulated["value"]]
    if values:
        ends = [min(values) / _ROOM**2, max(values) * _ROOM**2]
        axes.plot(ends, ends, color="#777777", linewidth=0.8, zorder=0)
        axes.fill_between(ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color=_BAND, zorder=-1)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        _seconds_ticks(axes)
    axes.set_xlabel("measured time per step (s)")
    axes.set_ylabel("predicted time per step (s)")
    axes.set_anchor("N")
    axes.set_title("predicted over measured; the band is 10 % wide to either side", loc="left")
    axes.grid(visible=True)


def _seconds_ticks(axes: Any) -> None:
    """Ticks as 20m, 100m, 1: over less than two decades also between the powers of ten."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())


def _errors(axes: Any, cases: Sequence[Case], looks: Mapping[str, Any]) -> None:
    """In percent of what was measured; single runs as errors of the prediction against them."""
    furthest = 1.0
    for place, case in enumerate(cases):
        real, simulated = case["seconds_per_step"]["measured"], case["seconds_per_step"]["predicted"]
        look, middle = looks[case["group"]], real["median"]
        ends = [100 * (simulated[end] / middle - 1) for end in ("low", "high")]
        runs = [100 * (value / middle - 1) for value in real["values"]]
        bound = next((100 * check["bound"] for check in case["checks"] if check["what"] == "error"), None)
        if bound is not None:
            for end in (-bound, bound):
                axes.plot([end, end], [place - 0.4, place + 0.4], color="#b0b0b0", linewidth=1.0)
        axes.plot(ends, [place, place], color=look.color, linewidth=1.2)
        axes.plot(
            100 * case["error"],
            place,
            color=look.color,
            marker=look.marker,
            markersize=5,
            markerfacecolor=look.color if case["accepted"] else "white",
        )
        axes.plot(runs, [place] * len(runs), color="black", marker="|", markersize=6, linestyle="", linewidth=0.8)
        furthest = max(furthest, *map(abs, [*ends, *runs, bound or 0.0, 100 * case["error"]]))
    axes.axvline(0.0, color="#777777", linewidth=0.8, zorder=0)
    axes.set_xlim(-1.08 * furthest, 1.08 * furthest)
    axes.set_xlabel("from the measured median (%)")
    axes.set_title("error of each prediction, and the single runs", loc="left")
    axes.grid(axis="x")


def _remarks(score: Mapping[str, Any]) -> list[str]:
    lines = [wrapped(f"did not run: {c['case']}: {c['failure']}", 150, 1) for c in score["cases"] if c["failure"]]
    total = score["total"]
    if total is not None:
        lines.append(
            f"mean size of errors {100 * total['mean_absolute_error']:.1f} %, mean error "
            f"{100 * total['mean_signed_error']:+.1f} %, {100 * total['coverage']:.0f} % of {total['runs']} single "
            f"runs in the 90 % intervals: {'accepted' if score['accepted'] else 'rejected'}"
        )
    return lines


def _handles(looks: Mapping[str, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{**look.line(label=group), "linestyle": "-"}) for group, look in looks.items()]
    mark: dict[str, Any] = {"color": "black", "linestyle": ""}
    return [
        *handles,
        Line2D([], [], **mark, marker="o", markerfacecolor="white", label="case misses a bound"),
        Line2D([], [], **mark, marker="|", label="single real run"),
        Line2D([], [], color="#b0b0b0", label="bound"),
    ]
