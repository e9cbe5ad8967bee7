"""A collective seen as a whole: round by round, what all its members send, as arrays.

A `Round` says what one member does; here are the rounds of the group. Where members are many and rounds too, as in
rings, they are made as arrays, many rounds at once; other schedules have few rounds and are gathered from their
members' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from parasim.program.buffers import bounds
from parasim.program.collectives.algorithms import cuts, schedule, shape_of
from parasim.program.collectives.rounds import Round, cuts_of
from parasim.program.ops import Collective

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GroupBlock", "GroupRound", "GroupRun", "blocks_together", "rounds_together", "runs_together"]

_Rounds = TypeVar("_Rounds")
_Rings = Callable[["NDArray[Any]", "NDArray[Any]", bool, tuple[tuple[int, int], ...]], Iterator[_Rounds]]
"""Makes rings side by side: members, sizes of pieces, do they add, what is completely reduced at their end."""
_Whole = Callable[[Collective, _Rings[_Rounds]], Iterator[_Rounds]]

_AT_ONCE = 1 << 18
"""Rounds are made together until they have so many messages."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupRound:
    """One round of all members; indices are those in the group.

    Attributes
    ----------
    senders, receivers, elements
        Of each message: int arrays of one length.
    reduce
        Is it added by its receiver? bool array.
    complete
        (member, elements) of the ranges that are completely reduced with this round, one after the other.
    """

    senders: NDArray[Any]
    receivers: NDArray[Any]
    elements: NDArray[Any]
    reduce: NDArray[Any]
    complete: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GroupBlock:
    """Rounds that follow each other and go the same ways.

    Attributes
    ----------
    senders, receivers, reduce
        As of a `GroupRound`, of all rounds.
    elements
        Of each round and message: int array of two dimensions.
    complete
        Of the last round.
    """

    senders: NDArray[Any]
    receivers: NDArray[Any]
    elements: NDArray[Any]
    reduce: NDArray[Any]
    complete: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GroupRun:
    """Rounds that follow each other and go the same ways, whose messages differ by an element at most.

    Attributes
    ----------
    first
        The first of them.
    count, longest
        How many; elements of the longest message of all.
    sent, received
        Elements of each member in all rounds, and messages.
    """

    first: GroupRound
    count: int
    longest: int
    sent: tuple[NDArray[Any], NDArray[Any]]
    received: tuple[NDArray[Any], NDArray[Any]]


def rounds_together(ops: Sequence[Collective]) -> Iterator[GroupRound]:
    """Rounds of a collective, given as each member's own, all checked; a barrier's carry no elements."""
    for block in blocks_together(ops):
        last = len(block.elements) - 1
        for number, elements in enumerate(block.elements):
            complete = block.complete if number == last else ()
            yield GroupRound(block.senders, block.receivers, elements, block.reduce, complete)


def blocks_together(ops: Sequence[Collective]) -> Iterator[GroupBlock]:
    """The same rounds, in blocks."""
    first = ops[0]
    whole = _ARRAYS.get((first.kind, first.algorithm))
    if whole is not None:
        yield from whole(first, _ring)
        return
    for rounds in zip(*(schedule(op, index) for index, op in enumerate(ops)), strict=True):
        yield _gathered(rounds)


def runs_together(ops: Sequence[Collective]) -> Iterator[GroupRun]:
    """The same rounds, in runs of as many as can be told at once."""
    first, size = ops[0], len(ops)
    whole = _ARRAYS.get((first.kind, first.algorithm))
    if whole is not None:
        yield from whole(first, lambda *ring: _ring_runs(size, *ring))
    else:
        yield from _single(blocks_together(ops), size)


def _single(blocks: Iterable[GroupBlock], size: int) -> Iterator[GroupRun]:
    """Runs of one round each."""
    for block in blocks:
        for number, elements in enumerate(block.elements):
            complete = block.complete if number == len(block.elements) - 1 else ()
            sent, received = (
                (np.bincount(members, elements, size), np.bincount(members, minlength=size))
                for members in (block.senders, block.receivers)
            )
            longest = int(elements.max()) if elements.size else 0
            first = GroupRound(block.senders, block.receivers, elements, block.reduce, complete)
            yield GroupRun(first, 1, longest, sent, received)


def _gathered(rounds: Sequence[Round]) -> GroupBlock:
    """The rounds of all members as one round."""
    reduces: dict[tuple[int, int], list[bool]] = {}
    for index, round_ in enumerate(rounds):
        for move in round_.receives:
            reduces.setdefault((move.peer, index), []).append(move.reduce)
    heard = {pair: iter(flags) for pair, flags in reduces.items()}
    messages = [
        (index, move.peer, move.stop - move.start, next(heard[index, move.peer]))
        for index, round_ in enumerate(rounds)
        for move in round_.sends
    ]
    senders, receivers, elements, reduce = zip(*messages, strict=True) if messages else ((), (), (), ())
    complete = [(i, stop - start) for i, round_ in enumerate(rounds) for start, stop in round_.complete]
    return GroupBlock(
        np.array(senders, dtype=np.int64),
        np.array(receivers, dtype=np.int64),
        np.array([elements], dtype=np.int64),
        np.array(reduce, dtype=bool),
        tuple(complete),
    )


