"""Prediction intervals: a scenario simulated many times, each time with other draws of what is not known exactly.

A replica draws the numbers of the profiles from their intervals, and the factor that a whole run has in common; and its
noise has draws of its own, by the replica's number. All other draws (data, first weights, partners) are the scenario's.
Replica i of every scenario with the same profiles and noise has the same numbers and draws, so schemes are compared on
common random numbers.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parasim.errors import ParasimError, ScenarioError, ScenarioWarning
from parasim.metrics.outcome import Outcome
from parasim.scenario.reader import Places, Tree
from parasim.simulation.noise import NoiseLaw, NoNoise, OwnDraws
from parasim.study.cases import Case, failed
from parasim.study.pool import cores, run_cases

if TYPE_CHECKING:
    from parasim.cluster.profile import Profile
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["LEVEL", "drawn", "interval_of", "intervals", "replica_law", "replica_of", "with_intervals"]

LEVEL = 0.9
"""Probability of the intervals."""

_MOST = 100_000
_PARTS = {"shares": ("compute", "transfer", "wait"), "staleness": ("mean", "variance", "max")}


def replica_law(law: NoiseLaw, number: int) -> NoiseLaw:
    """The law as replica `number` has it."""
    return law if isinstance(law, NoNoise) else OwnDraws(law, f"replica {number}")


def replica_of(scenario: Scenario, number: int) -> Scenario:
    """The scenario as replica `number` has it: with its draws of all noise, that of stragglers too."""
    cluster = scenario.cluster
    rules = [
        rule if rule.noise is None else replace(rule, noise=replica_law(rule.noise, number))
        for rule in cluster.stragglers
    ]
    return replace(
        scenario,
        cluster=replace(
            cluster,
            noise=replica_law(cluster.noise, number),
            handling_noise=replica_law(cluster.handling_noise, number),
            stragglers=tuple(rules),
        ),
        run=replace(scenario.run, trace="aggregate"),
    )


def drawn(profile: Profile, seed: int, number: int) -> Profile:
    """The profile as replica `number` of scenarios with this seed has it; the first has its numbers as they are."""
    import numpy as np

    if number == 0:
        return replace(profile, drift={}, joint={})
    return profile.draw(np.random.default_rng([zlib.crc32(profile.name.encode()), seed, number]))


def interval_of(values: Sequence[float]) -> dict[str, float]:
    """`median`, and `low` and `high` between which one more value lies with 90 % probability.

    The k-th smallest of n values is at the level k / (n + 1), between them in proportion (Weibull's positions): so the
    probability holds for any continuous law. Fewer than 19 values can't give it: the interval is from least to most.
    """
    import numpy as np

    tail = (1 - LEVEL) / 2
    low, median, high = np.quantile(list(values), [tail, 0.5, 1 - tail], method="weibull")
    return {"median": float(median), "low": float(low), "high": float(high)}


def intervals(scenario: Scenario, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the replicas of a scenario say, for its summary.

    Returns
    -------
    dict
        `replicas`, `level`, `contains` (what was drawn anew in each, in words); and under the names of the summary
        (`seconds_per_step`, `samples_per_second`, `shares`, `staleness`) the `median`, `low` and `high` of each figure,
        None where a replica has none.
    """
    found: dict[str, Any] = {"replicas": len(summaries), "level": LEVEL, "contains": _contains(scenario)}
    for name in ("seconds_per_step", "samples_per_second"):
        found[name] = _interval([summary[name] for summary in summaries])
    for name, parts in _PARTS.items():
        found[name] = {part: _interval([summary[name][part] for summary in summaries]) for part in parts}
    return found


def _interval(values: Sequence[float | None]) -> dict[str, float] | None:
    there = [value for value in values if value is not None]
    return interval_of(there) if len(there) == len(values) else None


def _contains(scenario: Scenario) -> list[str]:
    cluster = scenario.cluster
    noisy = {
        "noise of computes": not isinstance(cluster.noise, NoNoise),
        "noise of message handling": not isinstance(cluster.handling_noise, NoNoise),
        "noise of stragglers": any(rule.noise is not None for rule in cluster.stragglers),
    }
    return [*(["the profile's numbers"] if cluster.profiles else []), *(what for what, so in noisy.items() if so)]


@dataclass(frozen=True, slots=True)
class _Replica(Case):
    """One replica, run in a process of its own."""

    number: int = 0
    seed: int = 0

    def run(self) -> tuple[Outcome, Result | None]:
        """Simulate it; an error is an outcome too."""
        from parasim.scenario.load import scenario_of
        from parasim.study.simulate import simulate

        assert self.tree is not None
        try:
            scenario = scenario_of(self.tree, vary=lambda profile: drawn(profile, self.seed, self.number))
            result = simulate(replica_of(scenario, self.number))
        except Exception as error:  # whatever it is, the other rows go on
            return failed(self, error), None
        return Outcome(self.label, result.summary["scheme"], {}, result.summary), None


def with_intervals(
    scenario: Scenario, result: Result, count: int, watch: Callable[[int, int, str], None] | None = None
) -> Result:
    """The result with the intervals of so many replicas under the key "intervals" of its summary.

    Parameters
    ----------
    scenario, result
        What `parasim.load` returned, and its simulated run.
    count
        Replicas; they run on all cores.
    watch
        Called after each replica with the number of those done, of all, and the scenario's name.

    Raises
    ------
    ScenarioError
        If the count is not from 2 to 100,000.
    ParasimError
        If a replica fails: the first one's reason.
    """
    if not 2 <= count <= _MOST:
        raise ScenarioError(f"--replicas: {count} is no number of replicas: write 2 to {_MOST}; 32 is a good one")
    tree = Tree(dict(scenario.document), Places(scenario.source, {}, {}))
    work = [_Replica(scenario.name, tree, number=number, seed=scenario.run.seed) for number in range(count)]
    found: dict[int, Mapping[str, Any]] = {}
    told: set[str] = set()
    with closing(run_cases(work, cores())) as finished:
        for place, outcome, texts in finished:
            if outcome.summary is None:
                raise ParasimError(f"{scenario.name}: replica {place}: {outcome.error}")
            found[place] = outcome.summary
            for text in texts:
                if text not in told:
                    told.add(text)
                    warnings.warn(text, ScenarioWarning, stacklevel=2)
            if watch is not None:
                watch(len(found), count, scenario.name)
    spread = intervals(scenario, [found[place] for place in range(count)])
    return replace(result, summary={**result.summary, "intervals": spread})
