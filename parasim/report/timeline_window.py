"""Which steps and which actors a timeline shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parasim.errors import ScenarioError
from parasim.trace.lanes import MAIN
from parasim.trace.rows import Row

__all__ = ["WORKER", "Selection", "actor_order", "some_actors", "window"]

WORKER = "worker"
_MOST_STEPS = 4
_MOST_COMPUTES = 40  # of one worker's main lane, with their numbers legible
_MOST_MESSAGES = 120  # of one lane
_WARM_UP = 2


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


def actor_order(actors: Iterable[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """Actors (rank, role, index) as they are listed: workers first, then role by role."""
    actors = sorted(actors)
    roles = list(dict.fromkeys(role for _, role, _ in actors))
    return sorted(actors, key=lambda who: (who[1] != WORKER, roles.index(who[1]), who[2]))


def some_actors(order: Sequence[tuple[int, str, int]], limit: int) -> list[tuple[int, str, int]]:
    """At most `limit` actors of those in `order`: the first workers, and a few of the other roles beneath."""
    if len(order) <= limit:
        return list(order)
    workers = [who for who in order if who[1] == order[0][1]]
    others = order[len(workers) :]
    few = min(len(others), limit // 4)
    few = max(few, limit - len(workers))
    return workers[: limit - few] + list(others[:few])


def window(
    rows: Sequence[Row], selection: Selection, seconds: float
) -> tuple[float, float, tuple[int, int, int] | None]:
    """The time to show: from the end of the step before the first to the end of the last, by the steps of one actor.

    Parameters
    ----------
    rows
        Of that actor.
    selection
        What was asked for.
    seconds
        Length of the run.

    Returns
    -------
    start, end, steps
        In seconds; first and last step and how many there are, or None if the actor logs no steps.

    Raises
    ------
    ScenarioError
        If it has not the steps that were asked for.
    """
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
    end = seconds if last == count - 1 else max((end for step, end in ends.items() if step <= last), default=start)
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
