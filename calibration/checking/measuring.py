"""The measured side: real runs, the cases in turn, so that a slow drift of the machine meets them all alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from calibration.checking.cases import CheckCase
from calibration.checking.figures import figures_of
from calibration.checking.machine import load_average
from calibration.checking.recording import Recording
from calibration.probes.state import read_ticks, stolen_share
from parasim.errors import DeadlockError, ExecutionError, ProgramError

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["AGAIN", "MOST_STOLEN", "Execute", "Watch", "measure"]

Execute = Callable[["Scenario"], "Result"]
"""Runs a scenario for real."""

MOST_STOLEN = 0.03
AGAIN = 2
_LEAST_TICKS = 100
"""A shorter run says nothing of shares."""

Watch = Callable[[int, int, str], None]
"""Is told how many of how many are done, and what was done last."""


def measure(cases: Sequence[CheckCase], runs: int, recording: Recording, execute: Execute, watch: Watch) -> None:
    """Run every case for real until the recording holds so many `runs` of it.

    Rounds: each takes every case once, in the order given, so that runs of one case are far apart in time. Before the
    first, the first case runs once for nothing: its ranks load what all later ones find loaded. A case that fails is
    not run again; the recording says why.

    A run during which the hypervisor gave over `MOST_STOLEN` of the processors' time to others is made again, at most
    `AGAIN` times; the least disturbed one counts, and says how much was stolen and how often it was made. Nothing that
    a run has measured itself has a part in that choice.
    """
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
            result, stolen, times = _undisturbed(case.scenario, execute, AGAIN if number else 0)
        except (DeadlockError, ExecutionError, ProgramError) as error:
            failed.add(case.name)
            recording.failed(case, " ".join(str(error).split()))
            continue
        if number:
            recording.add(
                case, figures_of(result, {"when": when, "load": load, "stolen": stolen, "made": times}), result
            )
            watch(done, len(turns), f"{case.name}, run {number} of {runs}")


def _undisturbed(scenario: Scenario, execute: Execute, again: int) -> tuple[Result, float | None, int]:
    """A run, the share of the processors' time that others had meanwhile, and how many runs that took."""
    made: list[tuple[float, Result]] = []
    for times in range(1, again + 2):
        before = read_ticks()
        result = execute(scenario)
        after = read_ticks()
        stolen = stolen_share(before, after)
        if before is None or after is None or stolen is None or after.all - before.all < _LEAST_TICKS:
            return result, stolen, times
        made.append((stolen, result))
        if stolen <= MOST_STOLEN:
            break
    stolen, result = min(made, key=itemgetter(0))
    return result, stolen, len(made)
