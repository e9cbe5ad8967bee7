"""The values of a collective, made all at once: for a runtime that does not move its messages one by one.

Every member's own program (expand.py) is stepped, its computes done where they stand and its messages handed over as
they are received. So the numbers are those of the named algorithm, bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parasim.program.buffers import Buffer
from parasim.program.collectives.expand import expand
from parasim.program.ops import Collective, Compute, Exchange, Message, Op, Program

if TYPE_CHECKING:
    from parasim.program.tensors import Tensors

__all__ = ["do_values"]


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
