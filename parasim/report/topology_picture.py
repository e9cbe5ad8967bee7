"""What a picture of a cluster shows: symbols at places and cables between them; of a large cluster, fewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from parasim.cluster.topology import Place, Wiring
from parasim.report.topologies import Cable, cables_of
from parasim.scenario.model import ClusterSpec

__all__ = ["Picture", "Symbol", "picture_of"]

_MAX_HOSTS = 96  # of more, those at one switch are drawn as one symbol
_MAX_CABLES = 6_000
_FEW = 64
_MAX_SETTLED = 150  # nodes of a graph that is laid out with care


class Symbol(NamedTuple):
    """A host, a switch, or several hosts; `changed` where hosts or cables are of their own."""

    place: Place
    label: str
    is_host: bool
    changed: bool


class Picture(NamedTuple):
    """Symbols, cables and cut cables (their `ends` are numbers of symbols), and a note on what is left out.

    Places are in units of the distance of the two nearest symbols.
    """

    symbols: list[Symbol]
    cables: list[Cable]
    cut: list[Cable]
    note: str


def picture_of(cluster: ClusterSpec) -> Picture:
    """Choose what is shown of a cluster."""
    wiring = cluster.wiring()
    whole = cluster.topology.wiring(cluster.host, cluster.link)
    places = cluster.topology.places() or _settled(whole)
    plain = cluster.host.cores, cluster.host.device
    changed = {number for number, host in enumerate(wiring.hosts) if (host.cores, host.device) != plain}
    host_count = len(wiring.hosts)
    cables = cables_of(wiring)
    removed = {ends: link for ends, link in whole.links.items() if ends not in wiring.links}
    cut = cables_of(Wiring(whole.hosts, whole.switches, removed))
    symbols = [
        Symbol(place, _label(wiring, node), node < host_count, node in changed) for node, place in enumerate(places)
    ]
    notes = []
    groups = _hosts_by_switch(whole) if host_count > _MAX_HOSTS else None
    if groups:
        symbols, numbers = _merged(symbols, groups)
        cables = _renumbered(cables, numbers)
        cut = _renumbered(cut, numbers)
        notes.append(f"{host_count} hosts drawn as {len(groups)} groups, one of each switch")
    if len(cables) > _MAX_CABLES:
        of_first = [cable for cable in cables if 0 in cable.ends]
        few = of_first[:: 1 + len(of_first) // _FEW]
        notes.append(f"{len(cables)} cables, of which {len(few)} are drawn")
        cables = few
    nearest = _nearest([symbol.place for symbol in symbols])
    symbols = [symbol._replace(place=(symbol.place[0] / nearest, symbol.place[1] / nearest)) for symbol in symbols]
    return Picture(symbols, cables, cut, "; ".join(notes))


def _nearest(places: Sequence[Place]) -> float:
    """Distance of the two nearest places."""
    from scipy.spatial import KDTree

    return float(KDTree(places).query(places, k=2)[0][:, 1].min()) if places[1:] else 1.0


def _label(wiring: Wiring, node: int) -> str:
    """The number of a host called after it, the last part of a switch's name, else the name."""
    name = wiring.name(node)
    if node < len(wiring.hosts):
        return str(node) if name == f"host{node}" else name
    last = name.rpartition(".")[2]
    return name if last.isdecimal() else last


def _hosts_by_switch(wiring: Wiring) -> dict[int, list[int]] | None:
    """Hosts of each switch, if every host is joined to one switch and nothing else."""
    count = len(wiring.hosts)
    switch_of: dict[int, int] = {}
    for start, end in wiring.links:
        if start < count and (end < count or switch_of.setdefault(start, end) != end):
            return None
    groups: dict[int, list[int]] = {}
    for host in range(count):
        if host not in switch_of:
            return None
        groups.setdefault(switch_of[host], []).append(host)
    return groups if len(groups) > 1 else None


def _merged(symbols: Sequence[Symbol], groups: dict[int, list[int]]) -> tuple[list[Symbol], dict[int, int]]:
    """One symbol for the hosts of each switch; and the new number of every node."""
    merged: list[Symbol] = []
    numbers: dict[int, int] = {}
    for hosts in groups.values():
        for host in hosts:
            numbers[host] = len(merged)
        x = sum(symbols[host].place[0] for host in hosts) / len(hosts)
        y = sum(symbols[host].place[1] for host in hosts) / len(hosts)
        changed = any(symbols[host].changed for host in hosts)
        merged.append(Symbol((x, y), f"{hosts[0]}-{hosts[-1]}", True, changed))
    for node, symbol in enumerate(symbols):
        if node not in numbers:
            numbers[node] = len(merged)
            merged.append(symbol)
    return merged, numbers


def _renumbered(cables: Sequence[Cable], numbers: dict[int, int]) -> list[Cable]:
    """Cables between symbols; those that look alike are one."""
    found: dict[tuple[object, ...], Cable] = {}
    for cable in cables:
        ends = numbers[cable.ends[0]], numbers[cable.ends[1]]
        found.setdefault((ends, cable.bandwidth, cable.latency), cable._replace(ends=ends))
    return list(found.values())


def _settled(wiring: Wiring) -> list[Place]:
    """Places of the nodes of any graph: those that are joined come near each other."""
    import networkx as nx

    graph = nx.Graph()
    count = len(wiring.hosts) + len(wiring.switches)
    graph.add_nodes_from(range(count))
    graph.add_edges_from(wiring.links)
    if count <= _MAX_SETTLED:
        found = nx.kamada_kawai_layout(graph)
    else:
        found = nx.spring_layout(graph, seed=0, iterations=30)
    size = math.sqrt(count) * 0.9
    return [(float(found[node][0]) * size, float(found[node][1]) * size) for node in range(count)]