def _ring(
    members: NDArray[Any], sizes: NDArray[Any], adding: bool, complete: tuple[tuple[int, int], ...] = ()
) -> Iterator[GroupBlock]:
    """Rings side by side, a row of `members` each, whose piece j has ``sizes[row, j]`` elements."""
    size = members.shape[1]
    following = _turned(members, -1)
    whole = sizes.min() > 0
    at_once = max(1, _AT_ONCE // members.size) if whole else 1
    windows = sliding_window_view(np.concatenate((sizes, sizes), axis=1), size, axis=1)
    for begin in range(0, size - 1, at_once):
        end = min(begin + at_once, size - 1)
        turned = windows[:, size - adding - end + 1 : size - adding - begin + 1][:, ::-1]  # [row, round, place]
        elements = turned.swapaxes(0, 1).reshape(end - begin, -1)
        some = slice(None) if whole else elements[0] > 0
        elements = elements[:, some]
        last = adding and end == size - 1
        yield GroupBlock(
            members.ravel()[some],
            following.ravel()[some],
            elements,
            np.full(elements.shape[1], adding),
            complete if last else (),
        )


def _ring_runs(
    size: int, members: NDArray[Any], sizes: NDArray[Any], adding: bool, complete: tuple[tuple[int, int], ...] = ()
) -> Iterator[GroupRun]:
    """The same rings in one run; the last round by itself, if something is complete with it.

    In all rounds together a member sends every piece but one: when adding its own, else that of the member after it.
    """
    rounds = members.shape[1] - 1
    if rounds < 1 or not sizes.min() > 0 or sizes.max() - sizes.min() > 1:
        yield from _single(_ring(members, sizes, adding, complete), size)
        return
    reduce, longest = np.full(members.size, adding), int(sizes.max())
    senders, receivers = members.ravel(), _turned(members, -1).ravel()
    sent = sizes.sum(axis=1, keepdims=True) - (sizes if adding else _turned(sizes, -1))
    last = _turned(sizes, adding + rounds - 1)
    runs = [(rounds, sent, _turned(sizes, int(adding)), complete)]
    if complete:
        runs = [(rounds - 1, sent - last, runs[0][2], ()), (1, last, last, complete)]
    for count, elements, first, done in runs:
        out, into = np.zeros(size), np.zeros(size)
        out[senders] = into[receivers] = elements.ravel()
        messages = np.zeros(size)
        messages[senders] = count
        if count:
            begin = GroupRound(senders, receivers, first.ravel(), reduce, done)
            yield GroupRun(begin, count, longest, (out, messages), (into, messages))


def _turned(rows: NDArray[Any], by: int) -> NDArray[Any]:
    """Each row with its columns moved so many places up, around its end."""
    cut = -by % rows.shape[1]
    return np.concatenate((rows[:, cut:], rows[:, :cut]), axis=1) if cut else rows


def _pieces(cut_points: Sequence[int]) -> NDArray[Any]:
    return np.diff(np.asarray(cut_points, dtype=np.int64))


def _ring_all_reduce(op: Collective, ring: _Rings[_Rounds]) -> Iterator[_Rounds]:
    members, sizes = np.arange(op.group.size)[None, :], _pieces(cuts(op))[None, :]
    yield from ring(members, sizes, True, _complete(members, sizes))
    yield from ring(members, sizes, False, ())


def _ring_reduce_scatter(op: Collective, ring: _Rings[_Rounds]) -> Iterator[_Rounds]:
    members, sizes = np.arange(op.group.size)[None, :], _pieces(cuts(op))[None, :]
    return ring(members, sizes, True, _complete(members, sizes))


def _ring_all_gather(op: Collective, ring: _Rings[_Rounds]) -> Iterator[_Rounds]:
    return ring(np.arange(op.group.size)[None, :], _pieces(cuts(op))[None, :], False, ())


def _torus(op: Collective, ring: _Rings[_Rounds]) -> Iterator[_Rounds]:
    """Row rings, column rings on each column's piece, row rings (torus.py draws them)."""
    rows, columns = shape_of(op)
    grid = np.arange(rows * columns).reshape(rows, columns)
    elements = 0 if op.buffer is None else op.buffer.elements
    pieces = bounds(elements, columns)
    along_rows = np.tile(_pieces(pieces), (rows, 1))
    along_columns = np.array([_pieces(cuts_of(a, b, rows)) for a, b in itertools.pairwise(pieces)])
    finished = _complete(grid.T, along_columns)
    yield from ring(grid, along_rows, True, finished if rows == 1 else ())
    yield from ring(grid.T, along_columns, True, finished)
    yield from ring(grid.T, along_columns, False, ())
    yield from ring(grid, along_rows, False, ())


def _complete(members: NDArray[Any], sizes: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    some = sizes > 0
    return tuple(zip(members[some].tolist(), sizes[some].tolist(), strict=True))


_ARRAYS: dict[tuple[str, str], _Whole[Any]] = {
    ("all_reduce", "ring"): _ring_all_reduce,
    ("all_reduce", "torus"): _torus,
    ("all_reduce", "hierarchical"): _torus,
    ("reduce_scatter", "ring"): _ring_reduce_scatter,
    ("all_gather", "ring"): _ring_all_gather,
}
