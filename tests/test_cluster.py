"""Clusters: hosts, directed links, static routes, the star, and the time of a kernel on a device."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.star import Star, star
from parasim.cluster.topology import build
from parasim.errors import ScenarioError
from parasim.program.ops import Kernel
from parasim.simulation.devices import kernel_seconds
from tests.pods import pods

DEVICE = Device("cpu", flops=1e9, memory=1e9, memory_bandwidth=1e8, launch=1e-6)
LINK = Link("link", 1e6, 1e-3)


def hosts(count: int) -> list[Host]:
    return [Host(f"host{number}", 1, DEVICE) for number in range(count)]


def test_star_takes_two_links_of_its_own_for_each_pair() -> None:
    cluster = star(3, LINK, Link("memory", 1e9, 1e-6), cores=4, device=DEVICE)
    assert [cluster.links[number].name for number in cluster.route(0, 2)] == ["host0->switch", "switch->host2"]
    assert [cluster.links[number].name for number in cluster.route(2, 0)] == ["host2->switch", "switch->host0"]
    assert cluster.route_latency(0, 2) == 2e-3
    assert cluster.route_bandwidth(0, 2) == 1e6
    assert cluster.hosts[2] == Host("host2", 4, DEVICE)


def test_star_keeps_traffic_of_one_host_on_its_loopback() -> None:
    cluster = star(2, LINK, Link("memory", 1e9, 1e-6), cores=1, device=DEVICE)
    assert [cluster.links[number] for number in cluster.route(1, 1)] == [Link("host1->host1", 1e9, 1e-6)]


@pytest.mark.parametrize("cluster", [pods(7, thin={1}), pods(7, pod=3)], ids=["star", "pods"])
@pytest.mark.parametrize("pairs", [[(0, 1), (6, 2), (1, 5)], [(0, 1), (3, 3)], [(0, 6), (1, 0)], []])
def test_routes_of_many_pairs_are_those_of_each(cluster: Cluster, pairs: list[tuple[int, int]]) -> None:
    routes = cluster.paths([start for start, _ in pairs], [end for _, end in pairs])
    expected = [cluster.path(*pair) for pair in pairs]
    assert routes.links.tolist() == [link for path in expected for link in path.links]
    assert routes.counts.tolist() == [len(path.links) for path in expected]
    assert routes.latency.tolist() == [path.latency for path in expected]
    assert routes.bandwidth.tolist() == [path.bandwidth for path in expected]


def test_hosts_that_share_all_but_their_names_are_of_one_kind() -> None:
    first, other = Host("a", 1, DEVICE), Device("other", flops=1e9)
    changes: list[dict[str, Any]] = [{}, {"cores": 2}, {}, {"device": other}, {"cores": 2}]
    them = [replace(first, name=f"host{number}", **change) for number, change in enumerate(changes)]
    cluster = Cluster(them, {})
    assert cluster.kinds.hosts == (them[0], them[1], them[3])
    assert cluster.kinds.of.tolist() == [0, 1, 0, 2, 1]
    devices, device_of = cluster.devices((3, 0, 4, 3))
    assert [devices[number] for number in device_of] == [other, DEVICE, DEVICE, other]
    assert len(devices) == 2
    assert len(cluster.devices((2, 1))[0]) == 1


def test_routes_to_a_host_that_is_not_there_name_it() -> None:
    with pytest.raises(ScenarioError, match="no host 7: the cluster has hosts 0 to 6"):
        pods(7).paths([0], [7])


def test_default_routes_have_the_fewest_links_and_follow_directions() -> None:
    ring = Cluster(hosts(4), {(a, (a + 1) % 4): Link(f"{a}", 10.0 + a, 1.0) for a in range(4)})
    assert ring.route(0, 1) == (0,)
    assert ring.route(1, 0) == (1, 2, 3)
    assert ring.path(1, 0) == ((1, 2, 3), 3.0, 11.0)


def test_destinations_are_dealt_over_equal_routes_in_the_order_of_links() -> None:
    links = {(0, 4): LINK, (0, 3): LINK, (3, 1): LINK, (4, 1): LINK, (3, 2): LINK, (4, 2): LINK}
    cluster = Cluster(hosts(3), links)
    assert cluster.route(0, 2) == (0, 5)  # 2 mod 2: the first link
    assert cluster.route(0, 1) == (1, 2)


def test_a_router_is_asked_once_for_each_pair() -> None:
    asked: list[tuple[int, int]] = []

    def router(source: int, destination: int) -> tuple[int, ...]:
        asked.append((source, destination))
        return (source, 9, destination)

    cluster = Cluster(hosts(2), {(0, 1): LINK, (0, 9): LINK, (9, 1): LINK}, router)
    assert cluster.route(0, 1) == cluster.route(0, 1) == (1, 2)
    assert asked == [(0, 1)]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((0, 2), "no host 2: the cluster has hosts 0 to 1"),
        ((1, 0), "no route from host 1 .host1. to host 0 .host0."),
        ((0, 0), "no link from host 0 to itself"),
    ],
)
def test_what_does_not_exist_is_named(pair: tuple[int, int], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Cluster(hosts(2), {(0, 1): LINK}).path(*pair)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link("a", 0.0), "link 'a': bandwidth must be greater than 0, got 0.0"),
        (lambda: Link("a", math.inf), "link 'a': bandwidth must be finite, got inf"),
        (lambda: Link("a", 1.0, -1.0), "link 'a': latency must be at least 0, got -1.0"),
        (lambda: Device("cpu", math.nan), "device 'cpu': flops must be greater than 0, got nan"),
        (lambda: Device("cpu", 1.0, memory=0.0), "device 'cpu': memory must be greater than 0, got 0.0"),
        (lambda: Device("cpu", 1.0, launch=-1.0), "device 'cpu': launch must be at least 0, got -1.0"),
        (lambda: Device("cpu", 1.0, launch=math.inf), "device 'cpu': launch must be finite, got inf"),
        (lambda: Host("a", 0, DEVICE), "host 'a': cores must be at least 1, got 0"),
        (lambda: Star(0), "star: hosts must be at least 1, got 0"),
    ],
)
def test_wrong_numbers_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        make()
    assert str(error.value) == message


def test_memory_has_no_limit_unless_it_is_given() -> None:
    assert (Device("fast", 1e9).memory, Device("fast", 1e9).memory_bandwidth) == (math.inf, math.inf)


def test_equal_hosts_and_links_make_a_cluster() -> None:
    cluster = build(Star(3), Host("host", 4, DEVICE), LINK, Link("memory", 1e9))
    assert len({host.name for host in cluster.hosts}) == 3
    assert {(host.cores, host.device) for host in cluster.hosts} == {(4, DEVICE)}
    for source, destination in itertools.product(range(3), repeat=2):
        expected = 1e9 if source == destination else LINK.bandwidth
        assert cluster.route_bandwidth(source, destination) == expected


def test_a_route_that_lost_a_link_goes_another_way() -> None:
    links = {(0, 9): LINK, (9, 1): LINK, (1, 9): LINK, (9, 0): LINK, (0, 1): LINK}

    def router(source: int, destination: int) -> tuple[int, ...]:
        return (source, destination)

    cluster = Cluster(hosts(2), links, router)
    assert cluster.route(0, 1) == (4,)
    assert cluster.route(1, 0) == (2, 3)


def test_names_of_nodes_and_links() -> None:
    cluster = build(Star(2), Host("host", 4, DEVICE), LINK, Link("memory", 1e9))
    assert [link.name for link in cluster.links] == [
        *("host0->switch", "switch->host0", "host1->switch", "switch->host1", "host0->host0", "host1->host1")
    ]
    assert [cluster.ends(number) for number in range(6)] == [(0, 2), (2, 0), (1, 2), (2, 1), (0, 0), (1, 1)]
    assert cluster.bandwidths == [link.bandwidth for link in cluster.links]
    assert Cluster(hosts(1), {(0, 5): LINK}).node_name(5) == "node5"


def test_star_of_so_many_hosts_is_a_star() -> None:
    function = star(2, LINK, LINK, 4, DEVICE)
    built = build(Star(2), Host("host", 4, DEVICE), LINK, LINK)
    assert (function.hosts, [*function.links]) == (built.hosts, [*built.links])


def test_a_kernel_is_bound_by_arithmetic_or_by_memory() -> None:
    assert kernel_seconds(DEVICE, Kernel("matmul", flops=2e9, nbytes=1e8)) == 2.0 + 1e-6
    assert kernel_seconds(DEVICE, Kernel("copy", flops=1e6, nbytes=3e8)) == 3.0 + 1e-6
    assert kernel_seconds(Device("fast", 1e9), Kernel("copy", nbytes=3e8)) == 0.0
