"""The verb `crosscheck`: from the command line's words to what is printed and written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.calibrate import Calibration, Options
from calibration.checking.cases import CheckCase, read_cases
from calibration.checking.executed import as_executed
from calibration.checking.explaining import explain
from calibration.checking.machine import this_machine
from calibration.checking.measuring import Watch
from calibration.checking.recording import Measurements, missing, read_measurements, trace_path
from calibration.checking.traces import load_trace, save_trace
from calibration.crosscheck import check_machine, crosscheck, execute_on_pool, run_cases_for_real
from calibration.fitting.session import suffixed
from calibration.probes.plan import BUDGET, ROUNDS
from parasim.cluster.profile_file import find_profile, load_profile
from parasim.errors import CalibrationError, ScenarioError
from parasim.report.crosscheck_explain import explain_table
from parasim.report.crosscheck_files import write_crosscheck
from parasim.report.crosscheck_table import crosscheck_table
from parasim.report.output import claim_folder, claim_results, json_text
from parasim.report.progress import Progress
from parasim.report.provenance import origin_of
from parasim.study.identity import simulator
from parasim.study.pool import cores
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.cluster.profile import Profile

__all__ = ["main"]

_ACCEPTED, _REJECTED = 0, 1
_ALONE = ("measure_only", "simulate_only", "explain")


def main(arguments: argparse.Namespace) -> int:
    """Do what the words of `parasim crosscheck` say; returns the exit code.

    Raises
    ------
    ScenarioError
        If the words, a scenario or the profile is wrong, or can't be used for these cases.
    """
    try:
        return _main(arguments)
    except CalibrationError as error:  # exit code 1 is a verdict
        raise ScenarioError(f"parasim crosscheck: {error}") from None


def _main(arguments: argparse.Namespace) -> int:
    _check(arguments)
    measured = None if arguments.simulate_only is None else read_measurements(arguments.simulate_only)
    cases = read_cases(
        arguments.file,
        arguments.overrides,
        arguments.variant,
        cores=cores() if measured is None else measured.machine.get("cores", cores()),
        allow_code=arguments.allow_code,
    )
    if measured is not None:
        cases = _recorded(cases, measured)
    profile = None if arguments.profile is None else load_profile(find_profile(arguments.profile, Path()))
    origin = None
    if arguments.out and arguments.explain is not None:
        claim_folder(arguments.out, "--out")
    elif arguments.out:
        claim_results(arguments.out)
        origin = origin_of(arguments.command, arguments.file, simulator(), arguments.said)
    if arguments.explain is not None:
        assert profile is not None
        return _explain(arguments, cases, profile)
    if profile is None:
        profile, measured = _measure(arguments, cases)
    if profile is None or arguments.measure_only:
        assert measured is not None
        return _told(arguments, cases, measured)
    with _followed() as watch:
        found = crosscheck(
            cases,
            profile,
            runs=arguments.runs,
            replicas=arguments.replicas,
            out=arguments.out,
            measured=measured,
            other_machine=arguments.other_machine,
            jobs=arguments.jobs,
            watch=watch,
        )
    if origin is not None:
        title = f"{Path(arguments.file).stem}: predicted beside measured"
        write_crosscheck(found, arguments.out, title)
        origin.write(arguments.out, title)
    print(json_text(found) if arguments.json else crosscheck_table(found))
    return _ACCEPTED if found["accepted"] else _REJECTED


def _recorded(cases: list[CheckCase], measured: Measurements) -> list[CheckCase]:
    """Without the files of which no case was measured, which are named; all cases if nothing would be left."""
    lacking = set(missing(measured, cases))
    of_files: dict[str, list[CheckCase]] = {}
    for case in cases:
        of_files.setdefault(case.name.partition("/")[0], []).append(case)
    left_out = [file for file, own in of_files.items() if all(case.name in lacking for case in own)]
    kept = [case for file, own in of_files.items() if file not in left_out for case in own]
    if not kept or not left_out:
        return cases
    count = len(cases) - len(kept)
    print(f"parasim: not judged, as none was measured: the {count} cases of {', '.join(left_out)}", file=sys.stderr)
    return kept


def _check(arguments: argparse.Namespace) -> None:
    """What the words alone tell to be wrong."""
    asked = [f"--{name.replace('_', '-')}" for name in _ALONE if getattr(arguments, name)]
    if len(asked) > 1 and asked != ["--simulate-only", "--explain"]:
        raise ScenarioError(f"parasim crosscheck: {' and '.join(asked)} don't go together: give one of them")
    if arguments.measure_only and not arguments.out:
        raise ScenarioError("parasim crosscheck: --measure-only keeps the runs in a folder: add --out DIR")
    if arguments.measure_only:
        _without(arguments, ("profile", "json", "other_machine", "jobs"), "--measure-only predicts nothing")
    elif arguments.calibrate:
        others = ("profile", "simulate_only", "explain", "other_machine")
        _without(arguments, others, "--calibrate measures this machine")
    elif not arguments.profile:
        raise ScenarioError(
            "parasim crosscheck: --profile P is missing: the file that 'parasim calibrate --out P' has written; or let "
            "--calibrate P write it"
        )
    for name, least in (("runs", 1), ("replicas", 2), ("jobs", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ScenarioError(f"parasim crosscheck: --{name}: {value} is too few: write {least} or more")


def _without(arguments: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse words that have no effect beside the others."""
    for name in names:
        if getattr(arguments, name):
            raise ScenarioError(f"parasim crosscheck: --{name.replace('_', '-')}: {reason}: leave it out")


