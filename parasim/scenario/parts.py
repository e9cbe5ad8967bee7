"""The sections of a document, one function each: workload, cluster, scheme, optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.topologies import TOPOLOGIES
from parasim.fields import setting
from parasim.program.scheme import Scheme
from parasim.scenario.check import Section, shorten
from parasim.scenario.model import ClusterSpec, Optimizer, Overhead, Workload
from parasim.scenario.placement import place
from parasim.scenario.tables import data_kinds, model_kinds, optimizer_kinds, scheme_kinds
from parasim.simulation.noise import LAWS

if TYPE_CHECKING:
    from parasim.workload import DataSpec

__all__ = [
    "CLUSTER_KEYS",
    "MAX_ACTORS",
    "MAX_LAYERS",
    "Batch",
    "read_cluster",
    "read_optimizer",
    "read_scheme",
    "read_workload",
]

MAX_ACTORS = 1_000_000
MAX_LAYERS = 10_000
_MIN_SPEED, _MAX_SPEED = 1e-6, 1e6

CLUSTER_KEYS = {
    "topology": "how hosts are joined",
    "host": "every host",
    "device": "what the cores of a host compute with",
    "link": "each link of the topology",
    "loopback": "traffic inside a host (default: the bandwidth of the device's memory, no latency)",
    "noise": "random factors on the time of kernels (default: none)",
    "overhead": "time that end points spend on messages (default: none)",
    "speeds": "worker index -> speed relative to the device; 0.5 takes twice as long",
    "placement": "role -> list of hosts; may stand under scheme instead",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What `workload` says beside model and data."""

    batch_size: int = setting("samples per worker (per pipeline) and step", ge=1, le=1_000_000_000)
    dtype: Literal["float32", "float64"] = setting("type of every number", "float32")


def read_workload(section: Section) -> Workload:
    """The workload, its model built."""
    from parasim.workload import build_data, build_model
    from parasim.workload.options import LayerCost

    batch = section.build(Batch, beside=("model", "data"))
    data: DataSpec | None = None
    data_kind: str | None = None
    data_options: dict[str, Any] = {}
    if "data" in section.data:
        chosen = section.section("data", example="{kind: digits}")
        data_kind, data_options = _kind_and_options(chosen, data_kinds(), "data")
        with chosen.blamed(None):
            data = build_data(data_kind, data_options)
    model_section = section.section("model", example="{kind: mlp, width: 1024, depth: 4}")
    kind, options = _kind_and_options(model_section, model_kinds(), "model")
    layers = int(options.get("depth", 0))
    for number, entry in enumerate(options.get("layers", ())):
        layer = Section({number: entry}, (*model_section.path, "layers"), section.places)
        layers += Section(entry, (*layer.path, number), section.places).build(LayerCost, of=" of a layer").repeat
    if layers > MAX_LAYERS:
        key = "layers" if "layers" in options else "depth"
        raise model_section.error(key, f"{layers} layers are too many; the limit is {MAX_LAYERS}")
    with model_section.blamed(None):
        model = build_model(kind, options, data, 8 if batch.dtype == "float64" else 4)
    return Workload(
        model_kind=kind,
        model_options=options,
        data_kind=data_kind,
        data_options=data_options,
        batch_size=batch.batch_size,
        dtype=batch.dtype,
        data=data,
        model=model,
    )


