"""The measured side: real runs, the cases in turn, so that a slow drift of the machine meets them all alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from calibration.checking.cases import CheckCase
from calibration.checking.figures import figures_of
from calibration.checking.machine import load_average
from calibration.checking.recording import Recording
from parasim.errors import DeadlockError, ExecutionError, ProgramError

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["Execute", "Watch", "measure"]

Execute = Callable[["Scenario"], "Result"]
"""Runs a scenario for real."""

Watch = Callable[[int, int, str], None]
"""Is told how many of how many are done, and what was done last."""


def measure(cases: Sequence[CheckCase], runs: int, recording: Recording, execute: Execute, watch: Watch) -> None:
    """Run every case for real until the recording holds so many `runs` of it.

    Rounds: each takes every case once, in the order given, so that runs of one case are far apart in time. Before the
    first, the first case runs once for nothing: its ranks load what all later ones find loaded. A case that fails is
    not run again; the recording says why.
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
            result = execute(case.scenario)
        except (DeadlockError, ExecutionError, ProgramError) as error:
            failed.add(case.name)
            recording.failed(case, " ".join(str(error).split()))
            continue
        if number:
            recording.add(case, figures_of(result, {"when": when, "load": load}), result)
            watch(done, len(turns), f"{case.name}, run {number} of {runs}")
