"""From a `Collective` to the program of one of its members: one program that runs any schedule.

A round becomes one `Exchange`. What is received by overwriting goes straight into the buffer; what is to be added
arrives in a buffer of its own and is added by a `Compute` of kind "reduce", one after the other, before the next round
starts.

A mean is a sum; where a range is complete (`Round.complete`) it is scaled by 1 / size, once, before anyone is given
it. So members that get a result get identical bits, and a ring scales only one piece at each member.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.collectives.algorithms import DEFAULTS, check, cuts
from parasim.program.collectives.rounds import Round
from parasim.program.kernels import counted
from parasim.program.ops import Collective, Compute, Exchange, Kernel, Message, Program, Recv, Send
from parasim.program.tensors import Shape

if TYPE_CHECKING:
    from parasim.program.tensors import Tensor, Tensors

__all__ = ["expand", "join_kernel", "mean_kernel", "own_piece", "reduce_kernel"]


def expand(op: Collective, rank: int, tag: str, xp: Tensors | None = None) -> Program[Any]:
    """The program of the member with global rank `rank`; replies as `Collective` says.

    Parameters
    ----------
    op
        The collective; any algorithm but "native".
    rank
        Global rank of the member.
    tag
        Tag of all its messages; two collectives of one group that overlap in time need different ones.
    xp
        Tensor namespace of the run, None if no values are carried.

    Raises
    ------
    ProgramError
        At once, if the rank is no member or the collective does not fit its algorithm (`check`).
    """
    if not op.algorithm and op.kind in DEFAULTS:
        op = replace(op, algorithm=DEFAULTS[op.kind])
    index = op.group.index(rank)
    algorithm = check(op, index)
    run = _Run(op, op.group.ranks, index, tag, xp)
    rounds = algorithm.rounds(op, index)
    if op.buffer is None:
        return _signal(run, rounds)
    return _PROGRAMS[algorithm.receives](run, op.buffer, rounds)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the programs below need to know of the collective and of the member that runs it."""

    op: Collective
    ranks: tuple[int, ...]
    index: int
    tag: str
    xp: Tensors | None


def own_piece(op: Collective, index: int) -> Buffer | None:
    """What a collective that works in its buffer replies: of a reduce-scatter, the member's piece."""
    if op.kind != "reduce_scatter" or op.buffer is None:
        return None
    pieces = cuts(op)
    return op.buffer.part(pieces[index], pieces[index + 1])


def reduce_kernel(op: Collective, elements: int) -> Kernel:
    """What adding so many received elements costs."""
    return _kernel("reduce", "reduce", _reduction(op), (elements, elements), _itemsize(op), ())


def mean_kernel(op: Collective, elements: int) -> Kernel:
    """What scaling so many completely reduced elements to a mean costs."""
    return _kernel("mean", "reduce", _scale, (elements,), _itemsize(op), (("factor", 1 / op.group.size),))


def join_kernel(op: Collective, sizes: tuple[int, ...]) -> Kernel:
    """What joining received pieces of these sizes costs."""
    return _kernel("join", "elementwise", _concatenate, sizes, _itemsize(op), ())


def _itemsize(op: Collective) -> int:
    return 4 if op.buffer is None else op.buffer.itemsize


def _signal(run: _Run, rounds: Iterator[Round]) -> Program[None]:
    """Header-only messages."""
    for round_ in rounds:
        yield Exchange(
            tuple(Send(run.ranks[move.peer], None, run.tag) for move in round_.sends),
            tuple(Recv(run.ranks[move.peer], run.tag) for move in round_.receives),
        )


def _place(run: _Run, buffer: Buffer, rounds: Iterator[Round]) -> Program[Buffer | None]:
    """Receive into the buffer, or add to it, round by round."""
    for round_ in rounds:
        messages = yield from _exchange(run, buffer, round_)
        for move, message in zip(round_.receives, messages, strict=True):
            if move.reduce:
                yield from _reduce(run, buffer.part(move.start, move.stop), _payload(message))
        for start, stop in round_.complete:
            yield from _finish(run, buffer.part(start, stop))
    return own_piece(run.op, run.index)


def _add(run: _Run, buffer: Buffer, rounds: Iterator[Round]) -> Program[None]:
    """Keep the vectors of all others, then add all in the order of the group: the same bits on every member.

    The sum of the vectors before this member's is made in the first of them; x + y is y + x, so it may then be added
    to the member's own.
    """
    before, after = yield from _keep(run, buffer, rounds)
    for vector in before[1:]:
        yield from _reduce(run, before[0], vector)
    for vector in (*before[:1], *after):
        yield from _reduce(run, buffer, vector)
    yield from _finish(run, buffer)


