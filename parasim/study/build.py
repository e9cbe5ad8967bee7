"""From a scenario to the contexts of its actors: the same for both runtimes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from parasim.metrics.groups import group_traffic
from parasim.program.batches import Batches
from parasim.program.cast import Cast
from parasim.program.context import Context
from parasim.program.searching import SearchingContext
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster
    from parasim.program.learner import Learner
    from parasim.scenario.model import ClusterSpec, Scenario
    from parasim.simulation.stragglers import Straggler
    from parasim.trace.aggregate import Aggregates
    from parasim.trace.sinks import Foldable

__all__ = [
    "DeviceFacts",
    "as_run",
    "build_cast",
    "build_context",
    "build_learner",
    "data_facts",
    "device_facts",
    "group_figures",
    "identity",
    "profile_facts",
    "speeds_of_ranks",
    "stragglers_of_ranks",
]


def build_cast(scenario: Scenario) -> Cast:
    """The actors and groups of the scenario's scheme."""
    return Cast(scenario.scheme.roles(), scenario.scheme.groups())


def as_run(scenario: Scenario, trace: Foldable) -> Scenario:
    """The scenario with the batches that a run of it has chosen, where it says that they are tried."""
    sizes = next((totals.sizes for totals, _ in trace.fold().alike if totals.sizes), None)
    if scenario.workload.trials is None or sizes is None:
        return scenario
    batches = Batches(tuple(size for _, size in sizes), tuple(step for step, _ in sizes))
    return replace(scenario, workload=replace(scenario.workload, batches=batches))


def identity(scenario: Scenario) -> dict[str, int | str]:
    """What decides the choices that a run has: a record may be replayed only where all of this is the same."""
    workload, scheme, run = scenario.workload, scenario.scheme, scenario.run
    return {
        "compression": str(scenario.compression or "none"),
        "scheme": scheme.name,
        "workers": scheme.options.workers,
        "options": _text(asdict(scheme.options)),
        "model": _text([workload.model_kind, dict(workload.model_options)]),
        "data": _text([workload.data_kind, _portable(workload.data_options)]),
        "batch_size": workload.batch_size,
        **({"batches": str(workload.batches)} if len(workload.batches.sizes) > 1 else {}),
        **({"trials": str(workload.trials)} if workload.trials else {}),
        "dtype": workload.dtype,
        "optimizer": _text([scenario.optimizer.kind, dict(scenario.optimizer.options)]),
        "steps": run.steps,
        "seed": run.seed,
    }


def _portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of data, a path by its last name alone: on another machine the same files may lie elsewhere."""
    return {name: Path(value).name if name == "path" else value for name, value in options.items()}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def speeds_of_ranks(scenario: Scenario, cast: Cast) -> dict[int, float]:
    """The speeds that the scenario gives to workers, by rank."""
    workers = cast.groups["worker"].ranks
    return {workers[index]: speed for index, speed in scenario.cluster.speeds.items()}


class DeviceFacts(TypedDict):
    """What `RunInfo` says of the devices that a run computes on."""

    calibrated: bool
    data_sheets: tuple[str, ...]
    device_memory_bytes: tuple[float, ...]


def data_facts(scenario: Scenario) -> dict[str, str | bool] | None:
    """What `RunInfo` says of the data; None without data."""
    data = scenario.workload.data
    return None if data is None else {"kind": data.name, "synthetic": data.synthetic}


def device_facts(built: Cluster, placement: Sequence[int]) -> DeviceFacts:
    """Of the devices of the hosts on which somebody is placed."""
    devices, device_of = built.devices(placement)
    memories = [device.memory for device in devices]
    return {
        "calibrated": all(device.calibrated for device in devices),
        "data_sheets": tuple(f"{d.name} in {d.dtype}: {d.source}" for d in dict.fromkeys(devices) if d.source),
        "device_memory_bytes": tuple(map(memories.__getitem__, device_of.tolist())),
    }


def profile_facts(cluster: ClusterSpec) -> dict[str, list[str]] | None:
    """What `RunInfo` says of the profiles that a run rests on; None without one."""
    if not cluster.profiles:
        return None
    return {"names": [profile.name for profile in cluster.profiles], "replaced": list(cluster.replaced)}


def group_figures(scenario: Scenario, built: Cluster, trace: Trace | Aggregates, steps: int) -> dict[str, Any]:
    """Where the traffic of the scheme's groups runs, as a part of the summary; of none, or from sums alone, nothing.

    A node is a machine of a hierarchical topology, elsewhere a host.
    """
    groups = {group.name: group.ranks for group in scenario.scheme.groups()}
    if not groups or not steps or not isinstance(trace, Trace):
        return {}
    hosts = scenario.placement
    per_node = getattr(scenario.cluster.topology, "per_node", 1)

    def links(source: int, destination: int) -> list[str]:
        first, second = hosts[source], hosts[destination]
        return [] if first == second else [built.links[number].name for number in built.route(first, second)]

    def members(name: str) -> Sequence[int]:
        return groups.get(name) or range(len(hosts))

    nodes = [host // per_node for host in hosts]
    return {"groups": group_traffic(trace, steps, scenario.scheme.messages, nodes, links, members)}


def stragglers_of_ranks(scenario: Scenario, cast: Cast) -> dict[int, tuple[Straggler, ...]]:
    """The rules that slow down each rank; none where none does."""
    rules = scenario.cluster.stragglers
    if not rules:
        return {}
    concerned = {a.rank: tuple(rule for rule in rules if rule.concerns(a.role.name, a.index)) for a in cast}
    return {rank: own for rank, own in concerned.items() if own}


def build_learner(scenario: Scenario, device: str = "cpu") -> Learner:
    """The network with its data, on torch (imported here), its values on `device`."""
    from parasim.learning.build import make_learner

    workload = scenario.workload
    if workload.data_kind is None:
        raise ValueError(f"{scenario.name}: learning needs `workload: {{data: ...}}`")
    return make_learner(
        workload.model_kind,
        workload.model_options,
        workload.data_kind,
        workload.data_options,
        scenario.run.seed,
        workload.dtype,
        device,
        scenario.scheme.tied(),
    )


def build_context(
    scenario: Scenario, cast: Cast, rank: int, learner: Learner | None, *, kind: type[Context] = Context, **more: Any
) -> Context:
    """What one actor sees; of a kind of context that takes `more`."""
    from parasim.learning.build import make_optimizer

    model, trials = scenario.workload.model, scenario.workload.trials
    if trials is not None:
        kind, more = SearchingContext, {**more, "trials": trials}
    return kind(
        **more,
        **cast.seat(rank),
        options=scenario.scheme.options,
        model=model,
        batch_size=scenario.workload.batch_size,
        steps=scenario.run.steps,
        seed=scenario.run.seed,
        optimizer=make_optimizer(*scenario.optimizer),
        learner=learner,
        shared=scenario.scheme.shared(model),
        compression=scenario.compression,
        batches=scenario.workload.batches,
    )
