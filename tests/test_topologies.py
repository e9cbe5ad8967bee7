"""Topologies: their numbers, diameters and bisections against networkx, and how they are wired."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

from parasim.cluster.dragonfly import Dragonfly
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.full import Full
from parasim.cluster.hierarchical import Hierarchical
from parasim.cluster.hypercube import Hypercube
from parasim.cluster.line import Line
from parasim.cluster.links import Link
from parasim.cluster.ring import Ring
from parasim.cluster.topologies import TOPOLOGIES
from parasim.cluster.topology import Topology
from parasim.cluster.torus import Torus
from parasim.cluster.tree import Tree
from parasim.errors import ScenarioError
from tests.clusters import HOST, LARGE, LINK, MEDIUM, SMALL, built, graph, wired


def halves(hosts: int) -> list[tuple[int, ...]]:
    """Every set of half of the hosts; of an even number, one of each two that complete each other."""
    sets = itertools.combinations(range(hosts), hosts // 2)
    return [half for half in sets if hosts % 2 or 0 in half]


def flow_from(network: Any, half: tuple[int, ...], hosts: int) -> float:
    """Largest flow from some hosts to all others together."""
    joined = network.copy()
    joined.add_edges_from(("source", host) if host in half else (host, "sink") for host in range(hosts))
    return float(nx.maximum_flow_value(joined, "source", "sink"))


def test_every_kind_is_among_the_instances() -> None:
    for instances in (SMALL, MEDIUM, LARGE):
        assert {topology.kind for topology in instances} == {*TOPOLOGIES} - {"graph"}
    assert all(type(topology) is TOPOLOGIES[topology.kind] for topology in SMALL)


@pytest.mark.parametrize("topology", SMALL, ids=repr)
def test_bisection_is_the_least_maximum_flow_between_halves(topology: Topology) -> None:
    network = graph(wired(topology))
    least = (
        min(flow_from(network, half, topology.hosts) for half in halves(topology.hosts)) if topology.hosts > 1 else 0
    )
    assert topology.bisection(LINK) == pytest.approx(least, rel=1e-12)
    doubled = Link("link", 2 * LINK.bandwidth)
    if topology.kind not in ("hierarchical", "dragonfly"):  # some of whose cables have a bandwidth of their own
        assert topology.bisection(doubled) == pytest.approx(2 * least, rel=1e-12)


@pytest.mark.parametrize(
    "extents",
    [(4, 4), (3, 5), (3, 3, 2), (5, 4), (5, 2), (7, 2), (6, 3), (2, 2, 5), (4, 2, 2), (2, 9), (2, 2, 2, 2), (2, 3, 3)],
)
def test_bisection_of_tori_is_the_least_of_all_cuts(extents: tuple[int, ...]) -> None:
    topology = Torus(extents)
    chosen = np.array(halves(topology.hosts))
    side = np.zeros((len(chosen), topology.hosts), dtype=bool)
    side[np.arange(len(chosen))[:, None], chosen] = True
    cut = sum((side[:, a] ^ side[:, b]).astype(int) for a, b in wired(topology).links if a < b)
    assert topology.bisection(LINK) == np.min(cut)


@pytest.mark.parametrize(
    "shape", [(4, 2, 2), (5, 2, 3), (5, 4, 2), (4, 4, 4), (3, 4, 4), (3, 6, 3), (6, 3, 3), (7, 2, 5)]
)
def test_bisection_of_dragonflies_is_the_least_of_all_cuts_as_far_as_it_says(shape: tuple[int, int, int]) -> None:
    topology = Dragonfly(*shape)
    hosts, routers = topology.hosts, topology.groups * topology.routers
    sides = np.arange(2 ** (routers - 1))
    of = [sides >> router & 1 for router in range(routers)]
    inner = ((a - hosts, b - hosts) for a, b in wired(topology).links if hosts <= a < b)
    cut = sum(of[a] ^ of[b] for a, b in inner)
    there = sum(of) * topology.hosts_per_router  # the cables of hosts that are moved to the other side are cut too
    least = np.min(cut + np.minimum(abs(there - hosts // 2), abs(there - (hosts - hosts // 2))))
    most_global = -(-(topology.groups - 1) // topology.routers)
    if most_global <= topology.routers:
        assert topology.bisection(LINK) == least
    else:
        assert topology.bisection(LINK) > least


@pytest.mark.parametrize("topology", [*SMALL, *MEDIUM], ids=repr)
def test_diameter_and_numbers_are_those_of_the_graph(topology: Topology) -> None:
    wiring = wired(topology)
    network = graph(wiring)
    lengths = dict(nx.all_pairs_shortest_path_length(network))
    hosts = range(topology.hosts)
    assert len(wiring.hosts) == topology.hosts
    assert [host.name for host in wiring.hosts] == [f"host{number}" for number in hosts]
    assert topology.diameter == max(lengths[a][b] for a in hosts for b in hosts)
    assert len({wiring.name(node) for node in network}) == len(network)
    assert all((end, start) in wiring.links for start, end in wiring.links)
    places = topology.places()
    assert places is not None
    assert len(set(places)) == len(network)


@pytest.mark.parametrize(
    ("topology", "switches", "cables"),
    [
        (FatTree(4), 20, 48),
        (FatTree(16), 320, 3 * 1024),
        (Tree(4, 3), 21, 84),
        (Torus((4, 5)), 0, 40),
        (Torus((4, 5, 3)), 0, 180),
        (Torus((2, 5)), 0, 5 + 10),
        (Torus((1, 5)), 0, 5),
        (Ring(5), 0, 5),
        (Ring(2), 0, 1),
        (Line(5), 0, 4),
        (Full(6), 0, 15),
        (Hypercube(4), 0, 32),
        (Dragonfly(9, 4, 2), 36, 72 + 54 + 36),
        (Hierarchical(4, 8, 1.0, uplinks=2), 6, 40),
    ],
    ids=repr,
)
def test_switches_and_cables_are_as_many_as_the_formulas_say(topology: Topology, switches: int, cables: int) -> None:
    wiring = wired(topology)
    assert (len(wiring.switches), len(wiring.links)) == (switches, 2 * cables)


def test_fat_trees_are_numbered_pod_by_pod_and_wired_as_al_fares_says() -> None:
    wiring = wired(FatTree(4))
    number = {wiring.name(node): node for node in range(36)}
    assert [f"edge{host // 2}" for host in range(16)] == [
        wiring.name(end) for start, end in wiring.links if start < 16 <= end
    ]
    for pod, edge, aggregation in itertools.product(range(4), range(2), range(2)):
        assert (number[f"edge{2 * pod + edge}"], number[f"agg{2 * pod + aggregation}"]) in wiring.links
    above = {
        aggregation: {core for core in range(4) if (number[f"agg{aggregation}"], number[f"core{core}"]) in wiring.links}
        for aggregation in range(8)
    }
    assert above == {aggregation: {0, 1} if aggregation % 2 == 0 else {2, 3} for aggregation in range(8)}


def test_k_is_short_for_children_and_parents() -> None:
    short, long = wired(FatTree(6)), wired(FatTree(children=(3, 3, 6), parents=(1, 3, 3)))
    assert (short.switches, short.links) == (long.switches, long.links)


@pytest.mark.parametrize(
    ("ratio", "edge", "core"),
    [(2.0, 1.0, 0.5), ((2.0, 1.0), 0.5, 0.5), ((1.0, 4.0), 1.0, 0.25), ((2.0, 3.0), 0.5, 1 / 6)],
)
def test_oversubscription_is_what_comes_up_over_what_goes_up(ratio: Any, edge: float, core: float) -> None:
    wiring = wired(FatTree(4, oversubscription=ratio))
    speeds = {
        re.sub(r"\d", "", f"{wiring.name(a)}-{wiring.name(b)}"): link.bandwidth for (a, b), link in wiring.links.items()
    }
    assert speeds["host-edge"] == speeds["edge-host"] == 1.0
    assert speeds["edge-agg"] == speeds["agg-edge"] == edge
    assert speeds["agg-core"] == speeds["core-agg"] == core


def test_oversubscription_of_uneven_levels_sets_their_ratio() -> None:
    """Eight hosts below, two cables up: without a ratio 4:1 by count, with 1:1 each is as fast as four."""
    for given, speed in ((), 1.0), (1.0, 4.0), ((2.0,), 2.0):
        wiring = wired(FatTree(children=(8, 4), parents=(1, 2), oversubscription=given))
        assert {link.bandwidth for ends, link in wiring.links.items() if min(ends) >= 32} == {speed}


def test_hierarchical_is_fast_inside_and_numbered_node_by_node() -> None:
    wiring = Hierarchical(3, 4, 50.0, 1e-6, uplinks=2).wiring(HOST, LINK)
    assert wiring.switches == ("node0", "node1", "node2", "central0", "central1")
    for host in range(12):
        inside = wiring.links[host, 12 + host // 4]
        assert (inside.bandwidth, inside.latency) == (50.0, 1e-6)
    assert wiring.links[12, 15] == wiring.links[12, 16] == LINK


def test_tori_are_numbered_row_by_row() -> None:
    links = wired(Torus((3, 4))).links
    assert {end for start, end in links if start == 5} == {4, 6, 1, 9}
    assert {end for start, end in links if start == 0} == {1, 3, 4, 8}


def test_dragonfly_spreads_global_cables_over_its_routers() -> None:
    topology = Dragonfly(9, 4, 2)
    wiring = wired(topology)
    count = dict.fromkeys(range(36), 0)
    pairs = set()
    for start, end in wiring.links:
        a, b = start - 72, end - 72
        if a >= 0 and b >= 0 and a // 4 != b // 4:
            count[a] += 1
            pairs.add((a // 4, b // 4))
    assert set(count.values()) == {2}
    assert len(pairs) == 9 * 8


def test_global_cables_of_a_dragonfly_may_be_of_their_own() -> None:
    links = wired(Dragonfly(3, 2, 1, 5.0, 0.25)).links
    between = {ends for ends in links if min(ends) >= 6 and (ends[0] - 6) // 2 != (ends[1] - 6) // 2}
    assert len(between) == 6
    assert {(links[ends].bandwidth, links[ends].latency) for ends in between} == {(5.0, 0.25)}
    assert {link for ends, link in links.items() if ends not in between} == {LINK}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dragonfly(2, 2, 1, 0.0), "dragonfly: global_bandwidth must be greater than 0, got 0.0"),
        (lambda: Torus(()), "torus: dimensions has 0 extents: give 1 to 6, as in [4, 4]"),
        (lambda: Torus((2,) * 7), "torus: dimensions has 7 extents: give 1 to 6, as in [4, 4]"),
        (lambda: Torus((4, 0)), "torus: dimensions must be at least 1, got 0"),
        (lambda: Torus((2000, 2000)), "torus: dimensions make 2000 x 2000 = 4000000 hosts; the limit is 1000000"),
        (lambda: Full(2000), "full: hosts must be at most 1500, got 2000"),
        (lambda: Hypercube(17), "hypercube: dimension must be at most 16, got 17"),
        (lambda: Tree(10, 10), "tree: 10^10 = 10000000000 hosts; the limit is 1000000"),
        (lambda: FatTree(5), "fat_tree: k must be even, got 5: half of a switch's ports lead up"),
        (FatTree, "fat_tree: give k: 4, or children: [8, 4] and parents: [1, 2]: one of the two"),
        (
            lambda: FatTree(4, children=(2,), parents=(1,)),
            "fat_tree: give k: 4, or children: [8, 4] and parents: [1, 2]: one of the two",
        ),
        (
            lambda: FatTree(children=(2, 2), parents=(1,)),
            "fat_tree: children has 2 levels and parents 1: give both as many, 1 to 8",
        ),
        (
            lambda: FatTree(4, oversubscription=(2.0,)),
            "fat_tree: oversubscription has 1 ratios: give 2, one for each level of switches with a level above it,"
            " from the edge up",
        ),
        (lambda: FatTree(4, oversubscription=0.0), "fat_tree: oversubscription must be from 0.001 to 1000, got 0.0"),
        (
            lambda: FatTree(children=(4,), parents=(1,), oversubscription=2.0),
            "fat_tree: oversubscription needs two levels of switches or more",
        ),
        (
            lambda: FatTree(children=(1000, 1000), parents=(1, 9)),
            "fat_tree: 1000000 hosts and 1009 switches are too many",
        ),
        (lambda: Dragonfly(2000, 2, 1), "dragonfly: 4000 hosts and 2005000 cables; the limit is 1000000"),
        (lambda: Hierarchical(2000, 1000, 1.0), "hierarchical: 2000000 hosts or uplinks; the limit is 1000000"),
    ],
)
def test_wrong_sizes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("topology", LARGE, ids=repr)
def test_a_thousand_hosts_are_built_without_looking_for_routes(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Link is made for each kind of cable and not for each cable; routes are looked for when one is asked for."""
    made = 0
    check = Link.__post_init__

    def counted(self: Link) -> None:
        nonlocal made
        made += 1
        check(self)

    monkeypatch.setattr(Link, "__post_init__", counted)
    cluster = built(topology)
    assert len(cluster.hosts) == topology.hosts == 1024
    assert made <= 6
    assert not cluster._minimal._after
    cluster.path(0, 1023)
    assert len(cluster._minimal._distances) <= 1
