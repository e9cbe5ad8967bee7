"""What a testbed consists of, before anything is built: no rights are needed."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from calibration.testbed.build import cable_lines, node_lines
from calibration.testbed.limits import check_limits
from calibration.testbed.plan import Plan, address, plan_of
from calibration.testbed.shaping import GOODPUT, Shape, queue_lines
from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.routing import Ecmp, Routing, Shortest
from parasim.cluster.topologies import TOPOLOGIES
from parasim.cluster.topology import join
from parasim.errors import ExecutionError, ScenarioWarning

HOST = Host("host", 1, Device("cpu", flops=1e9, memory_bandwidth=1e9))
TOPOLOGIES_TRIED: list[tuple[str, dict[str, Any]]] = [
    ("star", {"hosts": 5}),
    ("line", {"hosts": 4}),
    ("ring", {"hosts": 6}),
    ("full", {"hosts": 4}),
    ("torus", {"dimensions": (3, 3)}),
    ("hypercube", {"dimension": 3}),
    ("fat_tree", {"k": 4}),
]


def cluster(kind: str, options: Mapping[str, Any], mbit: float = 100.0, routing: Routing | None = None) -> Cluster:
    wiring = TOPOLOGIES[kind](**options).wiring(HOST, Link("link", mbit * 1e6 / 8, 0.0))
    return join(wiring, lambda _: Link("loopback", 1e9), routing or Shortest())


def walked(plan: Plan, source: int, destination: int) -> tuple[int, ...]:
    """The nodes that a packet passes by the tables of each node."""
    here, passed = source, [source]
    while here != destination:
        by_destination, by_pair = plan.hops(here)
        here = by_pair.get((source, destination), by_destination[destination])
        passed.append(here)
        assert len(passed) <= len(plan.nodes())
    return tuple(passed)


@pytest.mark.parametrize("routing", [Shortest(), Ecmp(3)])
@pytest.mark.parametrize(("kind", "options"), TOPOLOGIES_TRIED)
def test_packets_take_the_routes_of_the_simulator(kind: str, options: dict[str, Any], routing: Routing) -> None:
    built = cluster(kind, options, routing=routing)
    plan = plan_of(built, range(len(built.hosts)))
    for source, destination in itertools.permutations(range(len(built.hosts)), 2):
        links = [built.ends(link) for link in built.route(source, destination)]
        assert list(itertools.pairwise(walked(plan, source, destination))) == links


def test_where_sources_disagree_a_node_has_a_route_for_the_pair_and_else_one_for_the_destination() -> None:
    agreed = plan_of(cluster("fat_tree", {"k": 4}), range(16))
    assert not any(agreed.hops(node)[1] for node in agreed.nodes())
    parted = plan_of(cluster("fat_tree", {"k": 4}, routing=Ecmp(1)), range(16))
    assert any(parted.hops(node)[1] for node in parted.nodes() if node >= 16)
    lines = [line for node in parted.nodes() for line in node_lines(parted, node)[0]]
    pairs = sum(len(parted.hops(node)[1]) for node in parted.nodes())
    assert sum(line.startswith("rule add from") for line in lines) == pairs


def test_only_what_the_placement_needs_is_built() -> None:
    built = cluster("fat_tree", {"k": 4})
    assert plan_of(built, [0, 0]).nodes() == [0]
    assert plan_of(built, [0, 0]).cables() == []
    neighbours = plan_of(built, [0, 1])
    assert neighbours.hosts == (0, 1)
    assert len(neighbours.nodes()) == 3
    everything = plan_of(built, range(16))
    assert (len(everything.nodes()), len(everything.cables())) == (36, 48)


def test_cables_and_both_their_directions_have_their_own_bandwidths() -> None:
    links = {(0, 2): Link("", 1e7), (2, 0): Link("", 2e7), (1, 2): Link("", 3e7), (2, 1): Link("", 4e7)}
    plan = plan_of(Cluster([HOST, HOST], links), [0, 1])
    assert dict(plan.bandwidths) == {ends: link.bandwidth for ends, link in links.items()}
    for node, other, rate in ((0, 2, 1e7), (2, 0, 2e7), (1, 2, 3e7), (2, 1, 4e7)):
        lines = [line for line in node_lines(plan, node)[1] if f"dev to{other} " in line]
        assert [f"htb rate {rate:.0f}bps" in line for line in lines].count(True) == 1
    ends = {node: f"/proc/1/fd/{node}" for node in plan.nodes()}
    assert len(cable_lines(plan, 0, ends)) == len(cable_lines(plan, 1, ends)) == 1
    assert cable_lines(plan, 2, ends) == []


def test_every_flow_over_a_link_has_a_queue_and_they_share_one_bandwidth() -> None:
    flows = [(0, 1), (2, 1), (3, 1)]
    lines = queue_lines("to1", Shape.of(12.5e6, 8), flows)
    queues = [line for line in lines if "parent 1:2 " in line and "ceil 12500000bps" in line]
    assert len(queues) == len(flows) + 1
    matches = [line for line in lines if "match ip src" in line]
    for line, (source, destination) in zip(matches, flows, strict=True):
        assert f"src {address(source)}/32" in line
        assert f"dst {address(destination)}/32" in line
    assert len({line.split("flowid ")[1] for line in matches}) == len(flows)


def test_segments_and_bursts_grow_with_bandwidth_up_to_what_tcp_hands_down() -> None:
    slow, fast, faster = (Shape.of(mbit * 1e6 / 8, 8) for mbit in (1, 100, 2000))
    assert slow.segment < fast.segment < faster.segment <= 65_536
    assert slow.burst < fast.burst < faster.burst
    assert Shape.of(12.5e6, 96).segment > fast.segment, "many links: fewer and larger pieces"
    assert 0.9 < GOODPUT < 1.0


def test_links_that_no_machine_shapes_are_refused_and_much_load_is_told_of() -> None:
    with pytest.raises(ExecutionError, match=r"link host0->switch of 100000 Mbit/s; .* set cluster.link.bandwidth"):
        check(100_000.0)
    with pytest.raises(ExecutionError, match=r"of 0.01 Mbit/s"):
        check(0.01)
    with pytest.warns(ScenarioWarning, match="hosts may send 8000 Mbit/s in all"):
        check(2000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(100.0)


def check(mbit: float) -> None:
    built = cluster("star", {"hosts": 4}, mbit)
    check_limits(plan_of(built, range(4)), built)
