"""From a scenario to the result of its simulated run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from parasim.errors import ScenarioError
from parasim.metrics.info import RunInfo
from parasim.metrics.result import Result
from parasim.metrics.summary import summary
from parasim.program.contents import Contents
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.sing import Stage, sing
from parasim.simulation.engine import Engine
from parasim.simulation.fast.run import Dissolved
from parasim.simulation.garbage import YOUNG, collecting
from parasim.simulation.tapes.perform import perform
from parasim.study.build import (
    as_run,
    build_cast,
    build_context,
    build_learner,
    data_facts,
    device_facts,
    group_figures,
    identity,
    profile_facts,
    speeds_of_ranks,
    stragglers_of_ranks,
)
from parasim.study.evaluation import Evaluations, TargetReached, watch
from parasim.study.modelled import modelled
from parasim.study.returns import plain
from parasim.study.validity import warn_outside
from parasim.trace.aggregate import Aggregates
from parasim.trace.record import Record
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster
    from parasim.program.cast import Cast
    from parasim.program.context import Context
    from parasim.program.learner import Learner
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
    with collecting(0 if scenario.run.learn else YOUNG):
        return _simulated(scenario, replay)


def _simulated(scenario: Scenario, replay: Record | None) -> Result:
    started = time.perf_counter()
    cast = build_cast(scenario)
    if replay is not None:
        _check_record(scenario, replay)
    learner = None
    if scenario.run.learn:
        from parasim.learning.build import pin_threads

        pin_threads()
        learner = build_learner(scenario)
    trace: Trace | Aggregates = Trace() if scenario.run.trace == "rows" else Aggregates()
    built = scenario.cluster.build()
    begun = time.perf_counter()
    ran, fast_paths = _together(scenario, cast, built, trace, learner, replay)
    if ran is None:
        begun, ran = _one_by_one(scenario, cast, built, trace, learner, replay)
    ended = time.perf_counter()
    if ran.stopped is not None and isinstance(trace, Trace):
        trace = Trace(row for row in trace if row.t_end <= ran.stopped)
    warn_outside(scenario, trace)
    scenario = as_run(scenario, trace)
    info = RunInfo(
        scenario=scenario.name,
        scheme=scenario.scheme.name,
        clock="simulated",
        workers=scenario.scheme.options.workers,
        batch_size=scenario.workload.batch_size,
        seen=scenario.samples,
        seed=scenario.run.seed,
        **device_facts(built, scenario.placement),
        profile=profile_facts(scenario.cluster),
        data=data_facts(scenario),
        events=ran.events,
        collectives=ran.collectives,
        fast_paths={**fast_paths, **ran.fast_paths},
        wall_seconds=ended - started,
        simulation_seconds=ended - begun,
        batches_per_step=1,
        own_pace=scenario.own_pace,
        facts=scenario.scheme.facts(),
    )
    figures = summary(trace, info)
    figures |= group_figures(scenario, built, trace, figures["steps"])
    if ran.evaluations is not None:
        figures |= ran.evaluations.figures(trace, scenario.samples, stopped=ran.stopped is not None)
    if scenario.run.steps_model is not None:
        figures["modelled"] = modelled(scenario.run.steps_model, figures)
    return Result(figures, trace, ran.returns)


class _Ran(NamedTuple):
    """What a run tells beside its trace."""

    events: int
    collectives: dict[str, int] | None
    returns: tuple[Any, ...]
    evaluations: Evaluations | None = None
    stopped: float | None = None
    """When it was ended before its end, in seconds."""
    fast_paths: Mapping[str, Any] = MappingProxyType({})
    """Of actors one by one: how their collectives went."""


def _together(
    scenario: Scenario,
    cast: Cast,
    built: Cluster,
    trace: Trace | Aggregates,
    learner: Learner | None,
    replay: Record | None,
) -> tuple[_Ran | None, dict[str, Any]]:
    """All actors at once, if they can go so; and by which way, or why not."""
    left = None
    if scenario.run.fast_paths == "none":
        left = "fast_paths is none"
    elif learner is not None or replay is not None:
        left = "values are carried" if replay is None else "a record is replayed"
    elif not isinstance(trace, Aggregates):
        left = "rows of the trace are kept"
    if left is not None:
        return None, {"chorus": left, "tapes": left}
    assert isinstance(trace, Aggregates)
    told: dict[str, Any] = {}
    for name, way in (("chorus", _as_chorus), ("tapes", _from_tapes)):
        try:
            ran = way(scenario, cast, built, trace)
        except Distinguished as why:
            told[name] = str(why)
        else:
            return ran, {**told, name: "taken"}
    return None, told


def _as_chorus(scenario: Scenario, cast: Cast, built: Cluster, trace: Aggregates) -> _Ran:
    """All actors as one program; `Distinguished` if they have to go one by one."""
    stage = _stage(scenario, cast, built)
    sung = sing(stage, cast, lambda kind, **more: build_context(scenario, cast, 0, None, kind=kind, **more))
    trace.take(sung.actors)
    return _Ran(0, sung.collectives, (plain(sung.returned),) * len(cast))


def _stage(scenario: Scenario, cast: Cast, built: Cluster) -> Stage:
    cluster = scenario.cluster
    return Stage(
        built, scenario.placement, cluster.noise, speeds_of_ranks(scenario, cast), stragglers_of_ranks(scenario, cast),
        astuple(cluster.overhead), scenario.run.fidelity, scenario.run.seed,
    )  # fmt: skip


def _from_tapes(scenario: Scenario, cast: Cast, built: Cluster, trace: Aggregates) -> _Ran:
    """Workers and servers from what one of each does; `Distinguished` if they have to go one by one."""

    def context(kind: type[Context], rank: int, **more: Any) -> Context:
        return build_context(scenario, cast, rank, None, kind=kind, **more)

    performed = perform(_stage(scenario, cast, built), cast, context)
    trace.take(performed.actors)
    return _Ran(0, None, tuple(plain(value) for value in performed.returned))


def _one_by_one(
    scenario: Scenario,
    cast: Cast,
    built: Cluster,
    trace: Trace | Aggregates,
    learner: Learner | None,
    replay: Record | None,
) -> tuple[float, _Ran]:
    """Every actor's program, on SimPy; with when it began.

    Values of collectives are made at once where nobody asks for the bytes that have moved while the model is evaluated.
    """
    if learner is not None and scenario.run.evaluate is None:
        try:
            return _run(scenario, cast, built, trace, learner, replay, at_once=True)
        except Dissolved:  # nobody knows the values half-way through: begin anew, with the messages of all collectives
            assert isinstance(trace, Aggregates)
            trace.clear()
    return _run(scenario, cast, built, trace, learner, replay, at_once=False)


def _run(
    scenario: Scenario,
    cast: Cast,
    built: Cluster,
    trace: Trace | Aggregates,
    learner: Learner | None,
    replay: Record | None,
    *,
    at_once: bool,
) -> tuple[float, _Ran]:
    """Run an engine; with when it began."""
    fast_paths = scenario.run.fast_paths == "all"
    contents = None
    if learner is not None and fast_paths and replay is None:
        contents = Contents(learner, batched=scenario.run.batched_gradients)
    given: dict[str, Any] = {"contents": contents, "weighs": isinstance(trace, Trace)}  # sums do not tell of tensors
    contexts = [build_context(scenario, cast, actor.rank, learner, **given) for actor in cast]
    evaluations, stopped = None, None
    if learner is not None and scenario.run.evaluate is not None:
        target = scenario.run.target
        sums = trace if isinstance(trace, Aggregates) else None
        evaluations = Evaluations(scenario, cast, learner, sums, stop=target is not None and target.stop)
        for context in contexts:
            watch(scenario, context, learner, evaluations.add)
    cluster = scenario.cluster
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
        fast_paths=fast_paths,
        at_once=at_once,
        scripts=None if replay is None else [replay.script(actor.rank) for actor in cast],
    )
    begun = time.perf_counter()
    try:
        engine.run()
    except TargetReached as reached:
        stopped = reached.seconds
    returned = tuple(plain(value) for value in engine.returns)
    fast = {} if engine.fast_collectives is None else {"collectives": engine.fast_collectives}
    return begun, _Ran(engine.events, engine.collectives, returned, evaluations, stopped, fast)


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
