"""The warm pool: starts the ranks of runs on this machine, and sees to it that none outlives its run.

A nursery process (nursery.py) imports torch once; the ranks of every run are forked from it, so that a run starts in
tens of milliseconds and nothing is left of the one before, however that ended. The launcher imports no torch.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from calibration.executor.directory import run_directory
from calibration.executor.failures import Failure, first_failure
from calibration.executor.frames import receive_frame, send_frame
from calibration.executor.seats import Seat
from parasim.errors import ExecutionError
from parasim.runtime.deadlock import deadlock_error

__all__ = ["Answer", "Pool", "default_pool"]

_TAIL_BYTES = 2000
_GRACE_SECONDS = 0.05
_LOST_GRACE_SECONDS = 5.0
_END_SECONDS = 5.0


@dataclass(slots=True)
class Answer:
    """What a rank sent back."""

    message: dict[str, Any]
    blobs: list[bytes]


@dataclass(slots=True, eq=False)
class _Rank:
    """A forked process: number, process id, what forked it, our end of its channel, and its standard error."""

    number: int
    pid: int
    nursery: object
    channel: socket.socket
    errors: IO[bytes]
    answer: Answer | None = None
    dead: bool = False

    def tail(self) -> str:
        """The end of what it wrote."""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - _TAIL_BYTES))
        return self.errors.read().decode(errors="replace").strip()


@dataclass(slots=True)
class Pool:
    """Starts runs; may be used from several threads, and as a context manager that ends everything."""

    _nursery: subprocess.Popen[bytes] | None = None
    _channel: socket.socket | None = None
    _errors: IO[bytes] | None = None
    _imported: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self,
        factory: str,
        arguments: Mapping[str, Any],
        size: int,
        imports: Sequence[str] = (),
        seats: Sequence[Seat] | None = None,
    ) -> list[Answer]:
        """Run `size` ranks of the setup that `factory` ("module:function") makes of the arguments in each of them.

        `imports` names modules that take long to import: they are imported once, for this run's ranks and all later
        ones. `seats` says in which network namespace each rank runs; by default, in this process's.

        Raises
        ------
        DeadlockError
            If the programs wait for ever.
        ProgramError, ScenarioError, ...
            What the rank that failed first raised, if it is one of parasim.errors.
        ExecutionError
            If a rank failed otherwise: rank, and what it raised; or was killed.
        """
        ranks: list[_Rank] = []
        try:
            failed, statuses = self._run(ranks, factory, arguments, size, imports, seats)
            return _result(ranks, statuses, failed)
        finally:
            for rank in ranks:
                rank.errors.close()

    def _run(
        self,
        ranks: list[_Rank],
        factory: str,
        arguments: Mapping[str, Any],
        size: int,
        imports: Sequence[str],
        seats: Sequence[Seat] | None,
    ) -> tuple[bool, list[int | None]]:
        """Start `ranks`, take their answers, end them: did one fail, and their exit statuses."""
        with run_directory() as directory, socket.create_server(("127.0.0.1", 0), backlog=size + 1) as listener:
            try:
                self._prepare(imports)
                for number in range(size):
                    own = [] if seats is None else [seats[number].namespace]
                    ranks.append(self._fork(number, [*own, *([listener.fileno()] if number == 0 else [])]))
                for rank in ranks:
                    order = {
                        "rank": rank.number,
                        "size": size,
                        "port": listener.getsockname()[1],
                        "factory": factory,
                        "arguments": dict(arguments),
                        "path": sys.path,
                        "folder": str(Path.cwd()),
                        "directory": str(directory),
                        "interface": None if seats is None else seats[rank.number].interface,
                    }
                    with contextlib.suppress(OSError):  # a rank that is dead already is found below
                        send_frame(rank.channel, order)
                failed = _collect(ranks)
            finally:
                statuses = self._end(ranks)
        return failed, statuses

    def pids(self) -> list[int]:
        """The process that ranks are forked from, if it runs; for tests."""
        return [] if self._nursery is None else [self._nursery.pid]

    def close(self) -> None:
        """End the nursery, and with it every rank that is left."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # the nursery -----------------------------------------------------------------------------------------------------
    def _ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Send a request, and wait for its answer; starts the nursery if it does not run."""
        with self._lock:
            channel = self._start()
            try:
                send_frame(channel, request)
                if descriptors:
                    socket.send_fds(channel, [b"\0"], descriptors)
                return receive_frame(channel)[0]
            except (EOFError, OSError):
                raise self._broken() from None
            except BaseException:  # the answer may still come, and be taken for that to another request
                self._stop()
                raise

    def _prepare(self, imports: Sequence[str]) -> None:
        fresh = [name for name in imports if name not in self._imported]
        if fresh:
            self._ask({"import": fresh})
            self._imported.update(fresh)

    def _fork(self, number: int, own: Sequence[int]) -> _Rank:
        """Fork a rank that gets descriptors of its own: its network namespace, if there is one; rank 0, a listener."""
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the rank
        descriptors = [theirs.fileno(), errors.fileno(), *own]
        try:
            pid = self._ask({"fork": len(descriptors)}, descriptors)["pid"]
        except BaseException:
            ours.close()
            errors.close()
            raise
        finally:
            theirs.close()
        return _Rank(number, pid, self._nursery, ours, errors)

    def _end(self, ranks: list[_Rank]) -> list[int | None]:
        """Kill and reap; exit statuses of the ranks, None where the nursery is gone (its ranks die with it)."""
        for rank in ranks:
            rank.channel.close()
        if not ranks or self._nursery is not ranks[0].nursery:
            return [None] * len(ranks)
        try:
            statuses: list[int | None] = self._ask({"end": [rank.pid for rank in ranks]})["statuses"]
        except ExecutionError:
            return [None] * len(ranks)
        return statuses

    def _start(self) -> socket.socket:
        """The channel to the nursery, started if it does not run."""
        if self._channel is not None:
            return self._channel
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the nursery
        bound = threading.current_thread() is threading.main_thread()
        environment = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        with theirs:
            self._nursery = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "calibration.executor.nursery", str(theirs.fileno()), str(int(bound))],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__ and sys.__stderr__.fileno(),
                stderr=self._errors,
                env=environment,
                start_new_session=True,  # Ctrl-C is the launcher's
            )
        self._channel = ours
        try:
            receive_frame(ours)
        except EOFError:
            raise self._broken() from None
        except BaseException:
            self._stop()
            raise
        return ours

    def _broken(self) -> ExecutionError:
        """The nursery is gone: clear up, and say why."""
        text = ""
        if self._errors is not None:
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip()[-_TAIL_BYTES:]
        self._stop()
        return ExecutionError(f"the process that ranks are forked from has ended: {text or 'it was killed'}")

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._nursery is not None:
            try:
                self._nursery.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._nursery.kill()
                self._nursery.wait()
        if self._errors is not None:
            self._errors.close()
        self._nursery = self._channel = self._errors = None
        self._imported.clear()


def _collect(ranks: list[_Rank]) -> bool:
    """Wait for the answers of all ranks; when one fails, for what others say at about the same time. Did one fail?"""
    deadline: float | None = None
    with selectors.DefaultSelector() as selector:
        for rank in ranks:
            selector.register(rank.channel, selectors.EVENT_READ, rank)
        while selector.get_map():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = selector.select(left)
            if not ready:
                break
            for key, _ in ready:
                rank = key.data
                selector.unregister(rank.channel)
                lost = False
                try:
                    rank.answer = Answer(*receive_frame(rank.channel))
                    if "error" not in rank.answer.message:
                        continue
                    lost = rank.answer.message["lost"]
                except EOFError:
                    rank.dead = True
                limit = time.monotonic() + (_LOST_GRACE_SECONDS if lost else _GRACE_SECONDS)
                deadline = limit if deadline is None else min(deadline, limit)
    return deadline is not None


def _result(ranks: list[_Rank], statuses: list[int | None], failed: bool) -> list[Answer]:
    answers = [rank.answer for rank in ranks if rank.answer is not None]
    if failed:
        failures = []
        for rank, status in zip(ranks, statuses, strict=True):
            if rank.dead:
                failures.append(Failure.of_death(rank.number, status, rank.tail()))
            elif rank.answer is not None and "error" in rank.answer.message:
                failures.append(Failure.of_message(rank.number, rank.answer.message))
        raise first_failure(failures)
    stuck = [answer.message for answer in answers if "stuck" in answer.message]
    if stuck:
        rows = [tuple(row) for message in stuck for row in message["stuck"]]
        raise deadlock_error(rows, max(message["now"] for message in stuck))
    return answers


_default: tuple[int, Pool] | None = None


def default_pool() -> Pool:
    """The pool that this process uses unless told otherwise; ends with the process."""
    global _default  # noqa: PLW0603 - one per process, on purpose
    if _default is None or _default[0] != os.getpid():
        pool = Pool()
        atexit.register(pool.close)
        _default = (os.getpid(), pool)
    return _default[1]
