"""The measured side: real runs, the cases in turn, so that a slow drift of the machine meets them all alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from calibration.checking.cases import CheckCase
from calibration.checking.figures import figures_of
from calibration.checking.machine import load_average
from calibration.checking.recording import Recording
from calibration.executor.gauge import Reference
from calibration.probes.state import read_ticks, stolen_share
from parasim.errors import DeadlockError, ExecutionError, ProgramError

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["AGAIN", "MOST_SLOW", "MOST_STOLEN", "Between", "Execute", "Watch", "measure"]

Execute = Callable[["Scenario"], "Result"]
"""Runs a scenario for real."""

MOST_STOLEN = 0.03
MOST_SLOW = 0.05
AGAIN = 4
_LEAST_TICKS = 100
"""A shorter run says nothing of shares."""

Watch = Callable[[int, int, str], None]
"""Is told how many of how many are done, and what was done last."""

Between = Callable[[int], None]
"""Does something else between two rounds over the cases; is told how many rounds there were."""


def measure(
    cases: Sequence[CheckCase],
    runs: int,
    recording: Recording,
    execute: Execute,
    watch: Watch,
    between: Between | None = None,
) -> None:
    """Run every case for real until the recording holds so many `runs` of it.

    Rounds: each takes every case once, in the order given, so that runs of one case are far apart in time. Before the
    first, the first case runs once for nothing: its ranks load what all later ones find loaded. A case that fails is
    not run again; the recording says why.

    A run is made again, at most `AGAIN` times, if the hypervisor gave over `MOST_STOLEN` of the processors' time to
    others meanwhile, or over `MOST_SLOW` of the looks at its cores found them slowed by others
    (`calibration.executor.gauge`); the least disturbed one counts, and says how disturbed it was and how often it was
    made. Nothing that a run has measured of itself has a part in that choice. On a machine that is never quiet, no more
    runs are made again in all than were asked for.

    `between` is called with 0 before the first round, with 1 before the second, and so on; with `runs` after the last.
    Rounds that the recording holds are none that it is left out for.
    """
    held = {case.name: len(recording.measurements.of(case)) for case in cases}
    rounds = [[case for case in cases if held[case.name] < number] for number in range(1, runs + 1)]
    count = sum(map(len, rounds))
    failed: set[str] = set()
    reference, spare, done = Reference(), count, 0

    def run(case: CheckCase, again: int) -> tuple[Result, dict[str, Any]] | None:
        try:
            return _undisturbed(case.scenario, execute, again, reference)
        except (DeadlockError, ExecutionError, ProgramError) as error:
            failed.add(case.name)
            recording.failed(case, " ".join(str(error).split()))
            return None

    for number, turns in enumerate(rounds, 1):
        if between is not None:
            between(number - 1)
        if turns and not done:
            watch(0, count, "warming up")
            run(turns[0], 0)
        for case in turns:
            done += 1
            if case.name in failed:
                continue
            when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            load = load_average()
            if (made := run(case, min(AGAIN, spare))) is not None:
                result, about = made
                spare -= about["made"] - 1
                recording.add(case, figures_of(result, {"when": when, "load": load, **about}), result)
                watch(done, count, f"{case.name}, run {number} of {runs}")
    if between is not None:
        between(runs)


def _undisturbed(
    scenario: Scenario, execute: Execute, again: int, reference: Reference
) -> tuple[Result, dict[str, Any]]:
    """A run; the shares of the processors' time and of the looks that others had, and how many runs it took."""
    made: list[tuple[float, Result, float | None, float | None]] = []
    while True:
        before = read_ticks()
        result = execute(scenario)
        after = read_ticks()
        stolen = stolen_share(before, after)
        if before is None or after is None or after.all - before.all < _LEAST_TICKS:
            stolen = None
        samples = () if result.record is None else result.record.meta.get("cores", ())
        reference.learn(samples)
        slow = reference.slow_share(samples)
        made.append((max((stolen or 0.0) / MOST_STOLEN, (slow or 0.0) / MOST_SLOW), result, stolen, slow))
        if made[-1][0] <= 1.0 or len(made) > again:
            break
    _, result, stolen, slow = min(made, key=itemgetter(0))
    return result, {"stolen": stolen, "slow": slow, "made": len(made)}
