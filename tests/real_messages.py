"""Programs of messages for the tests of the executor; run in its ranks, so nothing here knows pytest."""

from __future__ import annotations

from calibration.executor.setup import Setup
from parasim.program.buffers import Buffer
from parasim.program.cast import Role
from parasim.program.context import Context
from parasim.program.ops import Exchange, Probe, Program, Recv, Send, Sleep
from tests.real_programs import setup


def gathered(nbytes: tuple[int, ...]) -> Setup:
    """Every worker sends so many bytes; all are announced before the server takes them, all at once."""

    def worker(me: Context) -> Program[None]:
        yield from Send(len(nbytes), Buffer("data", nbytes[me.index], 1), "gather")

    def server(me: Context) -> Program[None]:
        for worker in range(len(nbytes)):
            while not (yield from Probe(worker, "gather")):
                yield from Sleep(0.001)
        yield from Exchange((), tuple(Recv(worker, "gather") for worker in range(len(nbytes))))

    return setup(Role("worker", len(nbytes), worker), Role("server", 1, server))
