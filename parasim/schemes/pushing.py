"""Vectors between workers and servers, or between neighbours, in the code that the scenario chooses, or as they are.

What is in code says in its header of which elements it is and by which step's schedule it was made, so whoever gets it
needs to know nothing else. Gradients have error feedback; parameters are sent as they are, and only in codes that can
carry values: between servers and workers if the compression is for both ways.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from parasim.program import (
    Buffer,
    Coded,
    Collective,
    Context,
    Group,
    Message,
    Program,
    Tensor,
    Tensors,
    decoded,
    encode,
)
from parasim.program.elementwise import overwrite
from parasim.program.ops import Header

__all__ = ["broadcast_values", "into_of", "packed", "packed_values", "unpacked", "values_into", "vote"]


def packed(me: Context, vector: Buffer, header: Header, what: str = "gradient") -> Program[tuple[Buffer, Header]]:
    """A gradient (a range of a vector as large as the model) as it is sent, and the header that goes with it."""
    if me.compression is None:
        return vector, header
    return (yield from _packed(me, vector, header, what, vector.start, values=False))


def packed_values(
    me: Context, vector: Buffer | None, header: Header, offset: int = 0
) -> Program[tuple[Buffer | None, Header]]:
    """The same of parameters, if the compression is for both ways; their root begins at `offset` of the model."""
    if vector is None or me.compression is None or not me.compression.both_ways:
        return vector, header
    return (yield from _packed(me, vector, header, "parameters", offset + vector.start, values=True))


def _packed(
    me: Context, vector: Buffer, header: Header, what: str, start: int, *, values: bool
) -> Program[tuple[Buffer, Header]]:
    stop = start + vector.elements
    step = next(me.kept(("messages", what, start, stop), itertools.count))
    wire = yield from encode(Coded(me, what, start, stop, step, me.count("worker"), values=values), vector)
    return wire, {**header, "coded": step, "start": start, "stop": stop}


def unpacked(me: Context, message: Message) -> Program[Message]:
    """A message with the vector that it brought in code."""
    if message.buffer is None or "coded" not in message.header:
        return message
    return replace(message, buffer=(yield from decoded(_coded(me, message), message.buffer)))


def vote(me: Context, total: Buffer, members: int) -> Program[None]:
    """Of a sum of signs the majority counts: it becomes a sum of `members` times that."""
    if me.compression is not None and me.compression.compressor.votes:
        yield from me.math(majority, (total,), members=members)


def majority(xp: Tensors, total: Tensor, members: int) -> None:
    """Above zero: `members`; else the negative of it, as one bit has it."""
    xp.copy_(total, xp.where(xp.greater(total, 0.0), float(members), -float(members)))


def values_into(me: Context, message: Message, into: Buffer) -> Program[None]:
    """Write the parameters that a message brought where they belong; what came as it is lies there already."""
    if message.buffer is not None and "coded" in message.header:
        yield from me.math(overwrite, (into,), ((yield from decoded(_coded(me, message), message.buffer)),))


def broadcast_values(me: Context, group: Group, parameters: Buffer) -> Program[None]:
    """From the first member of a group to all, who end with what the code made of it if it comes in code."""
    if me.compression is None or not me.compression.both_ways:
        yield from Collective("broadcast", group, parameters)
        return
    coded = Coded(me, "parameters", parameters.start, parameters.stop, 0, values=True)
    wire = yield from encode(coded, parameters)
    yield from Collective("broadcast", group, wire)
    yield from me.math(overwrite, (parameters,), ((yield from decoded(coded, wire)),))


def into_of(me: Context, into: Buffer) -> Buffer | None:
    """Where a receive of parameters from a server may put them at once: nowhere, if they come in code."""
    return None if me.compression is not None and me.compression.both_ways else into


def _coded(me: Context, message: Message) -> Coded:
    header = message.header
    return Coded(me, "", int(header["start"]), int(header["stop"]), int(header["coded"]))
