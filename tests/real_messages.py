"""Programs of messages for the tests of the executor; run in its ranks, so nothing here knows pytest."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from calibration.executor.setup import Setup
from parasim.program.buffers import Buffer
from parasim.program.cast import Role
from parasim.program.context import Context
from parasim.program.ops import Exchange, Probe, Program, Recv, Send, Sleep
from tests.real_programs import setup


def gathered(nbytes: tuple[int, int]) -> Setup:
    """Two workers send so many bytes; both are announced before the server takes them at once.

    The first worker's process stands still from then on, until the second knows that all of its own message is there.
    """

    def worker(me: Context) -> Program[None]:
        if me.index == 0:
            for rank in (1, 2):
                yield from Send(rank, None, "process", {"number": os.getpid()})
        else:
            first = yield from Recv(0, "process")
        yield from Send(2, Buffer("data", nbytes[me.index], 1), "gather")
        if me.index == 1:
            os.kill(int(first.header["number"]), signal.SIGCONT)

    def server(me: Context) -> Program[None]:
        first = yield from Recv(0, "process")
        for worker in (0, 1):
            while not (yield from Probe(worker, "gather")):
                yield from Sleep(0.001)
        stop(int(first.header["number"]))
        yield from Exchange((), (Recv(0, "gather"), Recv(1, "gather")))

    return setup(Role("worker", 2, worker), Role("server", 1, server))


def stop(process: int) -> None:
    """Let a process stand still; it does when this is over."""
    os.kill(process, signal.SIGSTOP)
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
