"""The measured side: real runs, the cases in turn, so that a slow drift of the machine meets them all alike."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from calibration.checking.cases import CheckCase
from calibration.checking.figures import figures_of
from calibration.checking.machine import load_average
from calibration.checking.recording import Recording
from calibration.probes.state import Watched
from parasim.errors import DeadlockError, ExecutionError, ProgramError

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["AGAIN", "MOST_SLOWER", "MOST_STOLEN", "Execute", "Watch", "measure"]

Execute = Callable[["Scenario"], "Result"]
"""Runs a scenario for real."""

MOST_STOLEN = 0.03
AGAIN = 2
MOST_SLOWER = 0.2

Watch = Callable[[int, int, str], None]
"""Is told how many of how many are done, and what was done last."""


def measure(cases: Sequence[CheckCase], runs: int, recording: Recording, execute: Execute, watch: Watch) -> None:
    """Run every case for real until the recording holds so many `runs` of it.

    Rounds: each takes every case once, in the order given, so that runs of one case are far apart in time. Before the
    first, the first case runs once for nothing: its ranks load what all later ones find loaded. A case that fails is
    not run again; the recording says why.

    A run during which the hypervisor gave over `MOST_STOLEN` of the processors' time to others, or before and after
    which the cores were by over `MOST_SLOWER` slower than the fastest that was seen, is made again, at most `AGAIN`
    times; the least disturbed one counts, and says how it was disturbed and how often it was made. Nothing that a run
    has measured itself has a part in that choice.
    """
    undisturbed = _Undisturbed(execute)
    held = {case.name: len(recording.measurements.of(case)) for case in cases}
    turns = [(number, case) for number in range(1, runs + 1) for case in cases if held[case.name] < number]
    if not turns:
        return
    failed: set[str] = set()
    watch(0, len(turns), "warming up")
    for done, (number, case) in enumerate([(0, turns[0][1]), *turns]):
        if case.name in failed:
            continue
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        load = load_average()
        try:
            result, about = undisturbed.run(case.scenario, AGAIN if number else 0)
        except (DeadlockError, ExecutionError, ProgramError) as error:
            failed.add(case.name)
            recording.failed(case, " ".join(str(error).split()))
            continue
        if number:
            recording.add(case, figures_of(result, {"when": when, "load": load, **about}), result)
            watch(done, len(turns), f"{case.name}, run {number} of {runs}")


class _Undisturbed:
    """Makes runs again that were disturbed; knows how fast the cores have been."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._fastest = math.inf

    def run(self, scenario: Scenario, again: int) -> tuple[Result, dict[str, Any]]:
        """The least disturbed run, and what disturbed it: share stolen, seconds of arithmetic, number of runs."""
        made: list[tuple[float, Result, dict[str, Any]]] = []
        for _ in range(again + 1):
            watched = Watched()
            result = self._execute(scenario)
            stolen, core = watched.end()
            disturbance = (stolen or 0.0) / MOST_STOLEN
            if core is not None:
                self._fastest = min(self._fastest, core)
                disturbance = max(disturbance, (core / self._fastest - 1) / MOST_SLOWER)
            made.append((disturbance, result, {"stolen": stolen, "core": core}))
            if disturbance <= 1:
                break
        _, result, about = min(made, key=itemgetter(0))
        return result, {**about, "made": len(made)}
