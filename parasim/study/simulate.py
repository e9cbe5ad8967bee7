"""From a scenario to the result of its simulated run."""

from __future__ import annotations

import time
from dataclasses import astuple
from typing import TYPE_CHECKING

from parasim.errors import ScenarioError
from parasim.metrics.info import RunInfo
from parasim.metrics.result import Result
from parasim.metrics.summary import summary
from parasim.simulation.engine import Engine
from parasim.study.build import (
    build_cast,
    build_context,
    build_learner,
    data_facts,
    device_facts,
    identity,
    profile_facts,
    speeds_of_ranks,
    stragglers_of_ranks,
)
from parasim.study.returns import plain
from parasim.study.validity import warn_outside
from parasim.trace.aggregate import Aggregates
from parasim.trace.record import Record
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["simulate"]


def simulate(scenario: Scenario, replay: Record | None = None) -> Result:
    """Run a scenario in virtual time.

    Parameters
    ----------
    scenario
        What `parasim.load` returned.
    replay
        The record of a real run of the same scenario: its choices are taken again, so weights, versions and staleness
        are that run's.

    Raises
    ------
    DeadlockError, ProgramError
        If the scheme's programs wait for ever or break the language; `ProgramError` also if a replay departs.
    ScenarioError
        If the record is of another scenario, or a replay, which takes every message, is asked for coupled fidelity.
    """
    started = time.perf_counter()
    cast = build_cast(scenario)
    if replay is not None:
        _check_record(scenario, replay)
    learner = None
    if scenario.run.learn:
        from parasim.learning.build import pin_threads

        pin_threads()
        learner = build_learner(scenario)
    contexts = [build_context(scenario, cast, actor.rank, learner) for actor in cast]
    trace: Trace | Aggregates = Trace() if scenario.run.trace == "rows" else Aggregates()
    cluster = scenario.cluster
    built = cluster.build()
    engine = Engine(
        built,
        scenario.placement,
        cast,
        contexts,
        trace,
        noise=cluster.noise,
        speeds=speeds_of_ranks(scenario, cast),
        stragglers=stragglers_of_ranks(scenario, cast),
        overhead=astuple(cluster.overhead),
        handling_noise=cluster.handling_noise,
        handling_cores=cluster.handling_cores,
        fidelity=scenario.run.fidelity if replay is None else "message",
        fast_paths=scenario.run.fast_paths == "all",
        scripts=None if replay is None else [replay.script(actor.rank) for actor in cast],
    )
    begun = time.perf_counter()
    engine.run()
    ended = time.perf_counter()
    warn_outside(scenario, trace)
    info = RunInfo(
        scenario=scenario.name,
        scheme=scenario.scheme.name,
        clock="simulated",
        workers=scenario.scheme.options.workers,
        batch_size=scenario.workload.batch_size,
        seed=scenario.run.seed,
        **device_facts(built.hosts, scenario.placement),
        profile=profile_facts(cluster),
        data=data_facts(scenario),
        events=engine.events,
        collectives=engine.collectives,
        wall_seconds=ended - started,
        simulation_seconds=ended - begun,
        batches_per_step=scenario.scheme.pipelines(),
        facts=scenario.scheme.facts(),
    )
    return Result(summary(trace, info), trace, tuple(plain(value) for value in engine.returns))


def _check_record(scenario: Scenario, record: Record) -> None:
    """Refuse the record of another run before it departs from this one."""
    if scenario.run.fidelity == "coupled":
        raise ScenarioError(
            f"{scenario.source}: a replay takes every message, fidelity coupled has none: write run.fidelity=message"
        )
    for key, value in identity(scenario).items():
        recorded = record.meta.get(key, value)
        if recorded != value:
            raise ScenarioError(
                f"{scenario.source}: the record is of {key} {recorded!r}, the scenario has {value!r}; "
                "replay the scenario that was recorded"
            )
