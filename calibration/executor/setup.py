"""What a run consists of, made anew in each of its processes from a name and JSON: nothing is pickled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from calibration.executor.album import Album
from parasim.errors import ExecutionError, ScenarioError
from parasim.program.cast import Cast
from parasim.program.context import Context
from parasim.program.shared import Shared
from parasim.simulation.pace import Pace, modelled

__all__ = ["Setup", "from_scenario", "make_setup"]


@dataclass(frozen=True, slots=True)
class Setup:
    """One run, as one of its processes sees it.

    Attributes
    ----------
    cast
        All actors and groups.
    context
        Makes the context of a rank; values are carried if it has a learner.
    pace
        Makes the pace of a rank's computes, which begin when what their program waited for was over; None: they take
        as long as they take.
    latency
        Seconds by which a message with payload is held up, by its source and destination: from when both ends are
        ready, before its data flow. None: not at all.
    shared
        Shared vectors.
    streams
        (group, lane) of native collectives whose process groups are to be made before the start; others are made when
        first used.
    threads
        Threads of each process for arithmetic.
    device
        Where values live: "cpu", "cuda" (the ranks of a machine take its GPUs in turn), or "auto": GPUs if there are
        any. `context` is called when the rank's GPU is the current one.
    bind
        Give each rank cores of its own, where there are enough: two that compute on one core, while another is idle,
        take twice as long until the kernel finds out.
    album
        Where its snapshots of the model go.
    """

    cast: Cast
    context: Callable[[int], Context]
    pace: Callable[[Context], Pace] | None = None
    latency: Callable[[int, int], float] | None = None
    shared: tuple[Shared, ...] = ()
    streams: tuple[tuple[str, str], ...] = field(default=())
    threads: int = 1
    device: str = "cpu"
    bind: bool = False
    album: Album = field(default_factory=Album)


def make_setup(factory: str, arguments: Mapping[str, Any]) -> Setup:
    """Call the factory "module:function" with the arguments.

    Raises
    ------
    ExecutionError
        If there is no such function.
    """
    module, _, name = factory.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ExecutionError(f"no factory {factory!r} ({error}); give 'module:function', importable") from error
    setup: Setup = function(**arguments)
    return setup


def from_scenario(document: Mapping[str, Any], source: str, compute: str) -> Setup:
    """The run of a scenario; `compute` is "real" or "paced".

    Where its network is shaped, messages between hosts are held up by the latency of their route: queues of the kernel
    delay nothing (there is `netem`, but not in every kernel, and one way is enough). What stays on a host takes its
    real time, and so do native collectives, whose messages are the backend's own.

    Raises
    ------
    ScenarioError
        If computing is real and there is no data to train on, or the model or its type can't be trained.
    """
    from calibration.executor.device import current_device
    from calibration.executor.warm import warm_up
    from parasim.learning.build import LEARNING_DTYPES
    from parasim.scenario import from_document
    from parasim.study.build import build_cast, build_context, build_learner, speeds_of_ranks, stragglers_of_ranks
    from parasim.study.evaluation import watch
    from parasim.workload.models import build_network

    scenario = from_document(document, source)
    cast = build_cast(scenario)
    pace = None
    if compute == "paced":
        hosts = scenario.cluster.build().hosts
        speeds, rules = speeds_of_ranks(scenario, cast), stragglers_of_ranks(scenario, cast)

        def pace(me: Context) -> Pace:
            device = hosts[scenario.placement[me.rank]].device
            speed, slowed = speeds.get(me.rank, 1.0), rules.get(me.rank, ())
            return modelled(device, scenario.cluster.noise, me.draws, speed, slowed)
    elif scenario.workload.data is None:
        raise ScenarioError(
            f"{source}: execute.compute: 'real' trains the network and needs data: write workload: {{data: {{kind: "
            "digits}}, or execute: {compute: paced}"
        )
    elif scenario.workload.dtype not in LEARNING_DTYPES:
        remedy = " or ".join(f"{{dtype: {dtype}}}" for dtype in LEARNING_DTYPES)
        raise ScenarioError(
            f"{source}: execute.compute: 'real' trains the network, and can't in {scenario.workload.dtype}: write "
            f"workload: {remedy}, or execute: {{compute: paced}}"
        )
    else:
        try:
            kind, options = scenario.workload.model_kind, scenario.workload.model_options
            build_network(kind, options, scenario.workload.data, scenario.scheme.tied())
        except ScenarioError as error:
            raise ScenarioError(f"{source}: workload.model: {error}") from None

    latency = None
    if scenario.execute.network == "shaped":
        cluster, placement = scenario.cluster.build(), scenario.placement

        def latency(source: int, destination: int) -> float:
            hosts = placement[source], placement[destination]
            return 0.0 if hosts[0] == hosts[1] else cluster.route_latency(*hosts)

    def context(rank: int) -> Context:
        learns = compute != "paced" or scenario.run.learn
        learner = build_learner(scenario, current_device()) if learns else None
        if learner is not None:
            warm_up(learner, scenario.workload.model, scenario.workload.batch_size)
        me = build_context(scenario, cast, rank, learner)
        if learner is not None:
            watch(scenario, me, learner, album.add)
        return me

    album = Album()
    scheme = scenario.scheme
    options = vars(scheme.options).values()
    streams = [(group, lane) for group in cast.groups for lane in scheme.lanes()] if "native" in options else []
    return Setup(
        cast,
        context,
        pace,
        latency,
        scheme.shared(scenario.workload.model),
        tuple(streams),
        scenario.execute.threads,
        scenario.execute.device,
        bind=compute != "paced",
        album=album,
    )
