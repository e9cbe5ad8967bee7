"""Predicted beside measured: scenarios run for real and simulated with the profile of the machine, case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.checking.bounds import BOUNDS, Demands
from calibration.checking.cases import CheckCase, read_cases
from calibration.checking.executed import as_executed
from calibration.checking.machine import differences, machine_of, this_machine
from calibration.checking.measuring import Between, Execute, Watch, measure
from calibration.checking.predicting import predict
from calibration.checking.recording import Measurements, Recording, missing
from calibration.checking.scoring import score
from parasim.cluster.profile import Profile
from parasim.cluster.profile_file import find_profile, load_profile
from parasim.errors import CalibrationError
from parasim.study.pool import cores

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["REPLICAS", "RUNS", "check_held_out", "check_machine", "crosscheck", "execute_on_pool", "run_cases_for_real"]

RUNS, REPLICAS = 5, 32
"""Real runs of each case, and replicas, if nothing else is said."""


def crosscheck(
    cases: str | Path | Sequence[CheckCase],
    profile: str | Path | Profile,
    *,
    runs: int = RUNS,
    replicas: int = REPLICAS,
    out: str | Path | None = None,
    measured: Measurements | None = None,
    demands: Demands = BOUNDS,
    other_machine: bool = False,
    jobs: int | None = None,
    execute: Execute | None = None,
    watch: Callable[[str], Watch] | None = None,
) -> dict[str, Any]:
    """Judge a profile by real runs that it was not fitted on.

    Parameters
    ----------
    cases
        A scenario file or a folder of them, or what `calibration.checking.cases.read_cases` returned.
    profile
        Of this machine; or its file, or the name of a recorded one.
    runs, replicas
        Real runs of each case, and simulated ones, whose spread is the predicted interval.
    out
        Folder for what was measured; runs that it holds are not made again.
    measured
        Runs that were made before (`read_measurements`): then none is made.
    demands
        What errors are held to.
    other_machine
        Go on although the profile is of another machine than the real runs.
    jobs
        Processes that simulate; by default one per core.
    execute
        Runs a scenario for real; by default `calibration.execute`, with ranks of a warm pool.
    watch
        Replies, for "measuring" and "simulating", with what is told how far that is.

    Returns
    -------
    dict
        `calibration.checking.scoring.score`, with `profile` and `machine`.

    Raises
    ------
    CalibrationError
        If the profile was fitted on one of the cases, is of another machine, or does not cover a case; if measurements
        lack a case.
    ScenarioError
        If a file is wrong.
    """
    if isinstance(profile, (str, Path)):
        profile = load_profile(find_profile(str(profile), Path()))
    if isinstance(cases, (str, Path)):
        cases = read_cases(cases, cores=profile.cores)
    check_held_out(cases, profile)
    machine = this_machine() if measured is None else measured.machine
    check_machine(profile, machine, other_machine=other_machine)
    for case in cases:
        as_executed(case.scenario, profile)  # what it does not cover is said before anything runs
    follow = watch or (lambda _: _silent)
    if measured is None:
        measured = run_cases_for_real(cases, runs, out, execute, follow("measuring"))
    lacking = missing(measured, cases)
    if lacking:
        raise CalibrationError(f"case {lacking[0]}: was not measured: measure it, or leave it out")
    able = [case for case in cases if case.name not in measured.failures]
    predictions = predict(able, profile, replicas, jobs or cores(), follow("simulating"))
    found = score(
        cases,
        measured.runs,
        predictions.runs,
        demands,
        {**measured.failures, **predictions.failures},
    )
    return {"profile": profile.name, "machine": dict(machine), **found}


def run_cases_for_real(
    cases: Sequence[CheckCase],
    runs: int,
    out: str | Path | None = None,
    execute: Execute | None = None,
    watch: Watch | None = None,
    between: Between | None = None,
) -> Measurements:
    """Only the measured side: `runs` real runs of each case, those that `out` holds counted.

    What is done `between` two rounds over the cases, before the first and after the last is told how many there were.

    Raises
    ------
    CalibrationError
        If the folder can't be used, or holds runs of other scenarios or of another machine.
    """
    with Recording(out) as recording:
        measure(cases, runs, recording, execute or execute_on_pool, watch or _silent, between)
        return recording.measurements


def check_held_out(cases: Sequence[CheckCase], profile: Profile) -> None:
    """Refuse to score what a profile was fitted on.

    Raises
    ------
    CalibrationError
        If it was fitted on the run of a case.
    """
    for case in cases:
        if case.identity in profile.fitted_on:
            raise CalibrationError(
                f"case {case.name}: profile {profile.name} was fitted on this very run, so it proves nothing: leave it "
                "out, or change it (run.seed=1 does)"
            )


def check_machine(profile: Profile, machine: Mapping[str, Any], *, other_machine: bool) -> None:
    """Refuse a profile of another machine than the real runs', unless that is wanted.

    Raises
    ------
    CalibrationError
        If its processor, number of cores or kernel is another, or it does not say them.
    """
    found = differences(machine_of(profile), machine)
    if found and not other_machine:
        raise CalibrationError(
            f"profile {profile.name} is of another machine ({'; '.join(found)}): calibrate here, or say --other-machine"
        )


def execute_on_pool(scenario: Scenario) -> Result:
    """Run a scenario for real, with ranks of the warm pool of this process.

    Raises
    ------
    CalibrationError
        Under torchrun.
    """
    from calibration.executor.launch import execute

    result = execute(scenario)
    if result is None:
        raise CalibrationError("a cross-check is one process that starts its ranks itself: run it without torchrun")
    return result


def _silent(done: int, of: int, what: str) -> None:
    """Tell nobody."""
