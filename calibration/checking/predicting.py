"""The simulated side: replicas of the simulated counterparts of real runs, on all cores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from calibration.checking.cases import CheckCase
from calibration.checking.executed import as_executed
from calibration.checking.figures import RunFigures, figures_of
from parasim.errors import ScenarioWarning
from parasim.metrics.outcome import Outcome
from parasim.scenario.reader import Places, Tree
from parasim.study.cases import Case, failed
from parasim.study.pool import run_cases
from parasim.study.replicas import drawn, replica_law

if TYPE_CHECKING:
    from parasim.cluster.profile import Profile
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["Predictions", "predict", "replica"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Figures of the replicas of each case, by its name; and why a case could not be simulated."""

    runs: dict[str, list[RunFigures]]
    failures: dict[str, str]


def replica(scenario: Scenario, profile: Profile, number: int) -> Scenario:
    """What is simulated as replica `number`: the numbers of the machine, and the noise that is its own, drawn anew.

    The draws of paced computes are the scenario's, as they are in every real run of it. It learns only where a target
    asks when, and does not stop there: a real run goes on, too.
    """
    executed = as_executed(scenario, drawn(profile, scenario.run.seed, number))
    cluster = executed.cluster
    paced = scenario.execute.compute == "paced"
    target = executed.run.target
    goal = None if target is None else replace(target, stop=False)
    return replace(
        executed,
        cluster=replace(
            cluster,
            noise=cluster.noise if paced else replica_law(cluster.noise, number),
            handling_noise=replica_law(cluster.handling_noise, number),
        ),
        run=replace(executed.run, trace="aggregate", learn=target is not None, target=goal),
    )


@dataclass(frozen=True, slots=True)
class _Replica(Case):
    """One replica, run in a process of its own."""

    profile: Profile | None = None
    number: int = 0

    def run(self) -> tuple[Outcome, Result | None]:
        """Its figures stand in the place of a summary."""
        from parasim.scenario.load import scenario_of
        from parasim.study.simulate import simulate

        assert self.tree is not None
        assert self.profile is not None
        try:
            result = simulate(replica(scenario_of(self.tree), self.profile, self.number))
            figures = figures_of(result).as_dict()
        except Exception as error:  # whatever it is, the other rows go on
            return failed(self, error), None
        return Outcome(self.label, result.summary["scheme"], {}, figures), None


def predict(
    cases: Sequence[CheckCase],
    profile: Profile,
    replicas: int,
    jobs: int,
    watch: Callable[[int, int, str], None] | None = None,
) -> Predictions:
    """Simulate so many replicas of every case on so many processes.

    Warnings of the simulator are given once each.
    """
    for case in cases:
        as_executed(case.scenario, profile)  # what is wrong is said before anything runs
    work: list[_Replica] = [
        _Replica(case.name, _tree(case.scenario), profile=profile, number=number)
        for number in range(replicas)
        for case in cases
    ]
    found: dict[str, dict[int, RunFigures]] = {case.name: {} for case in cases}
    failures: dict[str, str] = {}
    told: set[str] = set()
    done = 0
    with closing(run_cases(work, jobs)) as finished:
        for place, outcome, texts in finished:
            one = work[place]
            if outcome.summary is None:
                failures[one.label] = f"simulated: {outcome.error}"
            else:
                found[one.label][one.number] = RunFigures.from_dict(outcome.summary)
            for text in texts:
                if text not in told:
                    told.add(text)
                    warnings.warn(text, ScenarioWarning, stacklevel=2)
            done += 1
            if watch is not None:
                watch(done, len(work), f"{one.label}, replica {one.number + 1} of {replicas}")
    return Predictions({name: [runs[i] for i in sorted(runs)] for name, runs in found.items()}, failures)


def _tree(scenario: Scenario) -> Tree:
    document: dict[str, Any] = dict(scenario.document)
    return Tree(document, Places(scenario.source, {}, {}))
