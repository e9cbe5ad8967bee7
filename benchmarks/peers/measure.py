"""A case on parasim and on SimGrid, in turn: medians of seconds, largest memory, makespans side by side."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.cases import Case
from benchmarks.peers.job import job
from benchmarks.process import Ran, run_process

__all__ = ["EQUAL", "SETTINGS", "Measured", "Measurement", "measure"]

SETTINGS = (
    "--cfg=network/model:CM02",
    "--cfg=network/TCP-gamma:0",
    "--cfg=network/crosstraffic:0",
    "--log=root.thres:error",
)
"""SimGrid's plain model: latencies, bandwidths and fair sharing alone."""
EQUAL = 1e-6
"""Relative difference up to which two makespans are the same (SimGrid rounds times to 1e-9 s)."""
_ONCE = 60.0
"""CPU seconds of a run that is not made again."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One program: CPU seconds of the simulation and of the whole process, its peak memory, and the makespan.

    `first_seconds`: of parasim, the first simulation in a process, with imports and compilation.
    """

    makespan: float
    seconds: float
    process_seconds: float
    peak_bytes: int
    first_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A case. A program is None if it was not run, or stopped at the limit; `events` are SimPy's."""

    case: str
    operations: int | None
    events: int | None
    parasim: Measured | None
    simgrid: Measured | None

    @property
    def difference(self) -> float | None:
        """Relative difference of the makespans."""
        if self.parasim is None or self.simgrid is None:
            return None
        return self.parasim.makespan / self.simgrid.makespan - 1.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "difference": self.difference}


def measure(name: str, case: Case, repeat: int, limit: float, simgrid: Path | None) -> Measurement:
    """Run the case `repeat` times on each program, taking turns; once if that takes over a minute of CPU time.

    A run is stopped after `limit` wall-clock seconds, and its program is not run again.
    """
    inside: list[Ran] = []
    whole: list[Ran] = []
    peer: list[Ran] = []
    scenario = [str(case.file), *case.overrides]
    commands = [
        (inside, [sys.executable, "-m", "benchmarks.once", *scenario]),
        (whole, [sys.executable, "-m", "parasim", "run", *scenario, "--json"]),
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".job") as described:
        if simgrid is not None and case.peer:
            described.write(job(case.load()))
            described.flush()
            commands.append((peer, [str(simgrid.resolve()), described.name, *SETTINGS]))
        for _ in range(repeat):
            for runs, command in list(commands):
                ran = run_process(command, limit)
                if ran is not None:
                    runs.append(ran)
                if ran is None or ran.cpu_seconds > _ONCE:
                    commands = [(kept, other) for kept, other in commands if other is not command]
    found = [json.loads(ran.output) for ran in inside]
    answers = [json.loads(ran.output) for ran in peer]
    if len({one["operations"] for one in [*found, *answers]}) > 1:
        raise RuntimeError(
            f"{name}: {found[0]['operations']} operations of parasim, {answers[0]['operations']} of SimGrid"
        )
    return Measurement(
        name,
        found[0]["operations"] if found else None,
        found[0]["events"] if found else None,
        _measured(found, whole) if found and whole else None,
        _measured(answers, peer) if peer else None,
    )


def _measured(found: Sequence[dict[str, Any]], whole: Sequence[Ran]) -> Measured:
    (makespan,) = {one["makespan"] for one in found}
    firsts = [one["first_seconds"] for one in found if "first_seconds" in one]
    return Measured(
        makespan,
        statistics.median(one["cpu_seconds"] for one in found),
        statistics.median(ran.cpu_seconds for ran in whole),
        max(ran.peak_bytes for ran in whole),
        statistics.median(firsts) if firsts else None,
    )
