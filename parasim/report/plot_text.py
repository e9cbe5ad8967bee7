"""Texts in pictures: names of any length, numbers on axes, and the mark of what is not calibrated."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parasim.metrics.outcome import Outcome
from parasim.metrics.rates import rate_name
from parasim.report.style import SMALL
from parasim.report.table import coupled_collectives, profile_words
from parasim.report.text import shortened

__all__ = ["fit", "foot", "notes", "rate_label", "sheet_names", "thousands", "tilt", "wrapped"]


def wrapped(text: str, width: int, lines: int) -> str:
    """The text on at most `lines` lines of `width` characters, with an ellipsis if anything is lost.

    Lines end where words do, or after a comma or an opening bracket; in a word that is longer than a line, after "=",
    "/" or "_".
    """
    parts = [""]
    for word in re.findall(r"[^\s,(]+[\s,(]*|[\s,(]+", " ".join(text.split())):
        for piece in [word] if len(word.rstrip()) <= width else re.findall(r"[^=/_]+[=/_]*|[=/_]+", word):
            if parts[-1] and len(parts[-1]) + len(piece.rstrip()) > width:
                parts.append("")
            parts[-1] += piece
    if len(parts) > lines:
        parts = [*parts[: lines - 1], "".join(parts[lines - 1 :])]
    return "\n".join(shortened(part.strip(), width) for part in parts)


def thousands(axis: Any) -> None:
    """Ticks as 500, 20k, 3M."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(sep=""))


def fit(texts: Iterable[Any], figure: Any) -> None:
    """Shorten texts that would stand out at the right edge of a figure whose layout is known."""
    edge = figure.bbox.x1 - 0.05 * figure.dpi
    for text in texts:
        whole = text.get_text()
        box = text.get_window_extent()
        if box.x1 > edge and box.width > 0:
            text.set_text(shortened(whole, max(1, int(len(whole) * (edge - box.x0) / box.width) - 2)))


def tilt(panels: Iterable[Any]) -> None:
    """Tilt the labels of the ticks from left to right where they would touch, in panels whose layout is known."""
    for axes in panels:
        boxes = sorted((text.get_window_extent() for text in axes.get_xticklabels()), key=lambda box: box.x0)
        if any(left.x1 + 4 > right.x0 for left, right in itertools.pairwise(boxes)):
            axes.tick_params(axis="x", labelrotation=35)
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")


def foot(figure: Any, lines: Sequence[str], handles: Sequence[Any], columns: int) -> None:
    """A legend, and small lines beneath it, at the foot of a figure of constrained layout, which leaves room for them.

    Parameters
    ----------
    figure, lines
        Where, and what is to be said.
    handles
        Of the legend, in rows of so many `columns`; without any there is none.
    """
    height = figure.get_size_inches()[1]
    said = 0.14 * len(lines) + 0.06 * bool(lines)
    rows = -(-len(handles) // columns)
    room = (said + 0.17 * rows + 0.08) / height
    figure.get_layout_engine().set(rect=(0, room, 1, 1 - room))
    if handles:
        shown = figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.004, said / height), ncols=columns, borderaxespad=0.0
        )
        shown.set_in_layout(False)
    text = "\n".join(lines)
    figure.text(0.01, 0.05 / height, text, size=SMALL, color="#444444", va="bottom", in_layout=False)


def sheet_names(summaries: Sequence[Mapping[str, Any]], most: int = 3) -> str:
    """The data sheets that runs rest on, by the names of the devices; empty if there are none."""
    sheets = [sheet for summary in summaries for sheet in summary.get("data_sheets") or ()]
    found = dict.fromkeys(sheet.partition(":")[0] for sheet in sheets)
    return ", ".join([*found][:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def rate_label(summaries: Sequence[Mapping[str, Any] | None]) -> str:
    """Of an axis of `metrics.rates`."""
    name = rate_name([summary for summary in summaries if summary is not None])
    return name.replace("samples per second", "throughput", 1) + " (samples/s)"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What must be said of figures wherever they are shown."""
    summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    coupled = coupled_collectives(summaries)
    lines = [f"coupled: {coupled}"] if coupled else []
    lines += [f"profile: {words}" for words in dict.fromkeys(map(profile_words, summaries)) if words]
    guessed = [s for s in summaries if s["clock"] == "simulated" and not s["calibrated"]]
    guessed = [summary for summary in guessed if summary.get("data_sheets") or not summary.get("profile")]
    if not guessed:
        return lines
    sources = [f"data sheets ({sheets})"] if (sheets := sheet_names(guessed)) else []
    if not all(summary.get("data_sheets") for summary in guessed):
        sources.append("plain numbers")
    which = "" if len(guessed) == len(summaries) else f" ({len(guessed)} of {len(summaries)})"
    what = f"devices are described by {' or '.join(sources)}, not by measurements of a machine"
    return [*lines, f"uncalibrated{which}: {what}"]
