"""The picture of training: the loss of each step over time and over steps, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.metrics.losses import LossPoint
from parasim.report.plot_text import foot, thousands, wrapped
from parasim.report.style import SERIES, figure, house
from parasim.report.text import shortened

__all__ = ["losses_figure"]

_WIDTH, _HEIGHT = 10.0, 3.2  # inches, of the panels
_COLUMNS = 4
_LABEL = 34


def losses_figure(curves: Mapping[str, Sequence[LossPoint]], title: str) -> Any:
    """Draw a line for each run, by its name; `title` stands above.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: the mean loss of a step over all workers, over the seconds at which it was complete, and over steps.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    with house():
        drawn = figure(_WIDTH, _HEIGHT + 0.17 * -(-len(curves) // _COLUMNS), "constrained")
        over_seconds, over_steps = drawn.subplots(1, 2, sharey=True)
        handles = []
        for number, (label, points) in enumerate(curves.items()):
            look = SERIES[number % len(SERIES)]
            plain = {**look.line(), "marker": ""}
            losses = [point.loss for point in points]
            in_time = sorted((point.seconds, point.loss) for point in points)
            over_seconds.plot([seconds for seconds, _ in in_time], [loss for _, loss in in_time], **plain)
            over_steps.plot([point.step for point in points], losses, **plain)
            handles.append(Line2D([], [], **plain, label=shortened(label, _LABEL)))
        for axes, words in ((over_seconds, "time (s)"), (over_steps, "step")):
            axes.set_xlabel(words)
            axes.set_xlim(left=0)
            axes.grid()
        over_steps.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        thousands(over_steps.xaxis)
        over_seconds.set_ylabel("loss of the batch")
        drawn.suptitle(wrapped(title, 100, 2), x=0.01, ha="left")
        foot(drawn, [], handles, _COLUMNS)
    return drawn
