"""The figures of a set of actors: traffic, shares, memory, what is overlapped; as means or as maxima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

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
    splits = [time_split(actor, seconds) for actor in actors]
    return {**_picked(actors, splits, steps, per, _mean), "max": _picked(actors, splits, steps, per, _largest)}


def _picked(
    actors: Sequence[ActorTotals],
    splits: Sequence[TimeSplit],
    steps: int,
    per: str,
    pick: Callable[[list[float]], float],
) -> dict[str, Any]:
    """The figures of all actors, each brought to one number by `pick`."""
    own_steps = [actor.steps or steps for actor in actors]

    def per_step(values: list[float]) -> float | None:
        return pick([value / own for value, own in zip(values, own_steps, strict=True)]) if all(own_steps) else None

    parts = sorted({part for actor in actors for part in actor.peak_bytes_of})
    return {
        "shares": {name: pick([getattr(split, name) for split in splits]) for name in ("compute", "transfer", "wait")},
        **{f"{name}{per}_per_step": per_step([getattr(actor, name) for actor in actors]) for name in _TRAFFIC},
        f"memory_bytes{per}": pick([actor.peak_bytes for actor in actors]),
        f"memory_bytes{per}_by_part": {part: pick([a.peak_bytes_of.get(part, 0) for a in actors]) for part in parts},
        "overlapped": {
            "compute": per_step([split.overlapped_compute_seconds for split in splits]),
            "transfer": per_step([split.overlapped_transfer_seconds for split in splits]),
        },
        "cancelled_seconds": pick([actor.cancelled_seconds for actor in actors]),
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _largest(values: list[float]) -> float:
    return max(values, default=0)
