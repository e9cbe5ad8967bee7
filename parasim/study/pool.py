"""Cases on all cores: processes of one thread each, handed one case after the other; none outlives its parent.

Processes are started afresh (not forked, so whatever the parent has loaded does no harm) from a module of their own
(not from the parent's main script). A process that dies takes only its case along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import IO, Any

from parasim.metrics.outcome import Outcome
from parasim.study.cases import Case

__all__ = ["KILLED", "cores", "run_cases"]

KILLED = "Killed"
"""`Outcome.error_kind` of a case whose process died."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
_TAIL_BYTES = 2000
_END_SECONDS = 5.0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_cases(cases: Sequence[Case], jobs: int) -> Generator[tuple[int, Outcome, list[str]], None, None]:
    """Run cases on so many processes.

    Yields
    ------
    int, Outcome, list of str
        The place of a case, what became of it, and the warnings that came with it; in the order in which they finish.
        When the iterator is closed, or is left by an exception, the processes are killed.
    """
    waiting = list(range(len(cases)))[::-1]
    life, other_end = os.pipe()
    workers: list[_Worker] = []
    try:
        for _ in range(min(jobs, len(cases))):
            workers.append(_Worker(life))
        for worker in workers:
            worker.give(waiting.pop(), cases)
        while busy := {worker.channel: worker for worker in workers if worker.place is not None}:
            for channel in wait(list(busy)):
                worker = busy[channel]  # type: ignore[index]
                place = worker.place
                assert place is not None
                try:
                    outcome, told = worker.channel.recv()
                    worker.place = None
                except (EOFError, OSError):
                    error = worker.epitaph()
                    outcome = Outcome(cases[place].label, cases[place].scheme, {}, error=error, error_kind=KILLED)
                    told = []
                    worker.stop()
                    workers.remove(worker)
                    if waiting:
                        workers.append(worker := _Worker(life))
                if waiting:
                    worker.give(waiting.pop(), cases)
                yield place, outcome, told
    finally:
        for worker in workers:
            worker.stop()
        os.close(life)
        os.close(other_end)


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, our end of its channel, what it writes, and the place of the case that it has."""

    channel: Connection[Any, Any]
    process: subprocess.Popen[bytes]
    written: IO[bytes]
    place: int | None

    def __init__(self, life: int) -> None:
        ours, theirs = socket.socketpair()
        self.written = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        environment = {
            **os.environ,
            **dict.fromkeys(_THREADS, "1"),
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "parasim.study.worker", str(theirs.fileno()), str(life)],
                pass_fds=[theirs.fileno(), life],
                stdin=subprocess.DEVNULL,
                stdout=self.written,
                stderr=self.written,
                env=environment,
                start_new_session=True,  # Ctrl-C is the parent's
            )
        self.channel = Connection(ours.detach())
        self.place = None

    def give(self, place: int, cases: Sequence[Case]) -> None:
        """Hand it a case; a process that is dead is found when its answer is awaited."""
        self.place = place
        with contextlib.suppress(OSError):
            self.channel.send(cases[place])

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.written.close()

    def epitaph(self) -> str:
        """How it ended (its channel has), and the last line that it wrote."""
        try:
            status = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process stopped to answer"
        size = self.written.seek(0, os.SEEK_END)
        self.written.seek(max(0, size - _TAIL_BYTES))
        lines = self.written.read().decode(errors="replace").split("\n")
        said = next((": " + " ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"its process {how}{said or ' (out of memory?)' * (status == -signal.SIGKILL)}"
