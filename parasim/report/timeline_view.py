"""What a timeline shows: which steps, which actors, which lanes, and the boxes on them. No drawing here."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parasim.errors import ScenarioError
from parasim.trace.lanes import COMPUTE, MAIN, TRANSFER
from parasim.trace.rows import Row
from parasim.trace.spans import ActorSpans, Interval, Span, difference, is_container, union
from parasim.trace.table import Trace

__all__ = ["ActorView", "Box", "LaneView", "Selection", "View", "actor_order", "view"]

WORKER = "worker"
_MOST_STEPS = 4
_MOST_COMPUTES = 40  # of one worker's main lane, with their numbers legible
_MOST_MESSAGES = 120  # of one lane
_WARM_UP = 2
_MOST_LANES = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; None: what stays legible.

    Attributes
    ----------
    first_step, last_step
        The steps to show, both included, of the first worker.
    actors
        At most so many.
    """

    first_step: int | None = None
    last_step: int | None = None
    actors: int | None = None


class Box(NamedTuple):
    """One operation.

    Attributes
    ----------
    start, end
        In seconds.
    kind
        "forward", "backward", "compute" (any other) or "transfer".
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
    shown = _shown(order, limit)
    rows: dict[int, list[Row]] = {rank: [] for rank, _, _ in shown}
    for row in trace.rows:
        if row.rank in rows:
            rows[row.rank].append(row)
    start, end, steps = _window(rows[shown[0][0]], selection, seconds)
    views = tuple(_actor(who, rows[who[0]], start, end, seconds) for who in shown)
    hidden = Counter(role for _, role, _ in order)
    hidden.subtract(role for _, role, _ in shown)
    return View(start, end, steps, views, tuple((role, count) for role, count in hidden.items() if count))


def actor_order(actors: Iterable[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """Actors (rank, role, index) as they are listed: workers first, then role by role."""
    actors = sorted(actors)
    roles = list(dict.fromkeys(role for _, role, _ in actors))
    return sorted(actors, key=lambda who: (who[1] != WORKER, roles.index(who[1]), who[2]))


def _shown(order: Sequence[tuple[int, str, int]], limit: int) -> list[tuple[int, str, int]]:
    """The first of each, so that a few of the other roles are among them."""
    if len(order) <= limit:
        return list(order)
    workers = [who for who in order if who[1] == order[0][1]]
    others = order[len(workers) :]
    few = min(len(others), limit // 4)
    few = max(few, limit - len(workers))
    return workers[: limit - few] + list(others[:few])


# the window ----------------------------------------------------------------------------------------------------------
def _window(
    rows: Sequence[Row], selection: Selection, seconds: float
) -> tuple[float, float, tuple[int, int, int] | None]:
    """From the end of the step before the first to the end of the last, by the steps of one worker."""
    ends = {row.step: row.t_end for row in rows if row.op == "log" and row.label == "step"}
    if not ends:
        if selection.first_step is not None or selection.last_step is not None:
            raise ScenarioError("the run logs no steps: leave --from-step and --to-step out")
        return 0.0, seconds, None
    count = max(ends) + 1
    for option, asked in (("--from-step", selection.first_step), ("--to-step", selection.last_step)):
        if asked is not None and not 0 <= asked < count:
            raise ScenarioError(f"{option} {asked}: the first worker has steps 0 to {count - 1}; choose among them")
    first, last = _legible_steps(rows, ends, count, selection)
    if first > last:
        raise ScenarioError(f"--from-step {first} is after --to-step {last}: give the first step first")
    start = max((end for step, end in ends.items() if step < first), default=0.0)
    end = seconds if last == count - 1 else ends[last]
    return start, end, (first, last, count)


def _legible_steps(rows: Sequence[Row], ends: dict[int, float], count: int, selection: Selection) -> tuple[int, int]:
    """The steps asked for; where one end is open, as many as stay legible, after warm-up if there are enough."""
    first, last = selection.first_step, selection.last_step
    if first is not None and last is not None:
        return first, last
    if first is None and last is not None:
        return max(0, last - _MOST_STEPS + 1), last
    for wanted in range(min(_MOST_STEPS, count), 0, -1):
        low = min(_WARM_UP, count - wanted) if first is None else first
        high = min(low + wanted, count) - 1
        start = max((end for step, end in ends.items() if step < low), default=0.0)
        lanes = Counter(
            (row.lane == MAIN, row.lane)
            for row in rows
            if row.op in {"compute", "send", "recv"} and row.t_end > start and row.t_start < ends.get(high, 0.0)
        )
        if all(number <= (_MOST_COMPUTES if main else _MOST_MESSAGES) for (main, _), number in lanes.items()):
            break
    return low, high


# boxes ---------------------------------------------------------------------------------------------------------------
def _actor(who: tuple[int, str, int], rows: Sequence[Row], start: float, end: float, seconds: float) -> ActorView:
    rank, role, index = who
    spans = ActorSpans(rank, role, index, rows)
    inside = [(row, kind) for row, kind in spans.work if row.t_end > start and row.t_start < end]
    boxes = _boxes(inside)
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
            if row.op == "log" and row.label == "applied" and start <= row.t_end <= end
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


def _boxes(work: Sequence[tuple[Row, int]]) -> dict[str, list[Box]]:
    """The boxes of each lane, in the order of their starts; a text tells apart what colour and lane don't."""
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
            passes = row.label in {"forward", "backward"}
            if many_micros and row.micro >= 0:
                text = str(row.micro)
            elif not passes:
                text = row.label.strip("_").replace("_", " ")
            elif len(layers[row.label]) > 1:
                text = row.layer
            name = row.label if passes else "compute"
        else:
            name = "transfer"
            if len(peers[row.lane, row.op]) > 1 and row.peer >= 0:
                text = f"{'to' if row.op == 'send' else 'from'} {row.peer}"
        lanes[row.lane].append(Box(row.t_start, row.t_end, name, text, row.outcome == "cancelled"))
    return {lane: _side_by_side(boxes) for lane, boxes in lanes.items()}


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
