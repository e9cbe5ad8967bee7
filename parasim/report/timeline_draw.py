"""A timeline as a matplotlib figure: actors from top to bottom, time from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from parasim.report.style import COMPUTE, SMALL, TEXT, TRANSFER, WAIT, Look, figure, house
from parasim.report.text import shortened
from parasim.report.timeline_view import PASSES, ActorView, LaneView, View
from parasim.trace.lanes import COMPUTE as COMPUTING
from parasim.trace.lanes import MAIN

__all__ = ["draw"]

_WIDTH = 7.6  # inches of the time axis
_MAIN, _SIDE, _GAP, _BETWEEN = 0.27, 0.15, 0.025, 0.11  # inches: heights of lanes, space between lanes and actors
_OUTLINED = 0.02  # inches; narrower boxes have no outline, which would hide them
_TEXT, _SMALL = 6.0, 5.5  # points: of texts in boxes, and of names of lanes
_CHARACTER = 0.62 / 72  # inches per character and point, wide enough for digits and most words
_NARROW = 0.008  # inches; narrower boxes would be lost between pixels and become a line, if there are few
_LONGEST = 24  # characters of a lane's name
_MOST_TICKS = 200
_MOST_TEXTS = 1500
_PER_PATH = 5000
_MOST_PATHS = 20_000  # of a vector picture; beyond it the boxes are pixels
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "\u00b5s"), (1e-9, "ns"))

_LOOKS = {
    "forward": Look("#a6cbe3", "#41698a", "", "black"),
    "backward": COMPUTE,
    "gradients of weights": Look("#6a8f4f", "#3c542b", "", "white"),
    "compute": Look("#14283c", "#14283c", "", "white"),
    "transfer": TRANSFER,
    "wait": WAIT._replace(hatch="..", line="#c9c9c9"),  # finer: it may fill most of the picture
}
_NAMES = {"compute": "update, reduction, other compute"}
_WAITS: dict[str, Any] = {"colors": "#9a9a9a", "linewidths": 0.6, "zorder": 1.5}
_CROSSED: dict[str, Any] = {"colors": "black", "linewidths": 0.7, "zorder": 5}
_STEP_ENDS: dict[str, Any] = {"colors": "black", "linewidths": 1.0, "zorder": 6}
_UPDATES: dict[str, Any] = {
    "color": "black", "marker": "v", "markersize": 3.0, "markeredgewidth": 0.0, "linestyle": "", "zorder": 6,
}  # fmt: skip
_BADGE = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "black", "linewidth": 0.5}


def draw(view: View, title: str, note: str = "") -> Any:
    """The figure: a band per actor with a sub-band per lane; `note` stands small beneath.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved; nothing is shown.
    """
    with house():
        return _draw(view, title, note)


def _draw(view: View, title: str, note: str) -> Any:
    places, height = _places(view.actors)
    ticks = [tick for actor, lanes in zip(view.actors, places, strict=True) for tick in _ticks(actor, lanes)]
    left = 0.2 + max((len(name) for _, name, _ in ticks), default=0) * SMALL * _CHARACTER
    more = _more(view)
    remarks = [text for text in (more, note) if text]
    top, bottom = 0.5, 0.8 + 0.14 * len(remarks)
    width = left + _WIDTH + 0.2
    whole = top + height + bottom
    drawn = figure(width, whole)
    axes = drawn.add_axes((left / width, bottom / whole, _WIDTH / width, height / whole))
    unit, name = next(((unit, name) for unit, name in _UNITS if view.end >= unit), _UNITS[-1])
    axes.set_xlim(view.start / unit, view.end / unit)
    axes.set_ylim(height, 0.0)
    canvas = _Canvas(axes, unit, view.start, view.end)
    for actor, lanes in zip(view.actors, places, strict=True):
        canvas.actor(actor, lanes)
    canvas.flush()
    _steps(axes, view, unit)
    _frame(axes, name, ticks)
    drawn.text(left / width, 1 - 0.12 / whole, title, size=8.5, weight="bold", va="top")
    if handles := canvas.legend():
        drawn.legend(
            handles=handles, loc="upper left", bbox_to_anchor=((left - 0.08) / width, (bottom - 0.38) / whole),
            ncols=min(len(handles), 4), fontsize=SMALL, frameon=False, borderaxespad=0.0, columnspacing=1.4,
        )  # fmt: skip
    for line, text in enumerate(reversed(remarks)):
        drawn.text(left / width, (0.06 + 0.14 * line) / whole, text, size=SMALL - 0.5, color="#444444")
    return drawn


def _places(actors: Sequence[ActorView]) -> tuple[list[list[tuple[float, float]]], float]:
    """Top and height of each lane, in inches from the top of the axes; and the height of all."""
    places = []
    y = _BETWEEN / 2
    for actor in actors:
        lanes = []
        for lane in actor.lanes:
            tall = _MAIN if lane.name == MAIN else _SIDE
            lanes.append((y, tall))
            y += tall + _GAP
        places.append(lanes)
        y += _BETWEEN - _GAP
    return places, y - _BETWEEN / 2


def _ticks(actor: ActorView, places: Sequence[tuple[float, float]]) -> list[tuple[float, str, bool]]:
    """Labels of the lanes: where, what, and whether it is the actor itself."""
    names = [actor.label if lane.name == MAIN else shortened(lane.name, _LONGEST) for lane in actor.lanes]
    if names and actor.lanes[0].name != MAIN:
        names[0] = f"{actor.label}: {names[0]}"
    return [(y + tall / 2, name, place == 0) for place, ((y, tall), name) in enumerate(zip(places, names, strict=True))]


def _frame(axes: Any, unit: str, ticks: Sequence[tuple[float, str, bool]]) -> None:
    """Axes, their units and their labels."""
    axes.set_yticks([y for y, _, _ in ticks], [name for _, name, _ in ticks])
    for text, (_, _, whole) in zip(axes.get_yticklabels(), ticks, strict=True):
        text.set(size=SMALL if whole else _SMALL, color="black" if whole else "#555555")
    axes.tick_params(axis="y", length=0, pad=3)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.set_xlabel(f"time ({unit})", size=TEXT, labelpad=2)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def _steps(axes: Any, view: View, unit: float) -> None:
    """The numbers of the first worker's steps above it, where they fit."""
    if view.steps is None:
        return
    before = view.start
    for end, step in sorted(view.actors[0].steps):
        if step >= view.steps[0] and end > before:
            text = f"step {step}"
            if (end - before) * _WIDTH >= len(text) * SMALL * _CHARACTER * (view.end - view.start):
                axes.annotate(
                    text, ((before + end) / 2 / unit, 1.0), (0, 2), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", va="bottom", size=SMALL,
                )  # fmt: skip
            before = end


