"""Tiny casts for the tests of the executor; run in its ranks, so nothing here knows pytest."""

from __future__ import annotations

import contextlib
from typing import Any

from calibration.executor.setup import Setup
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.model import Layer, Model
from parasim.program.ops import (
    ANY,
    Closed,
    Collective,
    Compute,
    Decide,
    Exchange,
    Kernel,
    Locked,
    Post,
    Program,
    Read,
    Recv,
    Send,
    Sleep,
    Update,
    Wait,
    WaitAny,
)
from parasim.program.shared import Shared
from tests.conformance.stage import Values, all_begun

MODEL = Model("tiny", (Layer("a", 8, 1.0, 1.0, 1.0, 4, 4, 4),))


class Initial(Values):
    """A learner that knows tensors only, all zero at first."""

    def initial(self, part: Any) -> Any:
        return self.tensors.zeros(part.parameters)


def setup(*roles: Role, values: bool = False, groups: tuple[Group, ...] = (), shared: tuple[Shared, ...] = ()) -> Setup:
    cast = Cast(roles, groups)
    learner: Any = Initial() if values else None

    def context(rank: int) -> Context:
        return Context(
            **cast.seat(rank),
            options=None,
            model=MODEL,
            batch_size=1,
            steps=1,
            seed=0,
            optimizer=None,  # type: ignore[arg-type]
            learner=learner,
            shared=shared,
        )

    return Setup(cast, context, shared=shared)


def _vector(me: Context, name: str, *values: float) -> Buffer:
    buffer = me.buffer(name, len(values), 8)
    if buffer.values is not None:
        for i, value in enumerate(values):
            buffer.values[i] = value
    return buffer


def ping_pong(rounds: int, elements: int, values: bool) -> Setup:
    def ping(me: Context) -> Program[Any]:
        buffer = me.buffer("ball", elements)
        if buffer.values is not None:
            buffer.values.fill_(1.0)
        for _ in range(rounds):
            yield from Send(1, buffer, "ball", {"round": 1})
            message = yield from Recv(1, "ball")
            buffer = message.buffer or buffer
        return buffer

    def pong(me: Context) -> Program[Any]:
        for _ in range(rounds):
            message = yield from Recv(0, "ball")
            assert message.header == {"round": 1}
            if message.buffer is not None and message.buffer.values is not None:
                message.buffer.values.add_(1.0)
            yield from Send(0, message.buffer, "ball", lent=True)

    return setup(Role("ping", 1, ping), Role("pong", 1, pong), values=values)


def facing(sends_first: bool) -> Setup:
    """Two ranks that send to each other; both first: a deadlock under rendezvous."""

    def first(me: Context) -> Program[None]:
        peer = 1 - me.rank
        buffer = me.buffer("data", 4)
        if sends_first or me.rank == 0:
            yield from Send(peer, buffer, "x")
            yield from Recv(peer, "x")
        else:
            yield from Recv(peer, "x")
            yield from Send(peer, buffer, "x")

    return setup(Role("worker", 2, first))


def alone_for_ever() -> Setup:
    def main(me: Context) -> Program[None]:
        yield from Recv(0, "never")

    return setup(Role("worker", 1, main))


def served(clients: int, rounds: int) -> Setup:
    """Clients ask a daemon server, which takes whoever comes first and answers on a lane per client."""

    def client(me: Context) -> Program[int]:
        total = 0
        for i in range(rounds):
            yield from Send(me.ranks("server")[0], None, "ask", {"i": i})
            message = yield from Recv(me.ranks("server")[0], "answer")
            total += int(message.header["twice"])
        return total

    def server(me: Context) -> Program[int]:
        answered = 0
        try:
            while True:
                message = yield from Recv(ANY, "ask")
                answer = Send(message.source, None, "answer", {"twice": 2 * int(message.header["i"])})
                yield from Post(answer, f"to {message.source}")
                answered += 1
        except Closed:
            return answered

    return setup(Role("client", clients, client), Role("server", 1, server, daemon=True))


def stubborn() -> Setup:
    def client(me: Context) -> Program[None]:
        yield from Sleep(0.0)

    def server(me: Context) -> Program[None]:
        while True:
            with contextlib.suppress(Closed):
                yield from Recv(ANY, "ask")

    return setup(Role("client", 1, client), Role("server", 1, server, daemon=True))


