"""The section `cluster` of a document."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from parasim.cluster.graph import Graph
from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.profile import LOOPBACK, Profile
from parasim.cluster.profiled import host_of, transport_of
from parasim.cluster.routing import ROUTINGS, Routing, Shortest
from parasim.cluster.star import Star
from parasim.cluster.topologies import TOPOLOGIES
from parasim.cluster.topology import Topology
from parasim.scenario.changes import read_changes
from parasim.scenario.check import Section, shorten
from parasim.scenario.devices import read_device
from parasim.scenario.model import ClusterSpec, Overhead
from parasim.scenario.profiles import PROFILE, Profiles, Vary, law_of
from parasim.scenario.stragglers import read_stragglers
from parasim.simulation.noise import LAWS, NoiseLaw

__all__ = ["CLUSTER_KEYS", "read_cluster"]

_MAX_CORES = 1_000_000
_MIN_SPEED, _MAX_SPEED = 1e-6, 1e6

CLUSTER_KEYS = {
    PROFILE: "a machine as calibrate measured it: its file, or a recorded name; other keys replace what it gives",
    "transport": "which of the profile's transports messages between hosts take (default: the only one)",
    "topology": "how hosts are joined (with a profile, default: one host)",
    "host": "every host",
    "device": "what the cores of a host compute with: numbers, or a data sheet's name",
    "link": "each link of the topology",
    "routing": "which of the routes with the fewest links is taken (default: shortest)",
    "hosts": "host or range of hosts -> profile, or cores and device, where these differ from host and device",
    "links": "name of a link (a->b) or cable (a<->b) -> its bandwidth and latency, or cut",
    "loopback": "traffic inside a host (default: the bandwidth of the device's memory, no latency)",
    "noise": "random factors on the time of kernels (default: the profile's, or none)",
    "overhead": "time that end points spend on messages (default: none)",
    "handling": "CPU time that messages and operations cost the cores of a host (default: the profile's, or none)",
    "handling_noise": "random factors on that time (default: the profile's if handling is, or none)",
    "handling_cores": "cores that handle all hosts' messages, beside paced computes (default: each host's own)",
    "stragglers": "rules that slow down some actors for a while: whom, by how much or which law, from when until when",
    "speeds": "worker index -> speed relative to the device; 0.5 takes twice as long",
    "placement": "role -> list of hosts; may stand under scheme instead",
}
"""Keys of the section."""

_OF_A_PROFILE = ("host", "device", "loopback", "noise", "overhead", "handling", "handling_noise", "handling_cores")
"""Keys that stand in the place of what a profile measured."""

_BETWEEN_HOSTS = ("link", "routing", "transport")


def read_cluster(section: Section, dtype: str = "float32", vary: Vary | None = None) -> ClusterSpec:
    """The cluster.

    Parameters
    ----------
    section
        `cluster` of a document.
    dtype
        The workload's, whose peak is taken from data sheets.
    vary
        Applied to each profile that is read: what it gives is taken instead.

    Raises
    ------
    ScenarioError
        If something in it is wrong.
    """
    section.only(CLUSTER_KEYS)
    profiles = Profiles(vary)
    profile = profiles.read(section)
    topology = _topology(section, profile)
    transport = _transport(section, profile, topology.hosts)
    host = _host(section, profile, transport, dtype)
    loopback = section.section("loopback", optional=True, example="{bandwidth: 5 GB/s}")
    own_handling = "handling" in section.data
    cluster = ClusterSpec(
        topology=topology,
        host=host,
        link=_link(section, profile, host),
        loopback=loopback.build(Link, defaults={"name": "loopback", "bandwidth": host.device.memory_bandwidth}),
        loopback_is_memory="bandwidth" not in loopback.data,
        routing=_routing(section.section("routing", optional=True, example="{kind: ecmp}")),
        noise=_noise(section, "noise", profile, "compute"),
        handling_noise=_noise(section, "handling_noise", None if own_handling else profile, "handling"),
        handling_cores=_handling_cores(section),
        overhead=section.section("overhead", optional=True, example="{per_message: 1 us}").build(Overhead),
        speeds=_speeds(section.section("speeds", optional=True, example="{3: 0.5}")),
        stragglers=read_stragglers(section),
    )
    if "hosts" in section.data or "links" in section.data:
        changes = read_changes(section, cluster.wiring(), cluster.loopback_of, dtype, profiles)
        cluster = replace(cluster, changes=changes)
    return replace(
        cluster,
        goodput=1.0 if profile is None or transport == LOOPBACK else profile.transports[transport].goodput.value,
        profiles=tuple(profiles.used.values()),
        replaced=tuple(key for key in _OF_A_PROFILE if profile is not None and key in section.data),
    )


def _topology(section: Section, profile: Profile | None) -> Topology:
    if profile is not None and "topology" not in section.data:
        for key in _BETWEEN_HOSTS:
            if key in section.data:
                what = "is between hosts, but a profile alone is one host: write topology, or leave this out"
                raise section.error(key, what, at_key=True)
        return Star(1)
    inner = section.section("topology", example="{kind: star, hosts: 8}")
    kind, cls = inner.choose(TOPOLOGIES, "topology")
    folder = {"folder": str(Path(section.places.source).parent)} if cls is Graph else {}
    topology: Topology = inner.build(cls, beside=("kind",), defaults=folder, of=f" of topology '{kind}'")
    return topology


def _transport(section: Section, profile: Profile | None, hosts: int) -> str:
    """The transport of messages between hosts."""
    name = section.data.get("transport")
    if profile is None:
        if name is not None:
            raise section.error("transport", "is one of a profile's: write profile, or leave this out", at_key=True)
        return LOOPBACK
    if name is not None and not isinstance(name, str):
        raise section.error("transport", f"{shorten(name)} must be a name: {', '.join(profile.transports) or 'none'}")
    with section.blamed("transport" if name is not None else PROFILE):
        return transport_of(profile, name, hosts)


def _host(section: Section, profile: Profile | None, transport: str, dtype: str) -> Host:
    """What every host is like that nothing else is said of."""
    with section.blamed(PROFILE):
        measured = None if profile is None else host_of(profile, transport)
    inner = section.section("host", optional=True, example="{cores: 2}")
    if measured is None:
        return inner.build(
            Host, defaults={"name": "host", "device": read_device(section, dtype), "handling": _handling(section)}
        )
    defaults = {entry.name: getattr(measured, entry.name) for entry in fields(Host)}
    if "device" in section.data:
        defaults |= {"device": read_device(section, dtype), "contention": ()}
    if "handling" in section.data:
        defaults |= {"handling": _handling(section), "native": Handling()}
    return inner.build(Host, defaults=defaults)


def _link(section: Section, profile: Profile | None, host: Host) -> Link:
    """Each link of the topology; one host alone, as a profile describes it, has none that is used."""
    if profile is not None and "topology" not in section.data:
        return Link("link", host.device.memory_bandwidth)
    return section.section("link", example="{bandwidth: 10 Gbit/s, latency: 50 us}").build(
        Link, defaults={"name": "link"}
    )


def _noise(section: Section, key: str, profile: Profile | None, what: str) -> NoiseLaw:
    if profile is not None and key not in section.data:
        with section.blamed(PROFILE):
            return law_of(profile, what)
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
