"""Sums of vectors that travel in code (SCHEMES 10): what takes the place of an all-reduce.

gather
    Every member's message goes to all; each decodes them all and adds them up in the order of the group.
reduce
    The code is summed by all-reduce, as numbers of its own type, in one round or several.
server
    Each member owns a range: it gets the messages for it of all, adds them up, encodes the sum again and sends it to
    all. Two quantisations, each with an error of its own (Seide et al. 2014; Bernstein et al. 2018).

All members end with equal bits: they decode the same messages in the same order, or have the same sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from parasim.program.buffers import Buffer, bounds
from parasim.program.coding import Coded, encode
from parasim.program.compressor import Chance, Compressor, Span
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.model import Model
from parasim.program.ops import Collective, Exchange, Program, Recv, ReduceKind, Send
from parasim.program.tensors import Tensor, Tensors

__all__ = [
    "coded_gather",
    "coded_scatter",
    "coded_sum",
    "joining",
    "spreading",
    "summand_function",
    "summing",
    "total_function",
    "writing",
]


def coded_sum(
    me: Context,
    group: Group,
    buffer: Buffer,
    what: str,
    step: int,
    *,
    offset: int = 0,
    algorithm: str = "ring",
    shape: tuple[int, int] | None = None,
    model: Model | None = None,
) -> Program[None]:
    """Sum of a buffer over a group, left in it; each member's is sent in code.

    Parameters
    ----------
    me, group
        A member, and all of them.
    buffer
        Its vector.
    what, step
        As `Coded` has it.
    offset
        Where the root of the buffer begins in the model's flat vector.
    model
        As `Coded` has it.
    algorithm, shape
        Of the all-reduces, where there are any.
    """
    assert me.compression is not None
    start = offset + buffer.start
    coded = Coded(me, what, start, start + buffer.elements, step, group.size, model=model)
    mode = me.compression.aggregation
    if mode == "reduce" and coded.code.rounds:
        yield from _reduce(coded, group, buffer, algorithm, shape)
    elif mode == "server":
        yield from _serve(coded, group, buffer, what, start, model)
    else:
        yield from _gather(coded, group, buffer)


def coded_gather(me: Context, group: Group, buffer: Buffer, what: str, step: int) -> Program[None]:
    """Pieces of parameters, one of each member, to all; every member ends with what the code made of them."""
    cuts, index, size = bounds(buffer.elements, group.size), group.index(me.rank), group.size
    start = buffer.start
    pieces = [Coded(me, what, start + cuts[j], start + cuts[j + 1], step, values=True) for j in range(size)]
    wire = yield from encode(pieces[index], buffer.part(cuts[index], cuts[index + 1]))
    spans = tuple([piece.span for piece in pieces])
    code = pieces[index].code
    codes = yield from _all_gather(pieces[0], group, wire, tuple([code.wire_bytes(span) for span in spans]))
    yield from me.math(spreading(code, spans), (buffer,), (codes,))


def _gather(coded: Coded, group: Group, buffer: Buffer) -> Program[None]:
    wire = yield from encode(coded, buffer)
    if group.size == 1:
        wires: Sequence[Buffer] = (wire,)
    elif coded.code.varying:
        wires = yield from _pass_on(coded.me, group, wire, f"codes {coded.key}")
    else:
        wires = ((yield from _all_gather(coded, group, wire, (wire.elements,) * group.size)),)
    yield from coded.me.math(summing(coded.code, coded.span, vote=True), (buffer,), wires, varying=coded.chances())


def _all_gather(coded: Coded, group: Group, wire: Buffer, sizes: tuple[int, ...]) -> Program[Buffer]:
    """All members' messages, one after the other."""
    me, total = coded.me, sum(sizes)
    codes = me.kept(("codes", coded.key, total), lambda: me.buffer("codes", total, 1))
    own = 0 if len(set(sizes)) == 1 and me.tensors is None else group.index(me.rank)
    yield from me.math(writing, (codes,), (wire,), varying={"start": sum(sizes[:own])}, elements=wire.elements)
    yield from Collective("all_gather", group, codes, counts=sizes)
    return codes


def _pass_on(me: Context, group: Group, wire: Buffer, tag: str) -> Program[list[Buffer]]:
    """The same of messages that differ in length: each is passed on around a ring."""
    index, size = group.index(me.rank), group.size
    left, right = group.ranks[index - 1], group.ranks[(index + 1) % size]
    found = {index: wire}
    for hop in range(size - 1):
        sent = Send(right, found[(index - hop) % size], tag, lent=True)
        (message,) = yield from Exchange((sent,), (Recv(left, tag),))
        assert message.buffer is not None
        found[(index - hop - 1) % size] = message.buffer
    return [found[member] for member in range(size)]


def _reduce(coded: Coded, group: Group, buffer: Buffer, algorithm: str, shape: tuple[int, int] | None) -> Program[None]:
    code, feedback, state = coded.code, coded.feedback, coded.state()
    sums: list[Buffer] = []
    for number in range(code.rounds):
        function = summand_function(code, coded.span, feedback, number)
        summand = yield from coded.me.math(function, state, (buffer, *sums), varying=coded.chances())
        reduce: ReduceKind = "max" if number < code.maxima else "sum"
        yield from Collective("all_reduce", group, summand, algorithm, reduce, shape=shape)
        sums.append(summand)
    function = total_function(code, coded.span, feedback)
    yield from coded.me.math(function, (buffer, *state), sums, varying=coded.chances())


