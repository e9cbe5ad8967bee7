"""Curves of learning: the figure on held-out data over time, steps and bytes, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parasim.report.curves_families import families, families_figure
from parasim.report.plot_text import foot, thousands, wrapped
from parasim.report.style import SERIES, figure, house, save
from parasim.report.targets import by_seconds
from parasim.report.text import shortened
from parasim.units import format_quantity

__all__ = ["curves_figure", "write_curves"]

_WIDTH, _HEIGHT = 10.0, 3.4  # inches, of the panels
_AXES = (
    ("seconds", "time (s)"),
    ("steps", "steps of each worker"),
    ("bytes", "bytes sent by all"),
)
_MANY = 12
_COLUMNS = 3
_LABEL = 44
_HIGH = 0.75
_BEYOND = 1.15


def write_curves(summaries: Sequence[Mapping[str, Any]], labels: Sequence[str], folder: str | Path, title: str) -> None:
    """Write learning.png and learning.svg, if the model of any of the runs was evaluated."""
    if any("evaluation" in summary for summary in summaries):
        save(curves_figure(summaries, labels, title), Path(folder, "learning"))


def curves_figure(summaries: Sequence[Mapping[str, Any]], labels: Sequence[str], title: str) -> Any:
    """Draw a line for each run whose model was evaluated.

    Parameters
    ----------
    summaries, labels
        `Result.summary` of each run, and its name.
    title
        Stands above.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels: accuracy (or loss, where there is no accuracy or the target is a loss) over seconds, steps and
        bytes. A large mark stands where a run reached its target, which is the dashed line. Of more than a dozen runs
        whose names have parts in common ("ring, fp16") each value of one part has panels of its own.
    """
    from matplotlib.lines import Line2D

    shown = [place for place, summary in enumerate(summaries) if "evaluation" in summary]
    reached = by_seconds(summaries)
    shown = [place for place in reached if place in shown] + [place for place in shown if place not in reached]
    wanted = {(w["figure"], w["value"]) for place in shown if (w := summaries[place]["evaluation"].get("wanted"))}
    points = [summaries[place]["evaluation"]["points"] for place in shown]
    name = "loss" if any(w[0] == "loss" for w in wanted) or points[0][0]["accuracy"] is None else "accuracy"
    if len(shown) > _MANY:
        runs = [summaries[place] for place in shown]
        found = families(runs, [labels[place] for place in shown])
        if found is not None:
            said = [line.split("; marks")[0] for line in _said(summaries, shown)]
            said[0] += "; dots: targets reached" if any("target" in run for run in runs) else ""
            return families_figure(
                runs, found, title, name, [(over, words.removesuffix(" (s)")) for over, words in _AXES], said
            )
    with house():
        rows = -(-len(shown) // _COLUMNS)
        drawn = figure(_WIDTH, _HEIGHT + 0.17 * rows, "constrained")
        panels = drawn.subplots(1, len(_AXES), sharey=True)
        handles = []
        for number, place in enumerate(shown):
            look, summary = SERIES[number % len(SERIES)], summaries[place]
            for axes, (over, _) in zip(panels, _AXES, strict=True):
                line = [point for point in summary["evaluation"]["points"] if point[over] is not None]
                plain = {**look.line(), "marker": ""}
                axes.plot([point[over] for point in line], [point[name] for point in line], **plain)
                target = summary.get("target")
                if target is not None and target[over] is not None:
                    axes.plot(target[over], target[name], **look.line(markersize=7.0, markeredgecolor="white"))
            handles.append(Line2D([], [], **look.line(), label=_legend(labels[place], summary)))
        for axes, (over, words) in zip(panels, _AXES, strict=True):
            for figure_name, value in wanted:
                if figure_name == name:
                    axes.axhline(value, color="#777777", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.set_xlim(0, _last([summaries[place] for place in shown], over))
            axes.set_xlabel(words)
            axes.grid()
            if over != "seconds":
                thousands(axes.xaxis)
        panels[0].set_ylabel(f"{name} on held-out data")
        if name == "accuracy" and all(point[-1][name] > _HIGH for point in points):
            panels[0].set_ylim(0.5, 1.0)
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        foot(drawn, _said(summaries, shown), handles, _COLUMNS)
    return drawn


def _last(summaries: Sequence[Mapping[str, Any]], over: str) -> float | None:
    """Where an axis ends: a little behind the last target, if all reached theirs (None: where the lines do)."""
    targets = [summary.get("target") for summary in summaries]
    places = [target[over] for target in targets if target is not None and target[over] is not None]
    return _BEYOND * max(places) if len(places) == len(targets) and max(places) > 0 else None


def _legend(label: str, summary: Mapping[str, Any]) -> str:
    """Name of a line, and when it reached its target."""
    label = shortened(label, _LABEL)
    if "target" not in summary:
        return label
    target = summary["target"]
    return f"{label}: {'not reached' if target is None else format_quantity(target['seconds'], 'seconds')}"


def _said(summaries: Sequence[Mapping[str, Any]], shown: Sequence[int]) -> list[str]:
    """What the picture doesn't say by itself."""
    runs = [summaries[place] for place in shown]
    every = " or ".join(dict.fromkeys(run["evaluation"]["every"] for run in runs))
    lines = [f"evaluated every {every}; {' and '.join(sorted({run['clock'] for run in runs}))} time"]
    if _last(runs, "seconds") is not None:
        lines[0] += "; marks: targets reached; the axes end behind the last of them"
    made = sorted({run["data"]["kind"] for run in runs if run["data"] and run["data"]["synthetic"]})
    if made:
        lines.append(f"synthetic data: {', '.join(made)}")
    return lines
