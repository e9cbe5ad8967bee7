"""The figures of a set of actors: traffic, shares, memory, what is overlapped; as means or as maxima."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from parasim.metrics.shares import TimeSplit, time_split
from parasim.trace.actor import ActorTotals

__all__ = ["figures"]

_TRAFFIC = (
    "bytes_sent",
    "messages_sent",
    "bytes_received",
    "messages_received",
    "control_messages",
    "control_bytes",
)


def figures(actors: Sequence[ActorTotals], steps: int, seconds: float, per: str = "") -> dict[str, Any]:
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
    columns = _columns(actors, seconds, steps)
    return {**_picked(columns, per, _mean), "max": _picked(columns, per, _largest)}


class _Columns(NamedTuple):
    """One number of each actor; traffic and what is overlapped per step, None of those without steps."""

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

    known: dict[tuple[int, float], TimeSplit] = {}  # actors of one end whose times are one object
    splits = []
    for actor in actors:
        key = id(actor.times), actor.end
        split = known.get(key)
        if split is None:
            split = known[key] = time_split(actor, seconds)
        splits.append(split)
    compute, transfer, wait, beside, moving = map(list, zip(*splits, strict=True)) if splits else ([] for _ in range(5))
    peaks = list(map(operator.attrgetter("peak_bytes_of"), actors))
    parts = sorted(set().union(*{id(own): own for own in peaks}.values()))  # actors that are alike share one
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


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _largest(values: list[float]) -> float:
    return max(values, default=0)