def coded_scatter(
    me: Context, group: Group, buffer: Buffer, what: str, step: int, *, offset: int = 0, model: Model | None = None
) -> Program[Buffer]:
    """The sum of each member's piece of a buffer, at this member: a reduce-scatter whose messages are in code.

    Replies with the piece; the rest of the buffer is as it was. The arguments are those of :func:`coded_sum`.
    """
    start = offset + buffer.start
    mine, _ = yield from _scatter(me, group, buffer, what, start, step, model, vote=True)
    return mine


def _scatter(
    me: Context, group: Group, buffer: Buffer, what: str, start: int, step: int, model: Model | None, vote: bool
) -> Program[tuple[Buffer, list[Coded]]]:
    """The member's piece, summed (with `vote`, votes are counted), and the codes of all pieces."""
    size, index = group.size, group.index(me.rank)
    cuts = bounds(buffer.elements, size)
    shards = [Coded(me, what, start + cuts[j], start + cuts[j + 1], step, size, model=model) for j in range(size)]
    wires = []
    for j, shard in enumerate(shards):
        wires.append((yield from encode(shard, buffer.part(cuts[j], cuts[j + 1]))))
    sizes = tuple([wire.elements for wire in wires])
    joined: Buffer = yield from me.math(joining, (), wires)
    counts_in = (sizes[index],) * size
    received: Buffer = yield from Collective("all_to_all", group, joined, counts=sizes, counts_in=counts_in)
    own, mine = shards[index], buffer.part(cuts[index], cuts[index + 1])
    yield from me.math(summing(own.code, own.span, vote), (mine,), (received,), varying=own.chances())
    return mine, shards


def _serve(coded: Coded, group: Group, buffer: Buffer, what: str, start: int, model: Model | None) -> Program[None]:
    me, size, index = coded.me, group.size, group.index(coded.me.rank)
    cuts = bounds(buffer.elements, size)
    mine, shards = yield from _scatter(me, group, buffer, what, start, coded.step, model, vote=False)
    sizes = tuple([shard.code.wire_bytes(shard.span) for shard in shards])
    first, last = start + cuts[index], start + cuts[index + 1]
    again = Coded(me, f"{what}, summed", first, last, coded.step, size, model=model)
    wire = yield from encode(again, mine)
    codes = yield from _all_gather(coded, group, wire, sizes)
    yield from me.math(spreading(coded.code, tuple([shard.span for shard in shards])), (buffer,), (codes,))


def writing(xp: Tensors, codes: Tensor, wire: Tensor, elements: int, start: int) -> None:
    """A message into its place among all."""
    xp.copy_(codes[start : start + elements], wire)


def joining(xp: Tensors, *wires: Tensor) -> Tensor:
    """Messages one after the other."""
    return xp.concatenate(list(wires))


@functools.lru_cache(maxsize=4096)
def summing(code: Compressor, span: Span, vote: bool) -> Callable[..., None]:
    """A function that adds up messages, each an operand or all in one, and counts votes if there are any."""

    def add_up(xp: Tensors, into: Tensor, *wires: Tensor, own: Any, common: Any, step: int) -> None:
        if not code.varying:
            size = code.wire_bytes(span)
            wires = tuple([wires[0][j * size : (j + 1) * size] for j in range(span.members)])
        xp.fill_(into, 0.0)
        for wire in wires:
            code.add_decoded(xp, into, wire, span)
        if vote and code.votes:
            winner = code.encode(xp, into, (), span, Chance(own, common, step))
            xp.fill_(into, 0.0)
            code.add_decoded(xp, into, winner, span, float(span.members))

    return add_up


@functools.lru_cache(maxsize=4096)
def spreading(code: Compressor, spans: tuple[Span, ...]) -> Callable[..., None]:
    """A function that writes what the messages of all ranges decode to, one after the other."""

    def spread(xp: Tensors, into: Tensor, codes: Tensor) -> None:
        xp.fill_(into, 0.0)
        place = start = 0
        for span in spans:
            size = code.wire_bytes(span)
            scale = float(span.members) if code.votes else 1.0
            code.add_decoded(xp, into[start : start + span.elements], codes[place : place + size], span, scale)
            place, start = place + size, start + span.elements

    return spread


@functools.lru_cache(maxsize=4096)
def summand_function(code: Compressor, span: Span, feedback: bool, number: int) -> Callable[..., Tensor]:
    """A function of state, vector and sums so far: what goes into an all-reduce; the first adds the error.

    Of a code with one round the error is what it loses of the own vector; with several rounds, what the mean of all
    lacks of it (Vogels et al. 2019, algorithm 2).
    """

    def summand(xp: Tensors, *operands: Tensor, own: Any, common: Any, step: int) -> Tensor:
        chance = Chance(own, common, step)
        place = len(operands) - number - 1
        state, vector, before = operands[:place], operands[place], list(operands[place + 1 :])
        if not feedback:
            return code.summand(xp, number, vector, before, state, span, chance)
        error, *slots = state
        if number == 0:
            xp.add_(error, vector)
        made = code.summand(xp, number, error, before, tuple(slots), span, chance)
        if code.rounds == 1:
            xp.add_(error, code.total(xp, [made], tuple(slots), span, chance), -1.0)
        return made

    return summand


@functools.lru_cache(maxsize=4096)
def total_function(code: Compressor, span: Span, feedback: bool) -> Callable[..., None]:
    """A function of vector, state and the sums of all rounds that puts the sum of all vectors in the vector's place."""

    def total(xp: Tensors, into: Tensor, *operands: Tensor, own: Any, common: Any, step: int) -> None:
        place = len(operands) - code.rounds
        state, sums = operands[:place], operands[place:]
        slots = state[1:] if feedback else state
        xp.copy_(into, code.total(xp, list(sums), slots, span, Chance(own, common, step)))
        if feedback and code.rounds > 1:
            xp.add_(state[0], into, -1.0 / span.members)

    return total
