"""The table of algorithms, and what a `Collective` must look like to be run by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer, bounds
from parasim.program.collectives import (
    binomial,
    bruck,
    dissemination,
    double_tree,
    doubling,
    hierarchical,
    hierarchical_leader,
    naive,
    pairwise,
    rabenseifner,
    ring,
    scattering,
    torus,
)
from parasim.program.collectives.rounds import Round, completing
from parasim.program.ops import Collective, ReduceKind

__all__ = ["ALGORITHMS", "Algorithm", "check", "cuts", "cuts_in", "schedule", "shape_of"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How a collective is done: the rounds of the member of a given index, and what becomes of what it receives.

    Received ranges are placed in the buffer, or added there, round by round ("place"); or they are kept apart until
    the last round, then added ("add") or joined to a new buffer ("join") in the order of the group; or there are none
    ("signal").
    """

    rounds: Callable[[Collective, int], Iterator[Round]]
    receives: Literal["place", "add", "join", "signal"] = "place"


def _elements(op: Collective) -> int:
    return 0 if op.buffer is None else op.buffer.elements


def cuts(op: Collective) -> list[int]:
    """Cut points of the pieces of `op.buffer`: by its counts, or nearly equal."""
    if op.counts is not None:
        return [0, *accumulate(op.counts)]
    return bounds(_elements(op), op.group.size)


def cuts_in(op: Collective, index: int) -> list[int]:
    """Cut points of what an all-to-all leaves at the member of this index; by default equal pieces from all."""
    if op.counts_in is not None:
        return [0, *accumulate(op.counts_in)]
    own = cuts(op)
    return [(own[index + 1] - own[index]) * j for j in range(op.group.size + 1)]


def _reduce_scatter(op: Collective, index: int) -> Iterator[Round]:
    pieces = cuts(op)
    return completing(ring.reduce_scatter(index, op.group.size, pieces), pieces[index], pieces[index + 1])


def _double_tree(op: Collective, index: int) -> Iterator[Round]:
    size, buffer = op.group.size, op.buffer
    nbytes = 0 if buffer is None else buffer.nbytes
    return double_tree.all_reduce(index, size, _elements(op), op.chunks or double_tree.default_chunks(size, nbytes))


def shape_of(op: Collective) -> tuple[int, int]:
    """Rows and columns of a torus: given, or as square as can be."""
    return op.shape or torus.most_square(op.group.size)


ALGORITHMS: dict[tuple[str, str], Algorithm] = {
    ("all_reduce", "ring"): Algorithm(lambda op, i: ring.all_reduce(i, op.group.size, cuts(op))),
    ("all_reduce", "binomial"): Algorithm(lambda op, i: binomial.all_reduce(i, op.group.size, _elements(op), op.root)),
    ("all_reduce", "recursive_doubling"): Algorithm(lambda op, i: doubling.all_reduce(i, op.group.size, _elements(op))),
    ("all_reduce", "rabenseifner"): Algorithm(lambda op, i: rabenseifner.all_reduce(i, op.group.size, _elements(op))),
    ("all_reduce", "torus"): Algorithm(lambda op, i: torus.all_reduce(i, shape_of(op), _elements(op))),
    ("all_reduce", "hierarchical"): Algorithm(lambda op, i: hierarchical.all_reduce(i, shape_of(op), _elements(op))),
    ("all_reduce", "hierarchical_leader"): Algorithm(
        lambda op, i: hierarchical_leader.all_reduce(i, shape_of(op), _elements(op))
    ),
    ("all_reduce", "double_tree"): Algorithm(_double_tree),
    ("all_reduce", "naive"): Algorithm(lambda op, i: naive.gather(i, op.group.size, _elements(op), op.root)),
    ("all_reduce", "direct"): Algorithm(lambda op, i: naive.direct(i, op.group.size, _elements(op)), "add"),
    ("reduce_scatter", "ring"): Algorithm(_reduce_scatter),
    ("all_gather", "ring"): Algorithm(lambda op, i: ring.all_gather(i, op.group.size, cuts(op))),
    ("all_gather", "bruck"): Algorithm(lambda op, i: bruck.all_gather(i, op.group.size, cuts(op))),
    ("all_to_all", "pairwise"): Algorithm(
        lambda op, i: pairwise.all_to_all(i, op.group.size, cuts(op), cuts_in(op, i)), "join"
    ),
    ("broadcast", "binomial"): Algorithm(lambda op, i: binomial.broadcast(i, op.group.size, _elements(op), op.root)),
    ("broadcast", "scatter_all_gather"): Algorithm(
        lambda op, i: scattering.broadcast(i, op.group.size, _elements(op), op.root)
    ),
    ("barrier", "dissemination"): Algorithm(lambda op, i: dissemination.barrier(i, op.group.size), "signal"),
}
"""All algorithms, by kind of collective and name. ("native" is the backend's own and has no rounds.)"""