def _more(view: View) -> str:
    """What is not shown, in words."""
    words = [f"{count} more {role}{'s' if count > 1 else ''}" for role, count in view.hidden]
    if lanes := sum(actor.hidden_lanes for actor in view.actors):
        words.append(f"{lanes} more lane{'s' if lanes > 1 else ''}")
    return f"... and {', '.join(words)}" if words else ""


class _Canvas:
    """Collects rectangles by look, then draws each look as one collection."""

    def __init__(self, axes: Any, unit: float, start: float, end: float) -> None:
        self._axes = axes
        self._unit = unit
        self._start = start
        self._end = end
        self._inches = _WIDTH / (end - start) if end > start else 0.0  # per second
        self._filled: dict[str, list[tuple[float, float, float, float]]] = {}
        self._outlined: dict[str, list[tuple[float, float, float, float]]] = {}
        self._ticks: dict[str, list[list[tuple[float, float]]]] = {}
        self._crossed: list[list[tuple[float, float]]] = []
        self._waits: list[list[tuple[float, float]]] = []
        self._step_ends: list[list[tuple[float, float]]] = []
        self._updates: list[tuple[float, float]] = []
        self._badges: list[tuple[float, float, str]] = []
        self._texts: list[tuple[float, float, str, str, float]] = []

    def actor(self, actor: ActorView, places: Sequence[tuple[float, float]]) -> None:
        """All lanes of an actor."""
        for lane, (y, tall) in zip(actor.lanes, places, strict=True):
            self._lane(lane, y, tall)
        if places:
            low, high = places[0][0] - 0.03, places[-1][0] + places[-1][1] + 0.03
            self._step_ends += [[(end / self._unit, low), (end / self._unit, high)] for end, _ in actor.steps]
        if any(staleness > 0 for _, _, staleness in actor.updates):
            self._applied(actor, dict(zip((lane.name for lane in actor.lanes), places, strict=True)))

    def _applied(self, actor: ActorView, places: dict[str, tuple[float, float]]) -> None:
        """Marks of applied gradients, with their staleness if all that are on the lane have room for it."""
        for name, (y, tall) in places.items():
            marks = sorted((time, staleness) for time, lane, staleness in actor.updates if lane == name)
            nearest = min((after - before for (before, _), (after, _) in pairwise(marks)), default=1.0)
            wide = max((len(str(staleness)) for _, staleness in marks), default=0) + 1.0
            for time, staleness in marks:
                if nearest * self._inches > wide * _SMALL * _CHARACTER:
                    self._badges.append((time, y + tall / 2, str(staleness)))
                else:
                    self._updates.append((time / self._unit, y + tall / 2))

    def _lane(self, lane: LaneView, y: float, tall: float) -> None:
        main = lane.name == MAIN
        for start, end in lane.waiting:
            if main:
                self._fill("wait", start, end, y, tall)
            else:
                self._waits.append([(start / self._unit, y + tall / 2), (end / self._unit, y + tall / 2)])
        for start, end, kind in lane.busy if main else ():
            self._fill("compute" if kind == COMPUTING else "transfer", start, end, y, tall)
        narrow = [box for box in lane.boxes if (box.end - box.start) * self._inches < _NARROW]
        for box in narrow if len(narrow) <= _MOST_TICKS else ():
            middle = (box.start + box.end) / 2 / self._unit
            self._ticks.setdefault(box.kind, []).append([(middle, y), (middle, y + tall)])
        for box in lane.boxes:
            high = tall / box.places
            above = y + box.place * high
            if not main or box.kind in PASSES.values():
                self._fill(box.kind, box.start, box.end, above, high)
            if (box.end - box.start) * self._inches > _OUTLINED:
                self._outlined.setdefault(box.kind, []).append((box.start, box.end, above, high))
            if box.cancelled:
                start, end = box.start / self._unit, box.end / self._unit
                self._crossed += [[(start, above), (end, above + high)], [(start, above + high), (end, above)]]
            left, right = max(box.start, self._start), min(box.end, self._end)
            width, characters = (right - left) * self._inches, len(box.text) + 0.5
            size = _TEXT if main and width > characters * _TEXT * _CHARACTER else _SMALL
            if box.text and width > characters * size * _CHARACTER:
                self._texts.append(((left + right) / 2, above + high / 2, box.text, _LOOKS[box.kind].ink, size))

    def _fill(self, kind: str, start: float, end: float, y: float, tall: float) -> None:
        self._filled.setdefault(kind, []).append((start, end, y, tall))

    def flush(self) -> None:
        """Draw what was collected."""
        from matplotlib.collections import LineCollection

        axes = self._axes
        many = sum(map(len, self._filled.values())) > _MOST_PATHS
        for order, (kind, look) in enumerate(_LOOKS.items()):
            height = {"wait": 1.0, "compute": 2.0, "transfer": 2.0}.get(kind, 3.0) + order / 100
            fill = look.patch(linewidth=0.0, zorder=height, rasterized=many)
            self._add(self._filled.get(kind, []), **fill)
            line = {"edgecolor": "black", "linewidth": 0.35, "zorder": 4.0, "rasterized": many}
            self._add(self._outlined.get(kind, []), fill=False, **line)
            if kind in self._ticks:
                marks = LineCollection(self._ticks[kind], colors=look.line, linewidths=0.5, zorder=4.5)
                axes.add_collection(marks, autolim=False)
        for lines, style in ((self._waits, _WAITS), (self._crossed, _CROSSED), (self._step_ends, _STEP_ENDS)):
            if lines:
                axes.add_collection(LineCollection(lines, **style), autolim=False)
        if self._updates:
            axes.plot(*zip(*self._updates, strict=True), **_UPDATES)
        middle = {"ha": "center", "va": "center_baseline", "clip_on": True}
        for time, y, text, ink, size in self._texts[:_MOST_TEXTS]:
            axes.text(time / self._unit, y, text, size=size, color=ink, zorder=7, **middle)
        for time, y, text in self._badges[:_MOST_TEXTS]:  # just before: the box that follows may be narrow
            place = {"xytext": (-1.5, 0), "textcoords": "offset points", "ha": "right", "va": "center_baseline"}
            axes.annotate(text, (time / self._unit, y), size=_SMALL, zorder=8, bbox=_BADGE, **place)

    def _add(self, boxes: Sequence[tuple[float, float, float, float]], **style: Any) -> None:
        """Draw rectangles, many as one path: a hatch is laid over all of them at once, not over one after the other."""
        import numpy as np
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        for place in range(0, len(boxes), _PER_PATH):
            start, end, y, tall = np.array(boxes[place : place + _PER_PATH]).T
            start, end = start / self._unit, end / self._unit
            corners = ((start, y), (end, y), (end, y + tall), (start, y + tall))
            outlines = np.stack([np.stack(corner, -1) for corner in corners], 1)  # boxes, corners, (x, y)
            self._axes.add_artist(PathPatch(Path.make_compound_path_from_polys(outlines), **style))

    def legend(self) -> list[Any]:
        """Handles of what there is."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles: list[Any] = [
            Patch(**look.patch(label=_NAMES.get(kind, kind))) for kind, look in _LOOKS.items() if kind in self._filled
        ]
        if self._waits:
            handles.append(Line2D([], [], color=_WAITS["colors"], linewidth=_WAITS["linewidths"], label="lane waits"))
        if self._step_ends:
            handles.append(Line2D([], [], color="black", linewidth=1.0, label="end of a step"))
        if self._badges:
            badge: dict[str, Any] = {
                "color": "white",
                "markeredgecolor": "black",
                "markeredgewidth": 0.5,
                "linestyle": "",
            }
            handles.append(Line2D([], [], marker="s", markersize=6, **badge, label="gradient applied: its staleness"))
        if self._updates:
            handles.append(Line2D([], [], **_UPDATES, label="gradient applied"))
        if self._crossed:
            handles.append(Line2D([], [], color="black", linestyle="", marker="x", markersize=5, label="cancelled"))
        return handles
