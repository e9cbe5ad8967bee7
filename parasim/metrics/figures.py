"""The figures of a set of actors: traffic, shares, memory, what is overlapped; as means or as maxima."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from parasim.metrics.shares import time_split
from parasim.trace.actor import ActorTotals
from parasim.trace.aggregate import Alike

__all__ = ["figures"]

_TRAFFIC = (
    "bytes_sent",
    "messages_sent",
    "bytes_received",
    "messages_received",
    "control_messages",
    "control_bytes",
)


def figures(actors: Sequence[Alike], steps: int, seconds: float, per: str = "") -> dict[str, Any]:
    """Means over `actors`, and their maxima under the same names in ``max``.

    Parameters
    ----------
    actors
        Whose.
    steps
        Steps of the run: figures per step of an actor that logged no steps are over these.
    seconds
        Length of the run.
    per
        Put into the names of figures per actor ("_per_worker").
    """
    columns = _columns([totals for totals, _ in actors], seconds, steps)
    numbers = [len(ranks) for _, ranks in actors]
    count = sum(numbers)

    def mean(values: list[float]) -> float:
        return math.fsum(map(operator.mul, values, numbers)) / count if count else 0.0

    return {**_picked(columns, per, mean), "max": _picked(columns, per, _largest)}


class _Columns(NamedTuple):
    """One number of all actors that are alike; traffic and what is overlapped per step, None of those without steps."""

    shares: dict[str, list[float]]
    traffic: dict[str, list[float] | None]
    memory: list[float]
    parts: dict[str, list[float]]
    overlapped: dict[str, list[float] | None]
    cancelled: list[float]


def _columns(actors: Sequence[ActorTotals], seconds: float, steps: int) -> _Columns:
    own_steps = [actor.steps or steps for actor in actors]
    stepped = all(own_steps)

    def per_step(values: Sequence[float]) -> list[float] | None:
        return list(map(operator.truediv, values, own_steps)) if stepped else None

    splits = [time_split(actor, seconds) for actor in actors]
    compute, transfer, wait, beside, moving = map(list, zip(*splits, strict=True)) if splits else ([] for _ in range(5))
    peaks = list(map(operator.attrgetter("peak_bytes_of"), actors))
    parts = sorted(set().union(*{id(own): own for own in peaks}.values()))  # some share one
    return _Columns(
        {"compute": compute, "transfer": transfer, "wait": wait},
        {name: per_step(list(map(operator.attrgetter(name), actors))) for name in _TRAFFIC},
        list(map(operator.attrgetter("peak_bytes"), actors)),
        {part: _of_each(peaks, part) for part in parts},
        {"compute": per_step(beside), "transfer": per_step(moving)},
        list(map(operator.attrgetter("cancelled_seconds"), actors)),
    )


def _of_each(peaks: Sequence[Mapping[str, int]], part: str) -> list[float]:
    """What each holds of a part at most."""
    if peaks and peaks.count(peaks[0]) == len(peaks):
        return [peaks[0][part]] * len(peaks)
    return [own.get(part, 0) for own in peaks]


def _picked(columns: _Columns, per: str, pick: Callable[[list[float]], float]) -> dict[str, Any]:
    """The figures of all actors, each brought to one number by `pick`."""

    def per_step(values: list[float] | None) -> float | None:
        return None if values is None else pick(values)

    return {
        "shares": {name: pick(values) for name, values in columns.shares.items()},
        **{f"{name}{per}_per_step": per_step(values) for name, values in columns.traffic.items()},
        f"memory_bytes{per}": pick(columns.memory),
        f"memory_bytes{per}_by_part": {part: pick(values) for part, values in columns.parts.items()},
        "overlapped": {name: per_step(values) for name, values in columns.overlapped.items()},
        "cancelled_seconds": pick(columns.cancelled),
    }


def _largest(values: list[float]) -> float:
    return max(values, default=0)
