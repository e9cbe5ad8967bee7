"""Routes: minimal, deterministic, spread; around cables that are cut; hashed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.cluster.cluster import Cluster
from parasim.cluster.dragonfly import Dragonfly
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.full import Full
from parasim.cluster.hierarchical import Hierarchical
from parasim.cluster.hosts import Device, Host
from parasim.cluster.hypercube import Hypercube
from parasim.cluster.layers import Layers
from parasim.cluster.line import Line
from parasim.cluster.links import Link
from parasim.cluster.ring import Ring
from parasim.cluster.routing import Ecmp, MinimalRoutes, Routing, Shortest
from parasim.cluster.topology import Topology, join
from parasim.cluster.torus import Torus
from parasim.errors import ScenarioError
from tests.clusters import LOOPBACK, MEDIUM, SMALL, built, graph, nodes_of, routed, wired
from tests.effort import in_one_test

ROUTINGS = [Shortest(), Ecmp(), Ecmp(7)]


def pairs(hosts: int) -> list[tuple[int, int]]:
    return [(a, b) for a, b in itertools.product(range(hosts), repeat=2) if a != b]


def without(topology: Topology, *cut: tuple[int, int]) -> Cluster:
    """The cluster without some cables, both directions."""
    wiring = wired(topology)
    gone = {*cut, *((b, a) for a, b in cut)}
    links = {ends: link for ends, link in wiring.links.items() if ends not in gone}
    return join(replace(wiring, links=links), lambda _: LOOPBACK, Shortest())


@pytest.mark.parametrize("routing", ROUTINGS, ids=repr)
@in_one_test("topology", [*SMALL, *MEDIUM])
def test_routes_have_the_fewest_links(topology: Topology, routing: Shortest | Ecmp) -> None:
    cluster = routed(topology, routing)
    network = graph(wired(topology))
    for source in range(topology.hosts):
        lengths = nx.single_source_shortest_path_length(network, source)
        for destination in range(topology.hosts):
            if source != destination:
                nodes = nodes_of(cluster, source, destination)
                assert nodes[-1] == destination
                assert len(nodes) - 1 == lengths[destination]
                assert nx.is_simple_path(network, nodes)


@in_one_test("topology", MEDIUM)
def test_shortest_routes_go_on_by_destination_alone(topology: Topology) -> None:
    cluster = built(topology)
    following: dict[tuple[int, int], int] = {}
    for source, destination in pairs(topology.hosts):
        for node, after in itertools.pairwise(nodes_of(cluster, source, destination)):
            assert following.setdefault((node, destination), after) == after


@in_one_test("topology", MEDIUM)
def test_routes_do_not_depend_on_the_order_of_questions(topology: Topology) -> None:
    asked = pairs(topology.hosts)[:: max(1, topology.hosts // 4)]
    for routing in (Shortest(), Ecmp(3)):
        forwards, backwards = routed(topology, routing), routed(topology, routing)
        there = {pair: forwards.route(*pair) for pair in asked}
        assert there == {pair: backwards.route(*pair) for pair in reversed(asked)}


def some_routes() -> list[tuple[int, ...]]:
    return [
        routed(topology, routing).route(source, destination)
        for topology in (Torus((3, 5)), FatTree(4), Dragonfly(4, 3, 2))
        for routing in (Shortest(), Ecmp(5))
        for source in range(0, topology.hosts, 3)
        for destination in range(1, topology.hosts, 2)
    ]


def test_routes_are_the_same_in_every_process() -> None:
    program = "from tests.test_routing import some_routes; print(some_routes())"
    hashing = {"PYTHONHASHSEED": "12345", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=hashing)
    assert ran.stdout.strip() == str(some_routes())


def test_fat_trees_deal_destinations_as_d_mod_k() -> None:
    """Zahavi 2012: at level l, up-link floor(d / (w_1 ... w_l)) mod w_{l+1}."""
    cluster = built(FatTree(8))
    half = 4
    for source, destination in pairs(128)[::7]:
        names = [cluster.node_name(node) for node in nodes_of(cluster, source, destination)]
        if len(names) >= 5:
            assert names[2] == f"agg{source // 16 * half + destination % half}"
        if len(names) == 7:
            assert names[3] == f"core{destination % half * half + destination // half % half}"


@pytest.mark.parametrize(
    "topology",
    [
        FatTree(4),
        FatTree(6),
        FatTree(children=(8, 4), parents=(1, 4)),
        FatTree(children=(4, 2, 4), parents=(1, 4, 2)),
        FatTree(children=(4, 2, 4), parents=(1, 2, 4)),
        FatTree(children=(2, 2, 2, 2), parents=(1, 2, 2, 2)),
        Hierarchical(4, 8, 5.0, uplinks=4),
    ],
    ids=repr,
)
def test_all_uplinks_are_used_alike_when_everyone_talks_to_everyone(topology: Topology) -> None:
    cluster = built(topology)
    load = Counter(link for pair in pairs(topology.hosts) for link in cluster.route(*pair))
    by_level: dict[tuple[str, str], set[int]] = {}
    for link in range(len(cluster.links)):
        start, end = cluster.ends(link)
        if start != end:
            stems = tuple(cluster.node_name(node).rstrip("0123456789") for node in (start, end))
            by_level.setdefault((stems[0], stems[1]), set()).add(load[link])
    assert all(len(loads) == 1 for loads in by_level.values()), by_level
    assert all(min(loads) > 0 for loads in by_level.values())


def test_tori_go_in_dimension_order_the_shorter_way() -> None:
    cluster = built(Torus((4, 5)))
    assert nodes_of(cluster, 0, 19) == [0, 15, 19]  # row 0 to 3 backwards, column 0 to 4 backwards
    assert nodes_of(cluster, 0, 12) == [0, 5, 10, 11, 12]  # half-way to an even row: upwards
    assert nodes_of(cluster, 5, 17) == [5, 0, 15, 16, 17]  # half-way to an odd row: downwards
    assert nodes_of(cluster, 3, 0) == [3, 4, 0]


def test_rings_share_what_is_half_way() -> None:
    cluster = built(Ring(4))
    load = Counter(link for pair in pairs(4) for link in cluster.route(*pair))
    assert set(load.values()) == {2}


def test_hypercubes_put_the_lowest_digit_right_first() -> None:
    assert nodes_of(built(Hypercube(4)), 0b0000, 0b1011) == [0b0000, 0b0001, 0b0011, 0b1011]


def test_dragonflies_take_one_global_cable_unless_two_are_shorter() -> None:
    topology = Dragonfly(9, 4, 2)
    cluster = built(topology)
    for source, destination in pairs(72)[::5]:
        groups = [(node - 72) // 4 for node in nodes_of(cluster, source, destination)[1:-1]]
        routers = len(groups)
        crossings = sum(a != b for a, b in itertools.pairwise(groups))
        apart = source // 8 != destination // 8
        assert crossings == (1 if apart else 0) or (crossings == 2 and routers == 3)


def test_routes_go_around_a_cut_cable_and_others_stay() -> None:
    for topology in (Ring(6), Torus((3, 4)), Hypercube(3), Full(5), FatTree(4)):
        whole = built(topology)
        cut = whole.ends(whole.route(0, topology.hosts - 1)[len(whole.route(0, topology.hosts - 1)) // 2])
        cluster = without(topology, cut)
        network = graph(wired(topology))
        network.remove_edges_from([cut, cut[::-1]])
        moved = 0
        for source, destination in pairs(topology.hosts):
            nodes = nodes_of(cluster, source, destination)
            before = nodes_of(whole, source, destination)
            assert len(nodes) - 1 == nx.shortest_path_length(network, source, destination)
            if {cut, cut[::-1]}.isdisjoint(itertools.pairwise(before)):
                assert nodes == before or topology.kind == "fat_tree"  # whose choice may have one up-link less
            else:
                moved += 1
                assert {cut, cut[::-1]}.isdisjoint(itertools.pairwise(nodes))
        assert moved


def test_a_cut_that_parts_the_cluster_names_the_hosts() -> None:
    cluster = without(Line(4), (1, 2))
    assert cluster.route(0, 1)
    with pytest.raises(ScenarioError) as error:
        cluster.path(0, 3)
    assert str(error.value) == (
        "no route from host 0 (host0) to host 3 (host3): join them by links, mend a cable that is cut, or place no"
        " actors that talk to each other on these two"
    )


def test_ecmp_spreads_the_pairs_of_one_destination() -> None:
    """Of 96 sources in other pods to one host, each of 16 core switches gets some, and not all the same number."""
    topology = FatTree(8)
    found: dict[int, list[str]] = {}
    for seed in (0, 1):
        cluster = routed(topology, Ecmp(seed))
        found[seed] = [cluster.node_name(nodes_of(cluster, source, 0)[3]) for source in range(16, 128)]
        count = Counter(found[seed])
        assert set(count) == {f"core{number}" for number in range(16)}
        # 112 draws of 16: beyond 7 standard deviations (2.56 each) of the mean of 7 lies less than 1e-9
        assert max(count.values()) <= 7 + 7 * 2.56
    assert found[0] != found[1]


def test_ecmp_keeps_a_pair_on_its_route() -> None:
    cluster = routed(FatTree(4), Ecmp(1))
    first = {pair: cluster.route(*pair) for pair in pairs(16)}
    again = routed(FatTree(4), Ecmp(1))
    assert first == {pair: again.route(*pair) for pair in pairs(16)}


def test_the_seed_of_ecmp_has_limits() -> None:
    with pytest.raises(ScenarioError, match="ecmp: seed must be at least 0, got -1"):
        Ecmp(-1)


@settings(deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda count: st.tuples(
            st.integers(1, count), st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=25)
        )
    ),
    st.sampled_from(ROUTINGS),
)
def test_any_directed_graph_has_its_shortest_routes(case: tuple[int, set[tuple[int, int]]], routing: Routing) -> None:
    hosts, links = case
    network = nx.DiGraph(links)
    network.add_nodes_from(range(hosts))
    routes = MinimalRoutes(hosts, sorted(links), routing)
    for source, destination in pairs(hosts):
        nodes = routes.nodes(source, destination)
        if nodes is None:
            assert not nx.has_path(network, source, destination)
        else:
            assert (nodes[0], nodes[-1]) == (source, destination)
            assert nx.is_path(network, nodes)
            assert len(nodes) - 1 == nx.shortest_path_length(network, source, destination)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3), st.data())
def test_layers_know_the_routes_found_in_their_graph(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    children, parents = zip(*sizes, strict=True)
    layers = Layers(children, parents, tuple(f"level{level}." for level in range(len(sizes))))
    wiring = layers.wiring(Host("", 1, Device("", 1.0)), [Link("", 1.0, 0.0)] * len(sizes))
    found = MinimalRoutes(layers.hosts, list(wiring.links), Shortest())
    assert wiring.router is not None
    one, other = (data.draw(st.integers(0, layers.hosts - 1)) for _ in range(2))
    if one != other:
        assert wiring.router(one, other) == found.nodes(one, other)
