"""The errors of a run in which nothing can happen any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parasim.errors import DeadlockError, ProgramError

if TYPE_CHECKING:
    from parasim.runtime.actor import Actor

__all__ = ["Blocked", "check_replay", "deadlock_error", "deadlock_of"]

Blocked = tuple[int, str, str, str, str, float]
"""Rank, role with index, program, lane, pending operation, since when (seconds)."""
_SHOWN = 40


def deadlock_error(rows: Sequence[Blocked], now: float) -> DeadlockError:
    """A `DeadlockError` with the table of who waits for what since when; the longest waiting first."""
    head = ("rank", "role", "program", "lane", "pending operation", "since")
    ordered = sorted(rows, key=lambda row: (row[5], row[0]))
    cells = [head, *((str(row[0]), *row[1:5], f"{row[5]:.6g} s") for row in ordered[:_SHOWN])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if len(ordered) > _SHOWN:
        lines.append(f"... and {len(ordered) - _SHOWN} more")
    count = len({row[0] for row in rows})
    who = "1 rank waits" if count == 1 else f"{count} ranks wait"
    return DeadlockError(f"deadlock at {now:.6g} s: {who} for what will never happen\n" + "\n".join(lines))


def deadlock_of(actors: Sequence[Actor]) -> DeadlockError:
    """The error of these actors, which came to it when the last of their programs went on."""
    rows = [row for actor in actors for row in actor.table()]
    return deadlock_error(rows, max([*(actor.ended for actor in actors), *(row[5] for row in rows)]))


def check_replay(actors: Sequence[Actor]) -> None:
    """Nothing can happen any more: raise `ProgramError` if a record waits for somebody who is not ready."""
    for actor in actors:
        if actor.ready and actor.script is not None:
            waiting = ", ".join(task.id for task, _, _ in actor.ready)
            raise ProgramError(
                f"the replay departs from the record at rank {actor.rank}: it is the turn of "
                f"{actor.script.next_resume()}, ready are {waiting}; replay the same scenario with the same seed"
            )