def long_header(length: int) -> Setup:
    def sender(me: Context) -> Program[None]:
        yield from Send(1, None, "x", {"text": "a" * length, "n": 1, "f": 0.1, "b": True})

    def receiver(me: Context) -> Program[list[Any]]:
        message = yield from Recv(0, "x")
        return [len(str(message.header["text"])), message.header["n"], message.header["f"], message.header["b"]]

    return setup(Role("sender", 1, sender), Role("receiver", 1, receiver))


def bad_header() -> Setup:
    def sender(me: Context) -> Program[None]:
        yield from Send(1, None, "x", {"list": [1]})  # type: ignore[dict-item]

    def receiver(me: Context) -> Program[None]:
        yield from Recv(0, "x")

    return setup(Role("sender", 1, sender), Role("receiver", 1, receiver))


def types(names: list[str]) -> Setup:
    """Buffers of several types, into a new buffer and into a given one."""

    def sender(me: Context) -> Program[None]:
        import torch

        for name in names:
            values = torch.arange(5).to(getattr(torch, name))
            buffer = Buffer(name, 5, values.element_size(), values)
            yield from Send(1, buffer, name)
            yield from Send(1, buffer.part(1, 4), name)
            yield from Send(1, Buffer("empty", 0, 8, values[:0]), name)

    def receiver(me: Context) -> Program[list[Any]]:
        import torch

        results: list[Any] = []
        for name in names:
            message = yield from Recv(0, name)
            into = Buffer("into", 5, message.buffer.itemsize, torch.zeros(5, dtype=message.buffer.values.dtype))
            part = yield from Recv(0, name, into.part(2, 5))
            empty = yield from Recv(0, name)
            results.append([str(message.buffer.values.dtype), message.buffer.values.tolist(), into.values.tolist()])
            assert part.buffer.values.data_ptr() == into.values[2:].data_ptr()
            assert len(empty.buffer.values) == 0
        return results

    return setup(Role("sender", 1, sender), Role("receiver", 1, receiver), values=True)


def frozen() -> Setup:
    """What travels is the value at the moment of the post."""

    def sender(me: Context) -> Program[None]:
        buffer = _vector(me, "data", 1.0, 2.0)
        handle = yield from Post(Send(1, buffer, "x"), "side")
        buffer.values.fill_(9.0)
        yield from Send(1, None, "go")
        yield from Wait([handle])

    def receiver(me: Context) -> Program[Buffer | None]:
        yield from Recv(0, "go")
        return (yield from Recv(0, "x")).buffer

    return setup(Role("sender", 1, sender), Role("receiver", 1, receiver), values=True)


def reduced(workers: int, algorithm: str, values: bool, elements: int = 7) -> Setup:
    """Every kind of collective, on the main lane and beside it."""
    members = Group("all", tuple(range(workers)))

    def worker(me: Context) -> Program[list[Any]]:
        def vector() -> Buffer:
            return _vector(me, "data", *[float(me.rank * 10 + i) for i in range(elements)])

        results: list[Any] = []
        for reduce in ("sum", "mean", "max"):
            buffer = vector()
            yield from Collective("all_reduce", members, buffer, algorithm, reduce)
            results.append(buffer)
        piece = yield from Collective("reduce_scatter", members, vector(), algorithm)
        results.append(piece)
        gathered = vector()
        yield from Collective("all_gather", members, gathered, algorithm)
        results.append(gathered)
        other = vector()
        name = "native" if algorithm == "native" else "binomial"
        handle = yield from Post(Collective("broadcast", members, other, name, root=1), "beside")
        name = "native" if algorithm == "native" else "dissemination"
        yield from Collective("barrier", members, None, name)
        yield from Wait([handle])
        results.append(other)
        name = "native" if algorithm == "native" else "pairwise"
        counts = tuple(me.rank + 1 for _ in range(workers))
        short = vector().part(0, sum(counts)) if sum(counts) <= elements else vector()
        crossed = yield from Collective("all_to_all", members, short, name, counts=counts,
                                        counts_in=tuple(i + 1 for i in range(workers)))  # fmt: skip
        results.append(crossed)
        return results

    return setup(Role("worker", workers, worker), values=values, groups=(members,))


def native_deadlock(workers: int = 3) -> Setup:
    def worker(me: Context) -> Program[None]:
        if me.rank:
            yield from Collective("barrier", me.group("worker"), None, "native")
        else:
            yield from Recv(1, "never")

    return setup(Role("worker", workers, worker))


def crossed_streams() -> Setup:
    """Two native collectives on two lanes, first used in opposite orders."""

    def worker(me: Context) -> Program[None]:
        lanes = ("a", "b") if me.rank else ("b", "a")
        handles = []
        for lane in lanes:
            handles.append((yield from Post(Collective("barrier", me.group("worker"), None, "native"), lane)))
            yield from Sleep(0.02)
        yield from Wait(handles)

    return setup(Role("worker", 2, worker))


