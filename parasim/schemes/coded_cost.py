"""What sums and messages in code cost: what parasim/program/coded_sums.py does, as closed forms.

With N members, n bytes of vector, messages of m bytes (the code's wire law), enc and dec the seconds of making one and
of adding one up, and C an all-reduce:

gather
    ``enc + (N - 1) (alpha + m beta) + N dec``
reduce
    ``sum over rounds (enc_r + C(m_r)) + dec``
server
    ``N enc_piece + (N - 1) (alpha + m_piece beta)``, the sum of N pieces, encoded again, and the same back to all

All coding is a function of the tensor namespace, counted on shapes, as a run has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from parasim.program import Kernel, Route, Setting, bounds
from parasim.program.coded_sums import joining, spreading, summand_function, summing, total_function, writing
from parasim.program.coding import decoder, encoder
from parasim.program.collectives import DEFAULTS
from parasim.program.compressor import Compression, Compressor, Span, span_of
from parasim.program.elementwise import overwrite
from parasim.program.ops import CollectiveKind
from parasim.program.tensors import Shape
from parasim.schemes.pushing import majority
from parasim.theory.collectives import Cost, cost
from parasim.theory.patterns import patterns

__all__ = [
    "CodedMessages",
    "CodedModel",
    "Coding",
    "coded_messages",
    "coded_model",
    "coded_sum_cost",
    "coding",
    "pulled",
    "pushed",
]

_CHANCES = ("own", "common", "step")
_LATE = 1 << 60
"""A step after all schedules."""


class Coding(NamedTuple):
    """A range of the model in the code that is in force once schedules are over.

    `settled`: it is the code of every step, and its messages are as long as its law says.
    """

    code: Compressor
    span: Span
    feedback: bool
    settled: bool

    @property
    def operands(self) -> list[tuple[int, int]]:
        """Elements and bytes each of the state."""
        sizes = [elements for _, elements in self.code.slots(self.span)]
        return [(elements, self.span.itemsize) for elements in ([self.span.elements] if self.feedback else []) + sizes]

    @property
    def vector(self) -> tuple[int, int]:
        """Elements and bytes each of the vector."""
        return self.span.elements, self.span.itemsize

    @property
    def wire(self) -> tuple[int, int]:
        """The message."""
        return self.code.wire_bytes(self.span), 1


def coding(setting: Setting, start: int, stop: int, members: int, *, values: bool = False) -> Coding:
    """As `Coded` has it, once schedules are over."""
    compression = _of(setting)
    code = compression.compressor.at(_LATE)
    settled = compression.compressor.at(0) == code and not code.varying
    feedback = compression.error_feedback and not values
    return Coding(code, span_of(setting.model, start, stop, members), feedback, settled)


def _of(setting: Setting) -> Compression:
    assert setting.compression is not None
    return setting.compression


def pushed(setting: Setting, one: Coding) -> Kernel:
    """What makes the message of a vector."""
    return setting.kernel_of(encoder(one.code, one.span, one.feedback), [*one.operands, one.vector], _CHANCES)[0]


def pulled(setting: Setting, one: Coding) -> Kernel:
    """What makes a vector of a message."""
    return setting.kernel_of(decoder(one.code, one.span), [one.wire])[0]


def coded_sum_cost(
    setting: Setting,
    members: int,
    start: int,
    stop: int,
    algorithm: str,
    routes: tuple[Route, Route],
    shape: tuple[int, int] | None = None,
) -> Cost:
    """What `coded_sum` of elements ``[start, stop)`` of the model over so many members costs.

    `routes` are of the all-reduce's messages, inside and across, as its closed form takes them. Exact where all pieces
    are equal and the code does not change while the run goes on.
    """
    one = coding(setting, start, stop, members)
    mode = _of(setting).aggregation
    if mode == "reduce" and one.code.rounds:
        found = _reduced(setting, one, members, algorithm, routes, shape)
    elif mode == "server":
        found = _served(setting, members, start, stop)
    else:
        found = _gathered(setting, one, members)
    return found if one.settled else _inexact(found)


def _inexact(found: Cost) -> Cost:
    return Cost(
        found.seconds, found.rounds, found.bytes_sent_max, found.bytes_sent_mean, found.messages_sent_mean, False
    )


def _seconds(setting: Setting, function: Any, sizes: Sequence[tuple[int, int]], varying: Sequence[str] = ()) -> float:
    return setting.place.seconds(setting.kernel_of(function, sizes, varying)[0])


def _route(setting: Setting, kind: CollectiveKind, members: int) -> tuple[str, Route]:
    algorithm = DEFAULTS[kind]
    return algorithm, setting.worst(setting.place.together(pattern) for pattern in patterns(kind, algorithm, members))


def _collective(setting: Setting, kind: CollectiveKind, members: int, nbytes: int) -> Cost:
    algorithm, route = _route(setting, kind, members)
    return cost(kind, algorithm, members, nbytes, *route)


def _write_seconds(setting: Setting, total: int, nbytes: int) -> float:
    """One's own message into the place of those of all."""
    kernel, _ = setting.kernel_of(writing, [(total, 1), (nbytes, 1)], ("start",), elements=nbytes)
    return setting.place.seconds(kernel)