def _join(run: _Run, buffer: Buffer, rounds: Iterator[Round]) -> Program[Buffer]:
    """Keep the pieces of all others, then join them and the member's own to a new buffer (one copy of it all)."""
    before, after = yield from _keep(run, buffer, rounds)
    own = cuts(run.op)
    pieces = (*before, buffer.part(own[run.index], own[run.index + 1]), *after)
    values = yield from _compute(run, "join", "elementwise", _concatenate, (), pieces)
    return Buffer(buffer.name, sum(piece.elements for piece in pieces), buffer.itemsize, values)


_PROGRAMS: Final[Mapping[str, Callable[[_Run, Buffer, Iterator[Round]], Program[Any]]]] = {
    "place": _place,
    "add": _add,
    "join": _join,
}


def _keep(run: _Run, buffer: Buffer, rounds: Iterator[Round]) -> Program[tuple[list[Buffer], list[Buffer]]]:
    """What members before and after this one in the group sent, each in the order of the group."""
    kept: dict[int, Buffer] = {}
    for round_ in rounds:
        messages = yield from _exchange(run, buffer, round_, keep=True)
        kept.update((move.peer, _payload(message)) for move, message in zip(round_.receives, messages, strict=True))
    peers = sorted(kept)
    return [kept[peer] for peer in peers if peer < run.index], [kept[peer] for peer in peers if peer > run.index]


def _exchange(run: _Run, buffer: Buffer, round_: Round, keep: bool = False) -> Program[tuple[Message, ...]]:
    """One round's messages; none if the member is idle. Overwriting receives go into the buffer, unless `keep`."""
    if not (round_.sends or round_.receives):
        return ()
    ranks, tag, part = run.ranks, run.tag, buffer.part
    sends = [Send(ranks[move.peer], part(move.start, move.stop), tag, lent=True) for move in round_.sends]
    receives = [
        Recv(ranks[move.peer], tag, None if keep or move.reduce else part(move.start, move.stop))
        for move in round_.receives
    ]
    messages: tuple[Message, ...] = yield Exchange(tuple(sends), tuple(receives))
    return messages


def _payload(message: Message) -> Buffer:
    if message.buffer is None:
        raise ProgramError(
            f"a message of tag {message.tag!r} from rank {message.source} has no payload, a collective expects one: "
            "give collectives a tag of their own"
        )
    return message.buffer


def _reduce(run: _Run, into: Buffer, received: Buffer) -> Program[None]:
    yield from _compute(run, "reduce", "reduce", _reduction(run.op), (into,), (received,))


def _reduction(op: Collective) -> Callable[..., Any]:
    return _maximum if op.reduce == "max" else _sum


def _finish(run: _Run, complete: Buffer) -> Program[None]:
    """Scale a completely reduced range, if a mean is wanted."""
    if run.op.reduce == "mean" and complete.elements and len(run.ranks) > 1:
        yield from _compute(run, "mean", "reduce", _scale, (complete,), (), factor=1 / len(run.ranks))


def _compute(
    run: _Run,
    label: str,
    kind: str,
    function: Callable[..., Any],
    touches: tuple[Buffer, ...],
    reads: tuple[Buffer, ...],
    **constants: float,
) -> Program[Any]:
    """Compute ``function(xp, *touches, *reads, **constants)``, which costs what its verbs cost."""
    operands = (*touches, *reads)
    sizes = tuple([operand.elements for operand in operands])
    kernel = _kernel(label, kind, function, sizes, operands[0].itemsize, tuple(constants.items()))
    work = None
    if run.xp is not None:
        xp = run.xp

        def work() -> Any:
            changed = [operand.change() for operand in touches]
            return function(xp, *changed, *(operand.look() for operand in reads), **constants)

    return (yield Compute(kernel, work, touches, reads))


@functools.lru_cache(maxsize=4096)
def _kernel(
    label: str,
    kind: str,
    function: Callable[..., Any],
    sizes: tuple[int, ...],
    itemsize: int,
    constants: tuple[tuple[str, float], ...],
) -> Kernel:
    return counted(function, tuple([Shape(size, itemsize) for size in sizes]), constants).kernel(label, kind)


def _sum(xp: Tensors, into: Tensor, received: Tensor) -> None:
    xp.add_(into, received)


def _maximum(xp: Tensors, into: Tensor, received: Tensor) -> None:
    xp.maximum_(into, received)


def _scale(xp: Tensors, into: Tensor, factor: float) -> None:
    xp.scale_(into, factor)


def _concatenate(xp: Tensors, *pieces: Tensor) -> Tensor:
    return xp.concatenate(list(pieces))
