"""Moves and rounds: the words in which every collective is written down, as data.

A schedule is a pure function ``(index, size, ...) -> Iterator[Round]``: what the member of that index sends and
receives, round after round. It knows no operation, no buffer and no clock; it speaks of indices in the group and of
elements.

Every schedule keeps these rules, which make it right under rendezvous (the earliest unfinished round can always end):

* All members have the same number of rounds; who has nothing to do has an empty round.
* In each round, the k-th move that i sends to j is the k-th move that j receives from i, and as long.
* Within a round, no range that is received by overwriting overlaps one that is sent.
* Moves of no elements are left out, on both sides (`round_of`); only a barrier has them: its messages are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from parasim.program.buffers import bounds

__all__ = ["Move", "Round", "among", "completing", "cuts_of", "idle", "round_of"]


@dataclass(frozen=True, slots=True)
class Move:
    """Elements ``[start, stop)`` to or from the member of index `peer`; a receive adds them in if `reduce`."""

    peer: int
    start: int
    stop: int
    reduce: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """One exchange of one member: all sends and receives start together; the next round starts when all are done.

    Reducing receives are added in the order in which they stand. `complete` are the ranges that hold the finished
    reduction here once the round is done, having been reduced here and not received; a mean is scaled there. Where
    several members complete one range (recursive doubling), they do so with the same bits.
    """

    sends: tuple[Move, ...] = ()
    receives: tuple[Move, ...] = ()
    complete: tuple[tuple[int, int], ...] = ()


def round_of(
    sends: Iterable[Move] = (), receives: Iterable[Move] = (), complete: Iterable[tuple[int, int]] = ()
) -> Round:
    """Make a round, leaving out moves and ranges of no elements."""
    return Round(
        tuple([move for move in sends if move.start < move.stop]),
        tuple([move for move in receives if move.start < move.stop]),
        tuple([(start, stop) for start, stop in complete if start < stop]),
    )


def idle(rounds: int) -> Iterator[Round]:
    """So many rounds in which others are busy."""
    for _ in range(rounds):
        yield Round()


def completing(rounds: Iterable[Round], start: int, stop: int) -> Iterator[Round]:
    """The same rounds; with the last of them, ``[start, stop)`` is completely reduced at this member."""
    last: Round | None = None
    for round_ in rounds:
        if last is not None:
            yield last
        last = round_
    if last is not None:
        yield replace(last, complete=((start, stop),)) if start < stop else last


def among(rounds: Iterable[Round], members: Sequence[int]) -> Iterator[Round]:
    """The rounds of a part of the group: its peer p is ``members[p]`` of the whole group."""
    for round_ in rounds:
        yield Round(
            tuple(replace(move, peer=members[move.peer]) for move in round_.sends),
            tuple(replace(move, peer=members[move.peer]) for move in round_.receives),
            round_.complete,
        )


def cuts_of(start: int, stop: int, parts: int) -> list[int]:
    """Cut points of ``[start, stop)`` into nearly equal parts (SCHEMES 13.2: part j starts at E*j // parts)."""
    return [start + cut for cut in bounds(stop - start, parts)]
