"""One clock for the ranks of several machines: offsets by ping-pong, drift by doing it twice.

A machine's clock is `time.monotonic`, which starts with the machine (or with its time namespace). The first rank of
each machine asks rank 0 for its time a number of times, and keeps the answer that came back soonest, as NTP does: with
t0, t3 of its own clock around t1, t2 of rank 0's, rank 0 is ((t1 - t0) + (t2 - t3))/2 ahead, to within half of the
round trip (t3 - t0) - (t2 - t1), however the two ways differ. That is done before the run, which gives it a common
zero, and after it: between the two the offset is taken to change evenly, and times of the trace are corrected for that.

References
----------
Cristian (1989), Probabilistic clock synchronization, Distributed Computing 3. Mills (1991), Internet time
synchronization: the Network Time Protocol, IEEE Transactions on Communications 39(10).
"""

from __future__ import annotations

import os
import platform
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibration.executor.backend import Group
from calibration.executor.courier import LostPeer
from parasim.trace.rows import Row

__all__ = ["Clock", "Offset", "machine_identity", "offset_of"]

_ROUNDS = 40
_LEAD_SECONDS = 2e-3
"""What it takes until all ranks know that all are ready, and are awake."""
_ASK_TAG, _ANSWER_TAG = 3, 4


@dataclass(frozen=True, slots=True)
class Offset:
    """How far the clock of rank 0 is ahead of this one (seconds), give or take `error`, at a moment of this one."""

    ahead: float
    error: float
    moment: float


def offset_of(rounds: Iterable[tuple[float, float, float, float]]) -> Offset:
    """The offset by round trips (t0, t1, t2, t3): t0 and t3 of this clock, t1 and t2 of the other."""
    t0, t1, t2, t3 = min(rounds, key=lambda times: (times[3] - times[0]) - (times[2] - times[1]))
    return Offset(((t1 - t0) + (t2 - t3)) / 2, ((t3 - t0) - (t2 - t1)) / 2, (t0 + t3) / 2)


def machine_identity() -> int:
    """The same for all processes that read one clock: of this boot of the machine, and of its time namespace."""
    known = platform.node()
    with suppress(OSError):
        known = Path("/proc/sys/kernel/random/boot_id").read_text()
    with suppress(OSError):
        known += os.readlink("/proc/self/ns/time")
    return zlib.crc32(known.encode())


class Clock:
    """Of a rank, the clock of its run; making it is also a barrier of all ranks.

    Parameters
    ----------
    group
        All ranks; nobody else may use it meanwhile.
    now
        Seconds of this machine's clock.
    identity
        Of this machine.

    Attributes
    ----------
    zero
        The moment of this machine's clock at which the run's starts: that of `begin`.
    machine
        Number of this rank's machine, by its first rank.
    """

    def __init__(self, group: Group, now: Callable[[], float] = time.monotonic, identity: int | None = None) -> None:
        self._group = group
        self._now = now
        table = group.exchange([machine_identity() if identity is None else identity, now()])
        machines = [int(machine) for machine, _ in table]
        self._first = [machines.index(machine) for machine in machines]
        leaders = sorted(set(self._first))
        self._leaders = leaders[1:]
        self.machine = leaders.index(self._first[group.index])
        self._start = self._compare()
        self._drift = 0.0
        self._error = self._start.error
        self.zero = table[0][1] - self._start.ahead

    def begin(self) -> float:
        """Wait until all ranks are ready to run and, a bit later, the run's clock starts: the new `zero`."""
        ready = self._group.exchange([self._now() + self._start.ahead])
        self.zero = max(moment for (moment,) in ready) - self._start.ahead + _LEAD_SECONDS
        while (left := self.zero - self._now()) > 0:
            time.sleep(left)
        return self.zero

    def stop(self) -> None:
        """Compare the clocks again, at the end of the run: all ranks do.

        Raises
        ------
        LostPeer
            If another process is gone.
        """
        if self._leaders:
            try:
                end = self._compare()
            except RuntimeError as error:
                raise LostPeer(f"comparing clocks broke: {error}") from None
            self._error = max(self._start.error, end.error)
            self._drift = (end.ahead - self._start.ahead) / (end.moment - self._start.moment)

    def corrected(self, row: Row) -> Row:
        """A row with its times, so far by the offset at the start, as rank 0's clock would have shown them."""
        if not self._drift:
            return row
        t_post, t_start, t_end = map(self.shown, (row.t_post, row.t_start, row.t_end))
        return row._replace(t_post=t_post, t_start=t_start, t_end=t_end)

    def shown(self, seconds: float) -> float:
        """Such a time, as rank 0's clock would have shown it."""
        return seconds + self._drift * (seconds - (self._start.moment - self.zero)) if self._drift else seconds

    def facts(self) -> dict[str, Any] | None:
        """For the record: machine, seconds that rank 0's clock is ahead, their bound, drift; None on one machine."""
        if not self._leaders:
            return None
        return {
            "machine": self.machine,
            "offset": self._start.ahead,
            "error": self._error,
            "drift": self._drift,
        }

    def _compare(self) -> Offset:
        """The offset of this rank's machine: its first rank measures, all others hear of it."""
        own = Offset(0.0, 0.0, self._now())
        if not self._leaders:
            return own
        if self._group.index == 0:
            for leader in self._leaders:
                self._answer(leader)
        elif self._group.index in self._leaders:
            own = offset_of(self._ask() for _ in range(_ROUNDS))
        table = self._group.exchange([own.ahead, own.error, own.moment])
        return Offset(*table[self._first[self._group.index]])

    def _ask(self) -> tuple[float, float, float, float]:
        answer = torch.empty(2, dtype=torch.float64)
        coming = self._group.receive(answer, 0, _ANSWER_TAG)
        t0 = self._now()
        self._group.send(torch.zeros(1, dtype=torch.float64), 0, _ASK_TAG).wait()
        coming.wait()
        t3 = self._now()
        return (t0, float(answer[0]), float(answer[1]), t3)

    def _answer(self, leader: int) -> None:
        asked = torch.empty(1, dtype=torch.float64)
        coming = self._group.receive(asked, leader, _ASK_TAG)
        for left in reversed(range(_ROUNDS)):
            coming.wait()
            t1 = self._now()
            if left:
                coming = self._group.receive(asked, leader, _ASK_TAG)
            answer = torch.tensor([t1, self._now()], dtype=torch.float64)
            self._group.send(answer, leader, _ANSWER_TAG).wait()
