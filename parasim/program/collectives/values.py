"""The values of a collective, made all at once: for a runtime that does not move its messages one by one.

Every member's own program (expand.py) is stepped, its computes done where they stand and its messages handed over as
they are received. So the numbers are those of the named algorithm, bit for bit. A ring's all-reduce is added up without
them: piece p begins at member p + 1 and goes round to member p, each adding its own. So each element is added up
from the members after p on, then from the first to p; in both rounds a member adds its own to a range that has no gaps.
x + y is y + x to the last bit, so these are the same sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parasim.program.buffers import Buffer
from parasim.program.collectives.algorithms import cuts
from parasim.program.collectives.expand import expand
from parasim.program.contents import Content
from parasim.program.ops import Collective, Compute, Exchange, Message, Op, Program

if TYPE_CHECKING:
    from parasim.program.tensors import Tensor, Tensors

__all__ = ["add_up_ring", "do_values", "step_programs", "sum_of_ring"]


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
    if first.kind == "all_reduce" and first.reduce == "sum" and _sum_promised(ops, xp):
        return [None] * len(ops)
    if (first.kind, first.algorithm) == ("all_reduce", "ring") and first.reduce != "max":
        return add_up_ring(ops, xp)
    replies = step_programs(ops, xp)
    if first.kind == "all_reduce" and first.buffer is not None:
        for op in ops[1:]:
            assert op.buffer is not None
            op.buffer.take(first.buffer, xp)  # the same bits, so that all have one content
    return replies


def _sum_promised(ops: Sequence[Collective], xp: Tensors) -> bool:
    """Add up vectors that nobody has looked at, if that can be done without making each; was it done?"""
    contents = [None if op.buffer is None else op.buffer.content for op in ops]
    promises = [content.promise for content in contents if content is not None and content.promise is not None]
    if len(promises) < len(ops):
        return False
    total = promises[0].total(promises)
    if total is None:
        return False
    _give(total, ops, xp)
    return True


def _give(total: Tensor, ops: Sequence[Collective], xp: Tensors) -> None:
    """All members have one content."""
    content = Content(total, xp)
    for op in ops:
        assert op.buffer is not None
        op.buffer.replace(content, xp)


def add_up_ring(ops: Sequence[Collective], xp: Tensors) -> list[Any]:
    """The same for an all-reduce by a ring, of sums or means."""
    vectors = [op.buffer.look() for op in ops if op.buffer is not None]
    _give(sum_of_ring(ops[0], vectors, xp), ops, xp)
    return [None] * len(ops)


def sum_of_ring(op: Collective, vectors: Sequence[Tensor], xp: Tensors) -> Tensor:
    """What an all-reduce by a ring leaves at every member, from the vectors that they bring; a new one."""
    size, cut = len(vectors), cuts(op)
    total = xp.copy(vectors[0])  # the piece that begins there; the others are written below, before they are added to
    for member in range(1, size):
        begun = cut[member - 1]
        xp.add_(total[:begun], vectors[member][:begun])
        xp.copy_(total[begun : cut[member]], vectors[member][begun : cut[member]])
    for member in range(size):
        left = slice(cut[member], cut[size] if member else cut[size - 1])
        xp.add_(total[left], vectors[member][left])
    if op.reduce == "mean":
        xp.scale_(total, 1 / size)
    return total


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
        copy = Buffer(send.buffer.name, send.buffer.elements, send.buffer.itemsize, send.buffer.share(xp))
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
            receive.into.take(buffer, xp)
            buffer = receive.into
        messages.append(Message(receive.source, receive.tag, {}, buffer))
    return tuple(messages)
