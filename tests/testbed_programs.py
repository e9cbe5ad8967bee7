"""Casts for the tests of the testbed; run in its ranks, so nothing here knows pytest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calibration.executor.setup import Setup
from parasim.program.cast import Role
from parasim.program.context import Context
from parasim.program.ops import Collective, Exchange, Post, Program, Recv, Send, Wait
from tests.conformance.stage import all_begun
from tests.real_programs import setup


def traffic(size: int, nbytes: int, flows: Sequence[Sequence[int]], rounds: int = 3, latency: float = 0.0) -> Setup:
    """In each round every flow (source, destination) is a message, all at once; a header goes before each."""

    def worker(me: Context) -> Program[None]:
        buffer = me.buffer("data", nbytes, 1)
        ends = [destination for source, destination in flows if source == me.rank]
        starts = [source for source, destination in flows if destination == me.rank]
        for _ in range(rounds):
            for tag, load in (("head", None), ("data", buffer)):
                yield from Exchange(
                    tuple(Send(peer, load, tag) for peer in ends), tuple(Recv(peer, tag) for peer in starts)
                )

    made = setup(Role("worker", size, worker))
    return replace(made, latency=lambda source, destination: latency * (1 + source)) if latency else made


def overtaken(latency: float) -> Setup:
    """Rank 2 takes a payload of rank 0 and a header of rank 1, which wait for it both, at once.

    The payload is held up by `latency`, one of rank 1 would be by twice as much.
    """

    def sender(me: Context) -> Program[None]:
        buffer = me.buffer("data", 1000, 1) if me.index == 0 else None
        sent = yield from Post(Send(2, buffer, "taken"), "lane")
        yield from all_begun()
        yield from Send(2, None, "waiting")
        yield from Wait([sent])

    def taker(me: Context) -> Program[None]:
        for rank in (0, 1):
            yield from Recv(rank, "waiting")
        yield from Exchange((), (Recv(0, "taken"), Recv(1, "taken")))

    made = setup(Role("sender", 2, sender), Role("taker", 1, taker))
    return replace(made, latency=lambda source, destination: latency * (1 + source))


def native(size: int) -> Setup:
    """Native collectives on two lanes: process groups that are made while the run is on."""

    def worker(me: Context) -> Program[None]:
        group = me.group("worker")
        for _ in range(2):
            yield from Collective("all_reduce", group, me.buffer("data", 1000), "native")
        yield from Collective("barrier", group, None, "native")

    return setup(Role("worker", size, worker))