def _measure(arguments: argparse.Namespace, cases: Sequence[CheckCase]) -> tuple[Profile | None, Measurements]:
    """The real runs; and the profile, if a calibration between them is asked for."""
    with _followed() as watch:
        runs = partial(run_cases_for_real, cases, arguments.runs, arguments.out, watch=watch("measuring"))
        if not arguments.calibrate:
            return None, runs()
        really = [case.scenario for case in cases if case.scenario.execute.compute == "real"]
        rounds = arguments.runs + 1
        options = Options(rounds=rounds, budget=BUDGET / ROUNDS * rounds, keep_journal=True)
        probing = watch("calibrating")
        with Calibration(arguments.calibrate, really, options, say=_say) as calibration:
            measured = runs(between=partial(calibration.round, watch=probing))
            profile = calibration.finish()
    _say(f"written: {arguments.calibrate}; measured: {suffixed(Path(arguments.calibrate))}")
    return profile, measured


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _told(arguments: argparse.Namespace, cases: Sequence[CheckCase], found: Measurements) -> int:
    """Say which real runs were made, and which could not be."""
    made = [found.runs.get(case.name, []) for case in cases]
    print(f"{sum(map(len, made))} real runs of {sum(map(bool, made))} cases: {arguments.out}/measured.json")
    failures = {case.name: found.failures[case.name] for case in cases if case.name in found.failures}
    for name, reason in failures.items():
        print(f"parasim: {name}: did not run: {reason}", file=sys.stderr)
    return _REJECTED if failures else _ACCEPTED


@contextmanager
def _followed() -> Iterator[Any]:
    """Lines of progress, one after the other."""
    shown: list[Progress] = []

    def watch(doing: str) -> Watch:
        shown.append(Progress(doing))
        return shown[-1].show

    try:
        yield watch
    finally:
        for progress in shown:
            with progress:
                pass


def _explain(arguments: argparse.Namespace, cases: Sequence[CheckCase], profile: Profile) -> int:
    """Open the difference of one case: by the recorded trace, else by one real run."""
    from parasim.study.simulate import simulate

    case = _named(cases, arguments.explain)
    recorded = _folder(arguments)
    machine = this_machine() if arguments.simulate_only is None else read_measurements(arguments.simulate_only).machine
    check_machine(profile, machine, other_machine=arguments.other_machine)
    path = None if recorded is None else trace_path(recorded, case.name, "real")
    rows = replace(case.scenario, run=replace(case.scenario.run, trace="rows"))
    if path is not None and path.exists():
        real = load_trace(path)
    else:
        print("parasim: no trace is recorded: one real run is made", file=sys.stderr)
        measured = execute_on_pool(rows).trace
        assert isinstance(measured, Trace)
        real = measured
    simulated = simulate(as_executed(rows, profile)).trace
    assert isinstance(simulated, Trace)
    if arguments.out:
        save_trace(simulated, trace_path(arguments.out, case.name, "simulated"))
    found = explain(case.name, real, simulated)
    print(json_text(found) if arguments.json else explain_table(found))
    return _ACCEPTED


def _folder(arguments: argparse.Namespace) -> Path | None:
    """Where traces of real runs may be."""
    if arguments.simulate_only is not None:
        given = Path(arguments.simulate_only)
        return given if given.is_dir() else given.parent
    return Path(arguments.out) if arguments.out else None


def _named(cases: Sequence[CheckCase], name: str) -> CheckCase:
    for case in cases:
        if case.name == name:
            return case
    there = ", ".join(case.name for case in cases)
    raise ScenarioError(f"--explain: no case is called {name!r} (there are: {there})")
