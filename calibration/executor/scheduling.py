"""What the ranks of a run ask of the kernel's scheduler, where it can be asked (Linux; some of it as root only).

Messages are small work that others wait for, computes are large work that nobody else wants the core for: so messages
take the core when they come, as they do where a network card moves them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["awake", "bind", "give_way", "let_senders_finish", "yielding"]

_PR_SET_TIMERSLACK = 29
_LATENCY = Path("/dev/cpu_dma_latency")
"""Who holds it open says how many microseconds idle cores may take to wake up."""


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Ask the kernel to end this process's sleeps when they end, not up to 50 us later, and to keep idle cores awake.

    A core that sleeps takes 50 us and more to wake up, in a virtual machine above all, and how long depends on how long
    it has slept. Where that may not be asked for, as by all but root, cores sleep. Measured on two cores: a step of a
    parameter server with messages of 0.3 MB went from 3.4 to 2.6 ms.
    """
    with contextlib.ExitStack() as stack:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
            with contextlib.suppress(OSError):
                stack.enter_context(_LATENCY.open("wb", buffering=0)).write(struct.pack("i", 0))
        yield


def let_senders_finish() -> None:
    """Keep gloo's own threads from taking the core of a thread that is sending.

    A gloo thread that finds a connection locked asks again at once, and again; if the thread that holds the lock waits
    for this very core, both stand still until the kernel's next tick, 4 ms later. As a batch task (SCHED_BATCH) it does
    not take over a core when it is woken. Measured on two cores: steps of a ring of 4 ranks with 8 bytes went from 4 ms
    to 1 ms, native all-reduces of 8 ranks from 29 ms to 6 ms, the slowest 5 % of round trips from 4.4 ms to 1.2 ms.
    """
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            if (task / "comm").read_text().startswith("gloo"):
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def bind(number: int, ranks: int, threads: int) -> None:
    """Keep rank `number` of a machine's `ranks` on cores of its own, if there are enough for all."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if ranks * threads <= len(cores):
        os.sched_setaffinity(0, cores[number * threads : (number + 1) * threads])


def give_way() -> None:
    """From now on this thread computes: whatever else wants its core gets it (SCHED_IDLE).

    Otherwise a message that comes meanwhile waits for the end of the compute, or of the kernel's slice of some 3 ms.
    Measured on two cores, ranks bound to one each: a step of a pipeline of 2 went from 20 to 16 ms.

    A thread that gives way for good has earned no time as one that doesn't. Linux (6.18) scales what a thread is owed
    when its weight changes: one that changed for each compute kept the core from gloo's thread, when that wanted it
    again some 10 us after a first time, until the next tick, up to 4 ms later: twice in every step of that pipeline.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@contextlib.contextmanager
def yielding() -> Iterator[None]:
    """Give way for the time of a compute, where this thread may come back from that."""
    if not _may_yield():
        yield
        return
    give_way()
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@functools.cache
def _may_yield() -> bool:
    """May a thread of this process come back from SCHED_IDLE? Tried by one that ends anyway."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    came_back = []

    def attempt() -> None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            came_back.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(came_back)
