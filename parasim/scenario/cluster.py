"""The section `cluster` of a document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parasim.cluster.graph import Graph
from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.routing import ROUTINGS, Routing, Shortest
from parasim.cluster.topologies import TOPOLOGIES
from parasim.scenario.changes import read_changes
from parasim.scenario.check import Section, shorten
from parasim.scenario.devices import read_device
from parasim.scenario.model import ClusterSpec, Overhead
from parasim.scenario.stragglers import read_stragglers
from parasim.simulation.noise import LAWS, NoiseLaw

__all__ = ["CLUSTER_KEYS", "read_cluster"]

_MAX_CORES = 1_000_000
_MIN_SPEED, _MAX_SPEED = 1e-6, 1e6

CLUSTER_KEYS = {
    "topology": "how hosts are joined",
    "host": "every host",
    "device": "what the cores of a host compute with: numbers, or a data sheet's name",
    "link": "each link of the topology",
    "routing": "which of the routes with the fewest links is taken (default: shortest)",
    "hosts": "host or range of hosts -> cores and device, where these differ from host and device",
    "links": "name of a link (a->b) or cable (a<->b) -> its bandwidth and latency, or cut",
    "loopback": "traffic inside a host (default: the bandwidth of the device's memory, no latency)",
    "noise": "random factors on the time of kernels (default: none)",
    "overhead": "time that end points spend on messages (default: none)",
    "handling": "CPU time that messages and operations cost the cores of a host (default: none)",
    "handling_noise": "random factors on that time (default: none)",
    "handling_cores": "cores that handle the messages of all hosts together (default: each host's own, with computes)",
    "stragglers": "rules that slow down some actors for a while: whom, by how much or which law, from when until when",
    "speeds": "worker index -> speed relative to the device; 0.5 takes twice as long",
    "placement": "role -> list of hosts; may stand under scheme instead",
}


def read_cluster(section: Section, dtype: str = "float32") -> ClusterSpec:
    """The cluster; `dtype` is the workload's, whose peak is taken from data sheets."""
    section.only(CLUSTER_KEYS)
    topology_section = section.section("topology", example="{kind: star, hosts: 8}")
    kind, topology = topology_section.choose(TOPOLOGIES, "topology")
    device = read_device(section, dtype)
    loopback_section = section.section("loopback", optional=True, example="{bandwidth: 5 GB/s}")
    folder = {"folder": str(Path(section.places.source).parent)} if topology is Graph else {}
    cluster = ClusterSpec(
        topology=topology_section.build(topology, beside=("kind",), defaults=folder, of=f" of topology '{kind}'"),
        host=section.section("host", optional=True, example="{cores: 2}").build(
            Host, defaults={"name": "host", "device": device, "handling": _handling(section)}
        ),
        link=section.section("link", example="{bandwidth: 10 Gbit/s, latency: 50 us}").build(
            Link, defaults={"name": "link"}
        ),
        loopback=loopback_section.build(Link, defaults={"name": "loopback", "bandwidth": device.memory_bandwidth}),
        loopback_is_memory="bandwidth" not in loopback_section.data,
        routing=_routing(section.section("routing", optional=True, example="{kind: ecmp}")),
        noise=_noise(section, "noise"),
        handling_noise=_noise(section, "handling_noise"),
        handling_cores=_handling_cores(section),
        overhead=section.section("overhead", optional=True, example="{per_message: 1 us}").build(Overhead),
        speeds=_speeds(section.section("speeds", optional=True, example="{3: 0.5}")),
        stragglers=read_stragglers(section),
    )
    if "hosts" not in section.data and "links" not in section.data:
        return cluster
    return replace(cluster, changes=read_changes(section, cluster.wiring(), cluster.loopback_of, dtype))


def _noise(section: Section, key: str) -> NoiseLaw:
    inner = section.section(key, optional=True, example="{kind: lognormal, sigma: 0.1}")
    kind, law = inner.choose(LAWS, "noise") if inner.data else ("none", LAWS["none"])
    noise: NoiseLaw = inner.build(law, beside=("kind",), of=f" of noise '{kind}'")
    return noise


def _handling(section: Section) -> Handling:
    handling: Handling = section.section("handling", optional=True, example="{post: 20 us, hear: 20 us}").build(
        Handling
    )
    return handling


def _handling_cores(section: Section) -> int | None:
    cores = section.data.get("handling_cores")
    if cores is not None and (not isinstance(cores, int) or isinstance(cores, bool) or not 1 <= cores <= _MAX_CORES):
        raise section.error("handling_cores", f"{shorten(cores)} must be a number of cores, from 1 to {_MAX_CORES}")
    return cores


def _routing(section: Section) -> Routing:
    if not section.data:
        return Shortest()
    kind, routing = section.choose(ROUTINGS, "routing")
    return section.build(routing, beside=("kind",), of=f" of routing '{kind}'")


def _speeds(section: Section) -> dict[int, float]:
    """Speeds by worker; an index may be text, as it is after the document has travelled as JSON."""
    for index, speed in section.data.items():
        if not (isinstance(index, int) and index >= 0) and not (isinstance(index, str) and index.isdecimal()):
            raise section.error(index, "is no worker index: write {3: 0.5} to halve the speed of worker 3", at_key=True)
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not _MIN_SPEED <= speed <= _MAX_SPEED:
            raise section.error(index, f"{shorten(speed)} must be a number from {_MIN_SPEED:g} to {_MAX_SPEED:g}")
    return {int(index): float(speed) for index, speed in section.data.items()}
