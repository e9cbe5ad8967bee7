"""What a timeline shows of each actor: its lanes and the boxes on them. No drawing here."""

from __future__ import annotations

import math
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from parasim.errors import ScenarioError
from parasim.report.timeline_window import WORKER, Selection, actor_order, some_actors, window
from parasim.trace.lanes import COMPUTE, MAIN, TRANSFER
from parasim.trace.rows import Row
from parasim.trace.spans import ActorSpans, Interval, Span, difference, is_container, union
from parasim.trace.table import Trace

__all__ = ["PASSES", "ActorView", "Box", "LaneView", "View", "view"]

_MOST_LANES = 8


class Box(NamedTuple):
    """One operation.

    Attributes
    ----------
    start, end
        In seconds.
    kind
        One of `PASSES`, "compute" (any other) or "transfer".
    text
        What tells it apart.
    cancelled
        Was it cancelled?
    place, places
        Of operations at one time on one lane, such as the messages of an exchange: the how manieth of how many.
    """

    start: float
    end: float
    kind: str
    text: str = ""
    cancelled: bool = False
    place: int = 0
    places: int = 1


PASSES = {
    "forward": "forward",
    "backward": "backward",
    "backward inputs": "backward",
    "backward weights": "gradients of weights",
}
"""Kinds of boxes of passes, by the labels of their computes; a backward pass may come in two halves."""


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane within the window.

    Attributes
    ----------
    name
        "main", or as the scheme named it.
    boxes
        Its operations.
    busy
        Of the main lane how its time is split (the rest is waiting), of others where they work; disjoint, in order.
    waiting
        Of the main lane all time that is not `busy`; of others where an operation waits for the other side.
    """

    name: str
    boxes: tuple[Box, ...]
    busy: tuple[Span, ...]
    waiting: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class ActorView:
    """An actor within the window: its lanes (main first), ends of steps (seconds, step) and updates applied.

    An update is (seconds, name of the lane, staleness). `hidden_lanes` are those with boxes that are not shown.
    """

    label: str
    role: str
    lanes: tuple[LaneView, ...]
    steps: tuple[tuple[float, int], ...]
    updates: tuple[tuple[float, str, int], ...]
    hidden_lanes: int


@dataclass(frozen=True, slots=True)
class View:
    """What to draw.

    Attributes
    ----------
    start, end
        The window, in seconds.
    steps
        First and last step shown and how many the run has; None of a run without steps.
    actors
        Those shown, from top to bottom.
    hidden
        How many more there are of each role.
    """

    start: float
    end: float
    steps: tuple[int, int, int] | None
    actors: tuple[ActorView, ...]
    hidden: tuple[tuple[str, int], ...]


def view(trace: Trace, selection: Selection, most_actors: int = 16) -> View:
    """Choose what to show of a trace.

    Raises
    ------
    ScenarioError
        If steps were asked for that the run does not have, or the trace is empty.
    """
    everyone = trace.fold().actors
    if not everyone:
        raise ScenarioError("the trace has no rows: there is nothing to draw; run more steps")
    team = [actor for actor in everyone if actor.role == WORKER] or everyone
    seconds = max(actor.end for actor in team)
    order = actor_order((actor.rank, actor.role, actor.index) for actor in everyone)
    limit = selection.actors or most_actors
    shown = some_actors(order, limit)
    rows: dict[int, list[Row]] = {rank: [] for rank, _, _ in shown}
    for row in trace.rows:
        if row.rank in rows:
            rows[row.rank].append(row)
    start, end, steps = window(rows[shown[0][0]], selection, seconds)
    late = any(map(_passes_of_several_steps, rows.values()))
    views = tuple(_actor(who, rows[who[0]], (start, end), seconds, late) for who in shown)
    hidden = Counter(role for _, role, _ in order)
    hidden.subtract(role for _, role, _ in shown)
    return View(start, end, steps, views, tuple((role, count) for role, count in hidden.items() if count))


# boxes ---------------------------------------------------------------------------------------------------------------
def _passes_of_several_steps(rows: Iterable[Row]) -> bool:
    """Does a pass follow one of a later step, as where backward passes are late?"""
    steps = [row.step for row in rows if row.op == "compute" and row.label in PASSES]
    return any(after < before for before, after in pairwise(steps))


def _actor(who: tuple[int, str, int], rows: Sequence[Row], shown: Interval, seconds: float, late: bool) -> ActorView:
    rank, role, index = who
    start, end = shown
    spans = ActorSpans(rank, role, index, rows)
    inside = [(row, kind) for row, kind in spans.work if row.t_end > start and row.t_start < end]
    boxes = _boxes(inside, late)
    pending: dict[str, list[Interval]] = defaultdict(list)
    for row in rows:
        if row.lane != MAIN and not is_container(row) and row.t_end > start and row.t_post < end:
            pending[row.lane].append((row.t_post, row.t_end))
    lanes = []
    until = min(end, max(seconds, spans.totals.end))
    busy = tuple(_clip(spans.main, start, end))
    if busy or role == WORKER or not pending:
        rest = difference([(start, until)], union((low, high) for low, high, _ in busy))
        lanes.append(LaneView(MAIN, tuple(boxes.pop(MAIN, ())), busy, tuple(rest)))
    names = [name for name in dict.fromkeys(row.lane for row in rows) if boxes.get(name)]
    room = _MOST_LANES - len(lanes)
    for name in names[:room]:
        lanes.append(_side_lane(name, boxes[name], pending[name], start, end))
    return ActorView(
        f"{role} {index}",
        role,
        tuple(lanes),
        tuple(
            (row.t_end, row.step)
            for row in rows
            if row.label == "step" and row.op == "log" and start <= row.t_end <= end
        ),
        tuple(
            (row.t_end, row.lane, row.version_applied - row.version_read)
            for row in rows
            if row.op == "log" and row.label == "applied" and start < row.t_end <= end
        ),
        max(0, len(names) - room),
    )


def _side_lane(name: str, boxes: Sequence[Box], pending: Iterable[Interval], start: float, end: float) -> LaneView:
    computing = union((box.start, box.end) for box in boxes if box.kind != "transfer")
    moving = difference(union((box.start, box.end) for box in boxes if box.kind == "transfer"), computing)
    busy = sorted([(*one, COMPUTE) for one in computing] + [(*one, TRANSFER) for one in moving])
    waiting = difference(union(pending), union((low, high) for low, high, _ in busy))
    return LaneView(
        name,
        tuple(boxes),
        tuple(_clip(busy, start, end)),
        tuple((max(low, start), min(high, end)) for low, high in waiting if low < end and high > start),
    )


def _clip(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    return [(max(low, start), min(high, end), kind) for low, high, kind in spans if low < end and high > start]


def _boxes(work: Sequence[tuple[Row, int]], late: bool) -> dict[str, list[Box]]:
    """The boxes of each lane, in the order of their starts; a text tells apart what colour and lane don't.

    That of a pass is its micro-batch (and its chunk, a, b ..., where there are several), or its step where passes are
    `late`, or its layer.
    """
    chunks = _chunks(work)
    many_micros = any(row.micro > 0 for row, _ in work)
    layers: dict[str, set[str]] = defaultdict(set)
    peers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row, kind in work:
        if kind == COMPUTE:
            layers[row.label].add(row.layer)
        else:
            peers[row.lane, row.op].add(row.peer)
    lanes: dict[str, list[Box]] = defaultdict(list)
    for row, kind in sorted(work, key=lambda pair: (pair[0].t_start, pair[0].t_end)):
        text = ""
        if kind == COMPUTE:
            passes = PASSES.get(row.label)
            if many_micros and row.micro >= 0:
                text = f"{row.micro}{chunks.get(row.layer, '')}"
            elif passes is None:
                text = row.label.strip("_").replace("_", " ")
            elif late and row.step >= 0:
                text = str(row.step)
            elif len(layers[row.label]) > 1:
                text = row.layer
            name = passes or "compute"
        else:
            name = "transfer"
            if len(peers[row.lane, row.op]) > 1 and row.peer >= 0:
                text = f"{'to' if row.op == 'send' else 'from'} {row.peer}"
        lanes[row.lane].append(Box(row.t_start, row.t_end, name, text, row.outcome == "cancelled"))
    return {lane: _side_by_side(boxes) for lane, boxes in lanes.items()}


def _chunks(work: Sequence[tuple[Row, int]]) -> dict[str, str]:
    """A letter for each part of the model of an actor that has several, by the part's first layer; none for one part.

    Passes of several micro-batches through one part follow each other; the layers of a single pass never do.
    """
    forward = [row for row, kind in work if kind == COMPUTE and row.label == "forward"]
    forward.sort(key=lambda row: row.t_start)
    if not any(one.layer == other.layer for one, other in pairwise(forward)):
        return {}
    names = dict.fromkeys(row.layer for row in forward)
    return dict(zip(names, string.ascii_lowercase, strict=False)) if len(names) > 1 else {}


def _side_by_side(boxes: Sequence[Box]) -> list[Box]:
    """Boxes, in the order of their starts, with a place for each of those that overlap."""
    placed: list[Box] = []
    cluster: list[Box] = []
    ends: list[float] = []  # of the last box in each place
    for box in [*boxes, Box(math.inf, math.inf, "")]:
        if all(end <= box.start for end in ends):
            placed += [one._replace(places=len(ends)) for one in cluster] if len(ends) > 1 else cluster
            cluster, ends = [], []
        free = next((place for place, end in enumerate(ends) if end <= box.start), len(ends))
        ends[free : free + 1] = [box.end]
        cluster.append(box._replace(place=free) if free else box)
    return placed
