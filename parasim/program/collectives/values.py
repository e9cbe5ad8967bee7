"""The values of a collective, made all at once: for a runtime that does not move its messages one by one.

Every member's own program (expand.py) is stepped, its computes done where they stand and its messages handed over as
they are received. So the numbers are those of the named algorithm, bit for bit. A ring's all-reduce is added up piece
by piece without its programs: piece p begins at member p + 1 and goes round to member p, each adding its own; x + y is
y + x to the last bit, so these are the same sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parasim.program.buffers import Buffer
from parasim.program.collectives.algorithms import cuts
from parasim.program.collectives.expand import expand
from parasim.program.ops import Collective, Compute, Exchange, Message, Op, Program

if TYPE_CHECKING:
    from parasim.program.tensors import Tensors

__all__ = ["add_up_ring", "do_values", "step_programs"]


class _Member:
    """A member's program, and the exchange that it has begun."""

    def __init__(self, program: Program[Any]) -> None:
        self.program = program
        self.exchange: Exchange | None = None
        self.reply: Any = None
        self.over = False


def do_values(ops: Sequence[Collective], xp: Tensors) -> list[Any]:
    """Do a collective on the members' buffers, which carry values; returns what each member's operation replies.

    Parameters
    ----------
    ops
        Of each member, in the order of the group.
    xp
        The tensor namespace of the run.
    """
    first = ops[0]
    if (first.kind, first.algorithm) == ("all_reduce", "ring") and first.reduce != "max":
        return add_up_ring(ops, xp)
    return step_programs(ops, xp)


def add_up_ring(ops: Sequence[Collective], xp: Tensors) -> list[Any]:
    """The same for an all-reduce by a ring, of sums or means."""
    size, cut, pieces = len(ops), cuts(ops[0]), []
    vectors = [op.buffer.values for op in ops if op.buffer is not None]
    for piece in range(size):
        start, stop = cut[piece], cut[piece + 1]
        total = xp.copy(vectors[(piece + 1) % size][start:stop])
        for member in range(piece + 2 - size, piece + 1):
            xp.add_(total, vectors[member][start:stop])
        if ops[0].reduce == "mean":
            xp.scale_(total, 1 / size)
        pieces.append(total)
    whole = xp.concatenate(pieces)
    for vector in vectors:
        xp.copy_(vector, whole)
    return [None] * size


def step_programs(ops: Sequence[Collective], xp: Tensors) -> list[Any]:
    """The same for any collective."""
    ranks = ops[0].group.ranks
    members = [_Member(expand(op, rank, "", xp)) for op, rank in zip(ops, ranks, strict=True)]
    sent: dict[tuple[int, int], deque[Buffer]] = {}
    for member, rank in zip(members, ranks, strict=True):
        _step(member, rank, None, sent, xp)
    while not all(member.over for member in members):
        for member, rank in zip(members, ranks, strict=True):
            while not member.over and member.exchange is not None:
                messages = _received(member.exchange, rank, sent, xp)
                if messages is None:
                    break
                _step(member, rank, messages, sent, xp)
    return [member.reply for member in members]


def _step(member: _Member, rank: int, reply: Any, sent: dict[tuple[int, int], deque[Buffer]], xp: Tensors) -> None:
    """Go on to the member's next exchange, whose sends leave at once, or to its end."""
    try:
        op: Op[Any] = member.program.send(reply)
        while isinstance(op, Compute):
            op = member.program.send(None if op.work is None else op.work())
    except StopIteration as stop:
        member.reply, member.over = stop.value, True
        return
    assert isinstance(op, Exchange)
    member.exchange = op
    for send in op.sends:
        assert send.buffer is not None
        copy = Buffer(send.buffer.name, send.buffer.elements, send.buffer.itemsize, xp.copy(send.buffer.values))
        sent.setdefault((rank, send.peer), deque()).append(copy)


def _received(
    exchange: Exchange, rank: int, sent: dict[tuple[int, int], deque[Buffer]], xp: Tensors
) -> tuple[Message, ...] | None:
    """The messages of an exchange, if all are there."""
    sources = [receive.source for receive in exchange.receives]
    if any(len(sent.get((source, rank), ())) < sources.count(source) for source in sources):
        return None
    messages = []
    for receive in exchange.receives:
        buffer = sent[receive.source, rank].popleft()
        if receive.into is not None:
            xp.copy_(receive.into.values, buffer.values)
            buffer = receive.into
        messages.append(Message(receive.source, receive.tag, {}, buffer))
    return tuple(messages)