def _gathered(setting: Setting, one: Coding, members: int) -> Cost:
    nbytes, varying = one.wire[0], one.code.varying
    wires = [one.wire] * members if varying or members == 1 else [(members * nbytes, 1)]
    coding_seconds = setting.place.seconds(pushed(setting, one))
    coding_seconds += _seconds(setting, summing(one.code, one.span, True), [one.vector, *wires], _CHANCES)
    moved = _collective(setting, "all_gather", members, members * nbytes)
    if members > 1 and not varying:
        coding_seconds += _write_seconds(setting, members * nbytes, nbytes)
    return _sum([moved], coding_seconds, exact=True)


def _reduced(
    setting: Setting,
    one: Coding,
    members: int,
    algorithm: str,
    routes: tuple[Route, Route],
    shape: tuple[int, int] | None,
) -> Cost:
    inner, outer = routes
    pieces = math.lcm(members, 1 << (members.bit_length() - 1))
    sums: list[tuple[int, int]] = []
    moved, coding_seconds, even = [], 0.0, True
    for number in range(one.code.rounds):
        function = summand_function(one.code, one.span, one.feedback, number)
        kernel, made = setting.kernel_of(function, [*one.operands, one.vector, *sums], _CHANCES)
        assert isinstance(made, Shape)
        coding_seconds += setting.place.seconds(kernel)
        gamma = setting.gamma(made.itemsize)
        nbytes = made.elements * made.itemsize
        moved.append(cost("all_reduce", algorithm, members, nbytes, *inner, gamma, shape=shape, outer=outer))
        even = even and made.elements % pieces == 0
        sums.append((made.elements, made.itemsize))
    function = total_function(one.code, one.span, one.feedback)
    coding_seconds += _seconds(setting, function, [one.vector, *one.operands, *sums], _CHANCES)
    free = setting.place.seconds(Kernel("reduce", "reduce")) == 0
    return _sum(moved, coding_seconds, exact=even and free)


def _served(setting: Setting, members: int, start: int, stop: int) -> Cost:
    cuts = bounds(stop - start, members)
    shards = [coding(setting, start + cuts[j], start + cuts[j + 1], members) for j in range(members)]
    wires = [shard.wire for shard in shards]
    sizes, total = [wire[0] for wire in wires], sum(wire[0] for wire in wires)
    encoding = [setting.place.seconds(pushed(setting, shard)) for shard in shards]
    owners = [
        _seconds(
            setting, summing(shard.code, shard.span, False), [shard.vector, (members * shard.wire[0], 1)], _CHANCES
        )
        + again
        + _write_seconds(setting, total, shard.wire[0])
        for shard, again in zip(shards, encoding, strict=True)
    ]
    spread = spreading(shards[0].code, tuple([shard.span for shard in shards]))
    coding_seconds = sum(encoding) + _seconds(setting, joining, wires) + max(owners)
    if members > 1:
        coding_seconds += max(_seconds(setting, joining, [wire] * members) for wire in wires)
    coding_seconds += _seconds(setting, spread, [(stop - start, setting.model.itemsize), (total, 1)])
    moved = [_collective(setting, kind, members, total) for kind in ("all_to_all", "all_gather")]
    return _sum(moved, coding_seconds, exact=len(set(sizes)) == 1 and max(owners) <= min(owners) * (1 + 1e-12))