DEFAULTS = {
    "all_reduce": "ring",
    "reduce_scatter": "ring",
    "all_gather": "ring",
    "all_to_all": "pairwise",
    "broadcast": "binomial",
    "barrier": "dissemination",
}
"""The algorithm of a kind where none is named."""


def schedule(op: Collective, index: int) -> Iterator[Round]:
    """Rounds of the member of this index, for a collective that `check` has passed."""
    return ALGORITHMS[op.kind, op.algorithm].rounds(op, index)


def check(op: Collective, index: int) -> Algorithm:
    """The algorithm of a collective, if the member of this index can run it as it stands.

    Raises
    ------
    ProgramError
        If there is no such algorithm, or buffer, counts, root, shape, chunks or reduction do not fit.
    """
    algorithm = ALGORITHMS.get((op.kind, op.algorithm))
    if algorithm is None:
        names = ", ".join(name for kind, name in ALGORITHMS if kind == op.kind)
        if not names:
            raise ProgramError(f"unknown kind of collective {op.kind!r}: use one of {', '.join(sorted(_KINDS))}")
        raise ProgramError(f"{_name(op)}: unknown algorithm {op.algorithm!r}: use {names} or native")
    if (op.buffer is None) != (op.kind == "barrier"):
        wrong = "has no buffer: give one" if op.buffer is None else "takes no buffer: leave it out"
        raise ProgramError(f"{_name(op)} {wrong}")
    if op.reduce not in get_args(ReduceKind):
        raise ProgramError(f"{_name(op)}: unknown reduction {op.reduce!r}: use {', '.join(get_args(ReduceKind))}")
    if not 0 <= op.root < op.group.size:
        raise ProgramError(f"{_name(op)}: root {op.root} is no index of a group of {op.group.size}")
    if op.chunks is not None and op.chunks < 1:
        raise ProgramError(f"{_name(op)}: chunks is {op.chunks}: use 1 or more")
    if op.algorithm in _SHAPED:
        _check_shape(op)
    if op.buffer is not None:
        _check_counts(op, op.buffer, index)
    return algorithm


_KINDS = {kind for kind, _ in ALGORITHMS}
_NODES = "(nodes, ranks per node)"
_SHAPED = {"torus": "(rows, columns)", "hierarchical": _NODES, "hierarchical_leader": _NODES}


def _name(op: Collective) -> str:
    return f"{op.kind} ({op.algorithm}) of group {op.group.name!r}"


def _check_shape(op: Collective) -> None:
    meaning = _SHAPED[op.algorithm]
    if op.shape is None:
        if meaning == _NODES:
            raise ProgramError(f"{_name(op)} has no shape: give {meaning}, with product {op.group.size}")
        return
    first, second = op.shape
    if first < 1 or first * second != op.group.size:
        raise ProgramError(
            f"{_name(op)}: shape {first} x {second} makes {first * second} members, but the group has "
            f"{op.group.size}: give {meaning} with that product"
        )


def _check_counts(op: Collective, buffer: Buffer, index: int) -> None:
    if op.counts is None and op.counts_in is None:
        return
    if op.kind not in {"reduce_scatter", "all_gather", "all_to_all"}:
        raise ProgramError(f"{_name(op)} takes no counts: leave them out")
    if (op.counts_in is not None) != (op.kind == "all_to_all") or op.counts is None:
        raise ProgramError(f"{_name(op)}: give counts and counts_in for an all_to_all, counts alone for others")
    for what, counts in (("counts", op.counts), ("counts_in", op.counts_in)):
        if counts is not None and (len(counts) != op.group.size or min(counts) < 0):
            raise ProgramError(f"{_name(op)}: {what} {counts} must be {op.group.size} numbers, none below 0")
    if sum(op.counts) != buffer.elements:
        raise ProgramError(
            f"{_name(op)}: counts {op.counts} sum up to {sum(op.counts)}, but {buffer!r} has {buffer.elements} elements"
        )
    if op.counts_in is not None and op.counts_in[index] != op.counts[index]:
        raise ProgramError(
            f"{_name(op)}: member {index} sends itself {op.counts[index]} elements and gets {op.counts_in[index]}"
        )