def read_cluster(section: Section) -> ClusterSpec:
    """The cluster."""
    section.only(CLUSTER_KEYS)
    topology_section = section.section("topology", example="{kind: star, hosts: 8}")
    kind, topology = topology_section.choose(TOPOLOGIES, "topology")
    example = "{flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}"
    device = section.section("device", example=example).build(Device)
    noise_section = section.section("noise", optional=True)
    noise_kind, law = noise_section.choose(LAWS, "noise") if noise_section.data else ("none", LAWS["none"])
    return ClusterSpec(
        topology=topology_section.build(topology, beside=("kind",), of=f" of topology '{kind}'"),
        host=section.section("host", optional=True).build(Host, defaults={"name": "host", "device": device}),
        link=section.section("link", example="{bandwidth: 10 Gbit/s, latency: 50 us}").build(
            Link, defaults={"name": "link"}
        ),
        loopback=section.section("loopback", optional=True).build(
            Link, defaults={"name": "loopback", "bandwidth": device.memory_bandwidth}
        ),
        noise=noise_section.build(law, beside=("kind",), of=f" of noise '{noise_kind}'"),
        overhead=section.section("overhead", optional=True).build(Overhead),
        speeds=_speeds(section.section("speeds", optional=True)),
    )


def read_scheme(section: Section, cluster_section: Section, cluster: ClusterSpec) -> tuple[Scheme, tuple[int, ...]]:
    """The scheme with its number of workers resolved, and the host of every rank."""
    kind, scheme = section.choose(scheme_kinds(), "scheme")
    options = section.build(scheme.Options, beside=("kind", "placement"), of=f" of scheme '{kind}'")
    hosts = cluster.hosts
    if options.workers > MAX_ACTORS:
        raise section.error("workers", f"{options.workers} workers are too many; the limit is {MAX_ACTORS}")
    with section.blamed(None):
        extra = scheme.extra_actors(options)
        workers = options.workers or max(1, hosts - extra)
        built = scheme(dataclasses.replace(options, workers=workers))
        roles = built.roles()
    total = sum(role.count for role in roles)
    if total > MAX_ACTORS:
        raise section.error(None, f"{total} actors are too many; the limit is {MAX_ACTORS}")
    with section.blamed(None):
        built.groups()
    chosen = _placement(section, cluster_section)
    with (section if "placement" in section.data else cluster_section).blamed("placement"):
        return built, place(roles, hosts, chosen)


def read_optimizer(section: Section) -> Optimizer:
    """The optimiser; plain SGD if the document has none."""
    if not section.data:
        section = Section({"kind": "sgd"}, section.path, section.places)
    return Optimizer(*_kind_and_options(section, optimizer_kinds(), "optimizer"))


def _kind_and_options(section: Section, table: Mapping[str, type], what: str) -> tuple[str, dict[str, Any]]:
    """The kind, and all options of its class, defaults included."""
    kind, cls = section.choose(table, what)
    options: Any = section.build(cls, beside=("kind",), of=f" of {what} '{kind}'")
    return kind, {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def _speeds(section: Section) -> dict[int, float]:
    """Speeds by worker; an index may be text, as it is after the document has travelled as JSON."""
    for index, speed in section.data.items():
        if not (isinstance(index, int) and index >= 0) and not (isinstance(index, str) and index.isdecimal()):
            raise section.error(index, "is no worker index: write {3: 0.5} to halve the speed of worker 3", at_key=True)
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not _MIN_SPEED <= speed <= _MAX_SPEED:
            raise section.error(index, f"{shorten(speed)} must be a number from {_MIN_SPEED:g} to {_MAX_SPEED:g}")
    return {int(index): float(speed) for index, speed in section.data.items()}


def _placement(scheme: Section, cluster: Section) -> dict[str, list[int]]:
    """Role -> hosts, given under the scheme or under the cluster."""
    if "placement" in scheme.data and "placement" in cluster.data:
        raise scheme.error("placement", "is given under cluster too: keep one of the two", at_key=True)
    holder = scheme if "placement" in scheme.data else cluster
    section = holder.section("placement", optional=True)
    for role, hosts in section.data.items():
        if not isinstance(hosts, list) or not all(
            isinstance(host, int) and not isinstance(host, bool) for host in hosts
        ):
            raise section.error(role, f"{shorten(hosts)} must be a list of hosts, as in [0, 1]")
    return {str(role): hosts for role, hosts in section.data.items()}