def _sum(moved: Sequence[Cost], coding_seconds: float, *, exact: bool) -> Cost:
    """Collectives one after the other, and what coding takes."""
    return Cost(
        sum(each.seconds for each in moved) + coding_seconds,
        sum(each.rounds for each in moved),
        sum(each.bytes_sent_max for each in moved),
        sum(each.bytes_sent_mean for each in moved),
        sum(each.messages_sent_mean for each in moved),
        exact and all(each.exact for each in moved),
    )


class CodedMessages(NamedTuple):
    """What codes add between workers and servers with a shard each.

    Attributes
    ----------
    up, down
        Bytes that a worker sends, and gets, in a step.
    worker, server
        Kernels of a worker, and of the slowest server, in a step.
    equal
        Are all shards alike, and is the code that of every step?
    """

    up: float
    down: float
    worker: Sequence[Kernel]
    server: Sequence[Kernel]
    equal: bool


def coded_messages(setting: Setting, servers: int, workers: int) -> CodedMessages:
    """Of a synchronous step in which every worker pulls and pushes a shard of every server."""
    whole = setting.model.whole
    if setting.compression is None:
        return CodedMessages(whole.nbytes, whole.nbytes, (), (), True)
    cuts = bounds(whole.parameters, servers)
    up = [coding(setting, a, b, workers) for a, b in itertools.pairwise(cuts)]
    worker = [pushed(setting, one) for one in up]
    server = [[pulled(setting, one)] * workers for one in up]
    if up[0].code.votes:
        for kernels, one in zip(server, up, strict=True):
            kernels.append(setting.kernel_of(majority, [one.vector], members=workers)[0])
    down = [one.span.elements * one.span.itemsize for one in up]
    if setting.compression.both_ways:
        values = [coding(setting, a, b, workers, values=True) for a, b in itertools.pairwise(cuts)]
        down = [one.wire[0] for one in values]
        for kernels, one in zip(server, values, strict=True):
            kernels.append(pushed(setting, one))
            worker += [pulled(setting, one), setting.kernel_of(overwrite, [one.vector] * 2)[0]]
    sent = [one.wire[0] for one in up]
    times = [sum(map(setting.place.seconds, kernels)) for kernels in server]
    slowest = max(range(servers), key=times.__getitem__)
    equal = len(set(sent)) == 1 and max(times) <= min(times) * (1 + 1e-12) and up[0].settled
    return CodedMessages(sum(sent), sum(down), worker, server[slowest], equal)


class CodedModel(NamedTuple):
    """What codes add where neighbours send each other whole models, or their changes.

    Attributes
    ----------
    nbytes
        Bytes of a message.
    making, reading
        Kernels that make one, and that make a vector of one that came; none where nothing is in code.
    changes
        Are changes sent?
    settled
        Is the code that of every step, and are its messages as long as its law says?
    """

    nbytes: int
    making: Sequence[Kernel]
    reading: Sequence[Kernel]
    changes: bool
    settled: bool


def coded_model(setting: Setting) -> CodedModel:
    """Of messages with the whole model, or its change, in the scenario's code, if it has one."""
    whole = setting.model.whole
    if setting.compression is None:
        return CodedModel(whole.nbytes, (), (), False, True)
    changes = not setting.compression.compressor.for_values
    one = coding(setting, 0, whole.parameters, 1, values=not changes)
    return CodedModel(one.wire[0], (pushed(setting, one),), (pulled(setting, one),), changes, one.settled)