def overlapping() -> Setup:
    """A compute of one lane runs beside the transfers of another: it goes on until they are over."""

    def worker(me: Context) -> Program[list[Any]]:
        import threading

        transferred = threading.Event()

        def compute() -> Program[bool]:
            return (yield from Compute(Kernel("work"), transferred.wait))

        peer = 1 - me.rank
        handle = yield from Post(compute(), "side")
        yield from all_begun()
        yield from Exchange((Send(peer, me.buffer("data", 4), "x"),), (Recv(peer, "x"),))
        transferred.set()
        (result,) = yield from Wait([handle])
        nap = yield from Post(_nap(), "nap")
        done = yield from WaitAny([handle, nap])
        chosen = yield from Decide(lambda: 3, 0)
        return [result, done is handle, chosen]

    return setup(Role("worker", 2, worker), values=True)


def _nap() -> Program[None]:
    yield from Sleep(0.01)


def counted(workers: int, rounds: int, atomic: bool, values: bool) -> Setup:
    """All add ones to a shared vector."""
    shared = Shared("weights", 8, 8, 2)

    def worker(me: Context) -> Program[list[Any]]:
        ones = _vector(me, "ones", *[1.0] * 8)
        for _ in range(rounds):
            yield from Update(me.shared("weights"), ones, None, atomic)
        yield from Collective("barrier", me.group("worker"), None, "dissemination")
        snapshot = yield from Read(me.shared("weights"))
        return [snapshot.version, snapshot.torn, snapshot.buffer]

    return setup(Role("worker", workers, worker), values=values, shared=(shared,))


def locked(workers: int, rounds: int) -> Setup:
    """Read, then add without atomicity, under the lock: nothing is lost."""
    shared = Shared("weights", 4, 8)

    def worker(me: Context) -> Program[Buffer]:
        ones = _vector(me, "ones", 1.0, 1.0, 1.0, 1.0)

        def inside() -> Program[None]:
            yield from Update(me.shared("weights"), ones, None, atomic=False)

        def many() -> Program[None]:
            for _ in range(rounds):
                yield from Locked(me.shared("weights"), inside())

        handle = yield from Post(many(), "beside")
        yield from many()
        yield from Wait([handle])
        yield from Collective("barrier", me.group("worker"), None, "dissemination")
        return (yield from Read(me.shared("weights"))).buffer

    return setup(Role("worker", workers, worker), values=True, shared=(shared,))


def lock_deadlock() -> Setup:
    shared = (Shared("a", 4), Shared("b", 4))

    def worker(me: Context) -> Program[None]:
        first, second = ("a", "b") if me.rank else ("b", "a")

        def inner() -> Program[None]:
            yield from Sleep(0.0)

        def outer() -> Program[None]:
            yield from Collective("barrier", me.group("worker"), None, "dissemination")
            yield from Locked(me.shared(second), inner())

        yield from Locked(me.shared(first), outer())

    return setup(Role("worker", 2, worker), shared=shared)


def failing(how: str, workers: int = 3) -> Setup:
    """Rank 1 fails while the others wait for it."""

    def worker(me: Context) -> Program[None]:
        import os
        import signal

        if me.rank != 1:
            yield from Recv(1, "never")
        yield from Sleep(0.02)
        if how == "raise":
            raise ZeroDivisionError("of the program")
        if how == "work":
            yield from Compute(Kernel("work"), lambda: 1 / 0)
        if how == "beside":
            yield from Wait([(yield from Post(Compute(Kernel("work"), lambda: 1 / 0), "side"))])
        if how == "contract":
            yield from Send(1, None, "self")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "abort":
            os.abort()
        if how == "exit":
            os._exit(3)

    return setup(Role("worker", workers, worker), values=True)


def waiting(seconds: float) -> Setup:
    """Says which processes it runs in, by files, and lasts."""

    def worker(me: Context) -> Program[None]:
        yield from Sleep(seconds)

    return setup(Role("worker", 2, worker))


def long_computes(workers: int, seconds: float) -> Setup:
    """Longer than the calm that starts a wave: no deadlock."""

    def worker(me: Context) -> Program[int]:
        import time

        if me.rank == 0:
            yield from Compute(Kernel("work"), lambda: time.sleep(seconds))
            for peer in range(1, workers):
                yield from Send(peer, None, "go")
        else:
            yield from Recv(0, "go")
        return me.rank

    return setup(Role("worker", workers, worker), values=True)
