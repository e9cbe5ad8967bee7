"""Snapshots of actors to models, models to figures on held-out data, figures to the moment the target was reached."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parasim.program.searching import SearchingContext
from parasim.program.snapshots import Camera
from parasim.trace.aggregate import Aggregates
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.program.cast import Cast
    from parasim.program.context import Context
    from parasim.program.learner import Learner
    from parasim.program.snapshots import ModelSnapshot
    from parasim.program.tensors import Tensor
    from parasim.scenario.model import Scenario

__all__ = ["Evaluations", "Point", "TargetReached", "watch"]


class TargetReached(Exception):
    """The run ends here, as was asked for; `seconds` is when, on its clock."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"target reached at {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Point:
    """The model after so many steps: when it was there, bytes that all had sent by then, its figures."""

    steps: float
    seconds: float
    bytes: int | None
    loss: float
    accuracy: float | None
    members: tuple[tuple[int, float, float | None], ...] = ()
    """Of each of several models: who holds it (index in the role), its loss, its accuracy."""


def watch(scenario: Scenario, context: Context, learner: Learner, take: Callable[[ModelSnapshot], None]) -> None:
    """Let snapshots of what an actor holds of the model be taken, if the scenario asks for evaluations."""
    if scenario.run.evaluate is None:
        return
    held, parameters = scenario.scheme.held_model(), scenario.workload.model.whole.parameters
    who = (context.rank, context.role, context.index)

    def due(steps: float) -> float:
        seen = context.samples_seen() if isinstance(context, SearchingContext) else None
        return scenario.evaluations(steps, seen)

    context.watcher = Camera(who, held, parameters, due, learner, take)


class Evaluations:
    """Takes the snapshots of all actors; evaluates each model when its last piece is there.

    Parameters
    ----------
    scenario
        It asks for evaluations.
    cast
        Its actors.
    learner
        Joins and evaluates.
    trace
        Of a simulated run that goes on, if it keeps sums only: they tell the bytes.
    stop
        Raise `TargetReached` when the target is.

    Notes
    -----
    What waits for other pieces is kept, nothing else: as many models as the actors that hold them are apart.
    """

    def __init__(
        self, scenario: Scenario, cast: Cast, learner: Learner, trace: Aggregates | None = None, *, stop: bool = False
    ) -> None:
        self._scenario = scenario
        self._learner = learner
        self._trace = trace
        self._stop = stop
        self._held = scenario.scheme.held_model()
        self._holders = len(cast.groups[self._held.role].ranks)
        self._redundant: dict[int, int] = {}  # holder -> number of the first model that it adds nothing to
        self._pending: dict[int, dict[int, ModelSnapshot]] = {}
        self.points: list[Point] = []
        self._evaluate(self._initial(), 0.0, 0.0)

    def _initial(self) -> dict[int, Tensor]:
        held, whole = self._held, self._scenario.workload.model.whole
        first = range(0, self._holders, held.members) if held.models != "one" else range(1)
        return {at: self._learner.member(at // held.members if held.own else 0).initial(whole) for at in first}

    def add(self, snapshot: ModelSnapshot) -> None:
        """Take one. An actor's come in the order of their numbers."""
        if snapshot.redundant:
            self._redundant.setdefault(snapshot.holder, snapshot.number)
        else:
            self._pending.setdefault(snapshot.number, {})[snapshot.holder] = snapshot
        for number in sorted(self._pending):
            done = {holder for holder, first in self._redundant.items() if number >= first}
            if len(done | self._pending[number].keys()) < self._holders:
                break
            there = self._pending.pop(number)
            pieces = [there[index] for index in sorted(there)]
            steps = max(piece.steps for piece in pieces)
            several = self._held.models != "one"
            models = {p.holder: self._join([p]) for p in pieces} if several else {0: self._join(pieces)}
            self._evaluate(models, steps, max(piece.seconds for piece in pieces))

    def add_all(self, snapshots: Iterable[ModelSnapshot]) -> None:
        """Take those of a run that is over; models of which a piece was not kept are left out."""
        by_number = sorted(snapshots, key=lambda snapshot: snapshot.number)
        for snapshot in by_number:
            if snapshot.redundant:
                self.add(snapshot)
        for _, group in itertools.groupby(by_number, key=lambda snapshot: snapshot.number):
            self._pending.clear()
            for snapshot in group:
                self.add(snapshot)

    def _join(self, snapshots: list[ModelSnapshot]) -> Tensor:
        """The model: their mean, or of each element the first there is."""
        if not self._held.mean:
            model = self._vector()
            for snapshot in reversed(snapshots):
                self._place(snapshot, model)
            return model
        xp, total, holders = self._learner.tensors, self._vector(), self._vector()
        for snapshot in snapshots:
            model, held = self._vector(), self._vector()
            self._place(snapshot, model)
            self._place(snapshot, held, ones=True)
            xp.add_(total, model)
            xp.add_(holders, held)
        return xp.divide(total, holders)

    def _vector(self) -> Tensor:
        return self._learner.tensors.zeros(self._scenario.workload.model.whole.parameters)

    def _place(self, snapshot: ModelSnapshot, model: Tensor, ones: bool = False) -> None:
        xp = self._learner.tensors
        for place, values in snapshot.pieces:
            written = xp.copy(values)
            if ones:
                xp.fill_(written, 1.0)
            if isinstance(place, int):
                xp.copy_(model[place : place + len(written)], written)
            else:
                self._learner.put(place, written, model)

    def _evaluate(self, models: dict[int, Tensor], steps: float, seconds: float) -> None:
        """Of several models by who holds them, each, and what counts of them."""
        found = [(holder, *self._learner.evaluate(model)) for holder, model in models.items()]
        _, loss, accuracy = min(found, key=lambda figures: figures[1]) if self._held.models == "best" else found[0]
        if self._held.models == "ensemble":
            loss, accuracy = self._together(list(models.values()))
        sent = None if self._trace is None else sum(actor.bytes_sent for actor in self._trace.actors)
        members = () if self._held.models == "one" else tuple(found)
        self.points.append(Point(steps, seconds, sent, loss, accuracy, members))
        target = self._scenario.run.target
        if self._stop and target is not None and target.reached(loss, accuracy):
            raise TargetReached(seconds)

    def _together(self, models: list[Tensor]) -> tuple[float, float | None]:
        """Loss and accuracy of the mean of their predictions."""
        xp, learner = self._learner.tensors, self._learner
        total, *others = (learner.predict_held_out(model, learner.held_out) for model in models)
        for predictions in others:
            xp.add_(total, predictions)
        xp.scale_(total, 1 / len(models))
        return learner.judge(total)

    # figures -------------------------------------------------------------------------------------------------------
    def figures(
        self, trace: Trace | Aggregates, samples: Callable[[float], float], *, stopped: bool = False
    ) -> dict[str, Any]:
        """For the summary of the run: its `evaluation`, and the `target` where there is one (None: not reached).

        `samples` tells those that all workers took in so many steps.
        """
        if isinstance(trace, Trace):
            self.points = _with_bytes(self.points, trace)
        run = self._scenario.run
        assert run.evaluate is not None
        points = [_as_dict(point, samples) for point in self.points]
        found: dict[str, Any] = {"evaluation": {"every": run.evaluate.every, "points": points}}
        if run.target is not None:
            found["evaluation"]["wanted"] = {"figure": run.target.figure, "value": run.target.value}
            found["target"] = None
            for number, point in enumerate(self.points):
                if run.target.reached(point.loss, point.accuracy):
                    missed = points[number - 1]["seconds"] if number else None
                    found["target"] = {**points[number], "missed_at_seconds": missed, "stopped": stopped}
                    break
        return found


def _as_dict(point: Point, samples: Callable[[float], float]) -> dict[str, Any]:
    return {
        "steps": int(point.steps) if point.steps == int(point.steps) else point.steps,
        "seconds": point.seconds,
        "samples": round(samples(point.steps)),
        "bytes": point.bytes,
        "loss": point.loss,
        "accuracy": point.accuracy,
        **({"members": _members(point)} if point.members else {}),
    }


def _members(point: Point) -> list[dict[str, Any]]:
    return [{"worker": worker, "loss": loss, "accuracy": accuracy} for worker, loss, accuracy in point.members]


def _with_bytes(points: list[Point], trace: Trace) -> list[Point]:
    """The points with the payload bytes that all actors had sent by then: messages that had arrived."""
    sends = [(row.t_end, row.nbytes) for row in trace if row.op == "send"]
    sums = [0, *itertools.accumulate(nbytes for _, nbytes in sends)]
    ends = [end for end, _ in sends]
    return [replace(point, bytes=sums[bisect_right(ends, point.seconds)]) for point in points]
