"""Clusters in scenarios: hosts and links of their own, cut cables, routing; and what they change, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import simpy

import parasim
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.routing import Ecmp
from parasim.errors import ScenarioError
from parasim.scenario import from_document
from parasim.scenario.schema import schema
from parasim.simulation.network import Network
from tests.clusters import built
from tests.test_scenario_schema import accepts

CASE: dict[str, Any] = {
    "workload": {
        "model": {"kind": "layers", "layers": [{"name": "all", "parameters": 1_000_000, "forward_flops": 1e6}]},
        "batch_size": 10,
    },
    "cluster": {
        "topology": {"kind": "ring", "hosts": 4},
        "device": {"flops": "1000000 EFLOP/s", "memory": "16 GiB", "memory_bandwidth": "1000000 EB/s"},
        "link": {"bandwidth": "1 GB/s", "latency": "100 us"},
    },
    "scheme": {"kind": "allreduce", "algorithm": "ring", "overlap": False},
    "run": {"steps": 3},
}
CHUNK = 4_000_000 / 4 / 1e9
"""Seconds that a quarter of the parameters takes over one link."""


def case(**cluster: Any) -> parasim.Scenario:
    document = json.loads(json.dumps(CASE))
    document["cluster"] |= cluster
    return from_document(document)


def step_seconds(scenario: parasim.Scenario) -> float:
    return float(parasim.simulate(scenario).summary["seconds_per_step"])


def ring_seconds(latency: float, chunk: float) -> float:
    """Six rounds, in each of which everyone waits for the slowest of its two neighbours (in the end, for all)."""
    return 6 * (latency + chunk)


# by hand -------------------------------------------------------------------------------------------------------------
def test_a_ring_has_its_closed_form() -> None:
    assert step_seconds(case()) == pytest.approx(ring_seconds(1e-4, CHUNK), rel=1e-9)


@pytest.mark.parametrize("link", ["host3<->host0", "host0<->host3"])
@pytest.mark.parametrize("cut", ["cut", {"cut": True}])
def test_without_one_cable_a_chunk_goes_the_long_way_round(link: str, cut: Any) -> None:
    """From host 3 to host 0 over 2 and 1: three latencies, and links that are free in that direction."""
    assert step_seconds(case(links={link: cut})) == pytest.approx(ring_seconds(3e-4, CHUNK), rel=1e-9)


def test_cutting_one_direction_leaves_the_other() -> None:
    """The ring goes from 0 to 3 over 1 and 2 only in the other direction, which nobody uses."""
    assert step_seconds(case(links={"host0->host3": "cut"})) == pytest.approx(ring_seconds(1e-4, CHUNK), rel=1e-9)
    assert step_seconds(case(links={"host3->host0": "cut"})) == pytest.approx(ring_seconds(3e-4, CHUNK), rel=1e-9)


def test_a_thin_cable_holds_up_the_ring() -> None:
    thin = case(links={"host1->host2": {"bandwidth": "100 MB/s"}})
    assert step_seconds(thin) == pytest.approx(ring_seconds(1e-4, 10 * CHUNK), rel=1e-9)
    backwards = case(links={"host2->host1": {"bandwidth": "100 MB/s"}})
    assert step_seconds(backwards) == pytest.approx(ring_seconds(1e-4, CHUNK), rel=1e-9)
    slow = case(links={"host1<->host2": {"latency": "1 ms"}})
    assert step_seconds(slow) == pytest.approx(ring_seconds(1e-3, CHUNK), rel=1e-9)


def test_a_host_of_half_the_speed_doubles_the_computing_of_all() -> None:
    """Ten samples of 1 MFLOP forward and 1 MFLOP to the weights: 20 ms at 1 GFLOP/s, 40 ms at half of it."""
    fast = {"flops": "1 GFLOP/s", "memory": "16 GiB", "memory_bandwidth": "1000000 EB/s"}
    slow = fast | {"flops": "0.5 GFLOP/s"}
    alike, mixed = case(device=fast), case(device=fast, hosts={2: {"device": slow}})
    assert [host.device.flops for host in mixed.cluster.build().hosts] == [1e9, 1e9, 5e8, 1e9]
    exchange = ring_seconds(1e-4, CHUNK)
    update = step_seconds(alike) - exchange - 20e-3  # the same parameters for all, at the speed of each device
    assert update > 0
    assert step_seconds(mixed) - exchange == pytest.approx(2 * (20e-3 + update), rel=1e-9)


@pytest.mark.parametrize(("server", "speed"), [(1, 1e9), (3, 1e9), (4, 0.25e9), (15, 0.25e9)])
def test_a_server_in_another_pod_is_as_far_as_the_oversubscription_says(server: int, speed: float) -> None:
    """One worker fetches and pushes 4 MB; between pods of a 4:1 fat tree a cable has a quarter of the bandwidth."""
    document = json.loads(json.dumps(CASE))
    document["cluster"]["topology"] = {"kind": "fat_tree", "k": 4, "oversubscription": 4}
    document["cluster"]["link"] = {"bandwidth": "1 GB/s"}
    document["scheme"] = {"kind": "downpour", "workers": 1, "placement": {"worker": [0], "server": [server]}}
    assert step_seconds(from_document(document)) == pytest.approx(2 * 4e6 / speed, rel=1e-9)


def rates(topology: FatTree, messages: list[tuple[int, int]]) -> list[float]:
    """Mean bandwidth that each of some messages of one byte gets, all starting together."""
    env = simpy.Environment()
    network = Network(env, built(topology))
    times: dict[int, float] = {}

    def start(number: int, pair: tuple[int, int]) -> None:
        network.start(*pair, 1.0, lambda _: times.update({number: env.now}))

    cluster = built(topology)
    for number, pair in enumerate(messages):
        start(number, pair)
    env.run()
    return [1.0 / (times[number] - cluster.path(*pair).latency) for number, pair in enumerate(messages)]


@pytest.mark.parametrize("k", [4, 6])
def test_two_to_one_halves_the_bandwidth_between_pods_and_not_inside(k: int) -> None:
    pod = k * k // 4
    across = [(host, pod + host) for host in range(pod)]
    inside = [(host, (host + k // 2) % pod) for host in range(pod)]
    for ratio, expected in ((1.0, 1.0), (2.0, 0.5)):
        topology = FatTree(k, oversubscription=ratio)
        assert rates(topology, across) == pytest.approx([expected] * pod, rel=1e-9)
        assert rates(topology, inside) == pytest.approx([1.0] * pod, rel=1e-9)


def test_oversubscription_at_the_edge_halves_the_bandwidth_between_edge_switches() -> None:
    topology = FatTree(4, oversubscription=(2.0, 1.0))
    assert rates(topology, [(0, 2), (1, 3)]) == pytest.approx([0.5, 0.5], rel=1e-9)
    assert rates(topology, [(0, 1), (1, 0)]) == pytest.approx([1.0, 1.0], rel=1e-9)


# what files may say --------------------------------------------------------------------------------------------------
def test_hosts_take_single_numbers_and_ranges() -> None:
    device = {"name": "slow", "flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"}
    scenario = case(
        topology={"kind": "star", "hosts": 10},
        host={"cores": 3},
        hosts={1: {"cores": 2}, "4-6": {"device": device}, "8": {"cores": 1, "device": "V100"}},
    )
    cluster = scenario.cluster.build()
    assert [host.cores for host in cluster.hosts] == [3, 2, 3, 3, 3, 3, 3, 3, 1, 3]
    names = [host.device.name for host in cluster.hosts]
    assert names[4:7] == ["slow"] * 3
    assert names[8] == "V100-SXM2"
    assert {*names[:4], names[7], names[9]} == {""}
    assert [host.name for host in cluster.hosts] == [f"host{number}" for number in range(10)]


def test_the_way_inside_a_host_is_its_own_memory_unless_it_is_given() -> None:
    device = {"flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"}
    own = case(hosts={1: {"device": device}}).cluster.build()
    assert [own.path(host, host).bandwidth for host in range(3)] == [1e24, 1e9, 1e24]
    given = case(hosts={1: {"device": device}}, loopback={"bandwidth": "3 GB/s"}).cluster.build()
    assert [given.path(host, host).bandwidth for host in range(3)] == [3e9] * 3
    single = case(links={"host1->host1": {"latency": "1 us"}}).cluster.build()
    assert [single.path(host, host)[1:] for host in range(2)] == [(0.0, 1e24), (1e-6, 1e24)]


def test_clusters_of_several_scenarios_are_kept_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    few, more = case().cluster, case(hosts={1: {"cores": 2}}).cluster
    first, second = few.build(), more.build()
    assert first is few.build()
    assert second is more.build()
    monkeypatch.setattr("parasim.scenario.model._MOST_LINKS", len(first.links))
    del first
    third = case().cluster
    assert third.build() is third.build()
    assert more.build() is not second


def test_a_document_that_travelled_as_json_says_the_same() -> None:
    scenario = case(hosts={1: {"cores": 2}}, links={"host0<->host1": "cut"}, routing={"kind": "ecmp", "seed": 3})
    again = from_document(json.loads(json.dumps(scenario.document)))
    assert again.cluster == scenario.cluster
    assert scenario.cluster.routing == Ecmp(3)


def test_dots_and_arrows_of_names_are_no_hindrance() -> None:
    scenario = case(
        topology={"kind": "dragonfly", "groups": 2, "routers": 2, "hosts_per_router": 1},
        links={"group0.router0 <-> group0.router1": {"bandwidth": "1 MB/s"}},
    )
    assert scenario.cluster.build().path(0, 1).bandwidth == 1e6


@pytest.mark.parametrize("cut", ["host1<->host2", "host1->host2", "host2->host1"])
def test_cuts_that_part_actors_are_refused_before_anything_runs(cut: str) -> None:
    line: dict[str, Any] = {"topology": {"kind": "line", "hosts": 4}, "links": {cut: "cut"}}
    with pytest.raises(ScenarioError) as error:
        case(**line)
    assert str(error.value) == (
        "document: cluster.links: the cuts leave no route between host0 and host2 and 1 more, in one direction or both,"
        " where actors sit: mend a cable, or choose hosts that are joined by placement"
    )
    joined = case(**line, placement={"worker": [3, 2]})
    assert parasim.simulate(joined).summary["seconds"] > 0


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"routing": "ecmp"}, "cluster.routing: is 'ecmp', no mapping: write routing: {kind: ecmp}"),
        ({"hosts": [1]}, "cluster.hosts: is [1], no mapping: write hosts: {3: {cores: 2}}"),
        (
            {"links": "cut"},
            "cluster.links: is 'cut', no mapping: write links: {\"host0<->switch\": {bandwidth: 1 Gbit/s}}",
        ),
        ({"hosts": {7: {"cores": 2}}}, "cluster.hosts.7: there are no such hosts (hosts: 0..3)"),
        ({"hosts": {"2-1": {"cores": 2}}}, "cluster.hosts.2-1: there are no such hosts (hosts: 0..3)"),
        (
            {"hosts": {"x": {"cores": 2}}},
            'cluster.hosts.x: is no host: write {3: {cores: 2}}, or {"4-7": {cores: 2}} for hosts 4 to 7',
        ),
        (
            {"hosts": {True: {"cores": 2}}},
            'cluster.hosts.True: is no host: write {3: {cores: 2}}, or {"4-7": {cores: 2}} for hosts 4 to 7',
        ),
        (
            {"hosts": {2: {"cores": 2}, "1-3": {"cores": 4}}},
            "cluster.hosts.1-3: host 2 is named under 2 already",
        ),
        ({"hosts": {1: {"core": 2}}}, "cluster.hosts.1.core: unknown key (did you mean 'cores'?)"),
        ({"hosts": {1: {}}}, "cluster.hosts.1: says nothing: give profile, cores or device, or leave it out"),
        ({"hosts": {1: {"cores": 0}}}, "cluster.hosts.1.cores: 0 must be at least 1"),
        ({"hosts": {1: {"device": "V1000"}}}, "cluster.hosts.1.device: "),
        ({"links": {"host0": "cut"}}, 'cluster.links.host0: is no link: write "host0->host1" for one direction,'),
        (
            {"links": {"host0->hots1": "cut"}},
            "cluster.links.host0->hots1: no host or switch is called 'hots1' (did you mean 'host1'?)",
        ),
        (
            {"links": {"host0<->host2": "cut"}},
            "cluster.links.host0<->host2: no link leads from host0 to host2 (from there: host1, host3)",
        ),
        (
            {"links": {"host0<->host1": "cut", "host1->host0": {"latency": 0}}},
            "cluster.links.host1->host0: link host1->host0 is named twice",
        ),
        (
            {"links": {"host0->host1": "cu"}},
            "cluster.links.host0->host1: is 'cu': write {bandwidth: 1 Gbit/s}, or cut",
        ),
        (
            {"links": {"host0->host1": {}}},
            "cluster.links.host0->host1: says nothing: give bandwidth, latency or cut, or leave it out",
        ),
        (
            {"links": {"host0->host1": {"cut": True, "latency": 0}}},
            "cluster.links.host0->host1.cut: leaves nothing of the link: take bandwidth and latency out",
        ),
        ({"links": {"host0->host1": {"cut": 1}}}, "cluster.links.host0->host1.cut: 1 must be true or false"),
        ({"links": {"host0->host0": "cut"}}, "cluster.links.host0->host0: is inside a host and can't be cut"),
        (
            {"links": {"host0->host1": {"bandwidth": "1 Gbps"}}},
            "cluster.links.host0->host1.bandwidth: '1 Gbps': 'Gbps' may mean bits or bytes",
        ),
        ({"routing": {"kind": "ecpm"}}, "cluster.routing.kind: unknown routing 'ecpm' (did you mean 'ecmp'?)"),
        ({"routing": {"kind": "shortest", "seed": 1}}, "cluster.routing.seed: unknown key of routing 'shortest'"),
        ({"topology": {"kind": "torus", "dimensions": 4}}, "cluster.topology.dimensions: 4 is no list"),
        ({"topology": {"kind": "torus", "dimensions": [4, 0]}}, "cluster.topology.dimensions.1: 0 must be at least 1"),
        (
            {"topology": {"kind": "fat_tree", "k": 3}},
            "cluster.topology: fat_tree: k must be even, got 3: half of a switch's ports lead up",
        ),
        (
            {"topology": {"kind": "fat_tree", "k": 4, "oversubscription": "2:1"}},
            "cluster.topology.oversubscription: '2:1' is no number",
        ),
        (
            {"topology": {"kind": "hierarchical", "nodes": 2, "per_node": 2}},
            "cluster.topology.inside_bandwidth: is missing (between a host and the switch of its node, each way): write"
            " inside_bandwidth: 10 Gbit/s",
        ),
    ],
)
def test_what_is_wrong_is_named(cluster: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        case(**cluster)
    assert str(error.value).startswith(f"document: {message}")
    assert "\n" not in str(error.value)


def test_errors_have_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(
        "workload: {model: {kind: mlp}, batch_size: 8}\n"
        "cluster:\n"
        "  topology: {kind: ring, hosts: 4}\n"
        "  device: {flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}\n"
        "  link: {bandwidth: 10 Gbit/s}\n"
        "  links:\n"
        "    host0<->host1: {latency: 1 us}\n"
        "    host0<->host9: cut\n"
        "scheme: {kind: allreduce}\n"
        "run: {steps: 1}\n"
    )
    with pytest.raises(ScenarioError) as error:
        parasim.load(path)
    assert str(error.value).startswith(f"{path}:8:5: cluster.links.host0<->host9: no host or switch is called 'host9'")
    assert parasim.load(path, ["cluster.links={host0<->host1: cut}"]).cluster.build().path(0, 1).latency == 0.0


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("hosts", {"3": {"cores": 2}, "4-7": {"device": "V100"}}, True),
        ("hosts", {"x": {"cores": 2}}, False),
        ("hosts", {"3": {"cores": 0}}, False),
        ("hosts", {"3": {"speed": 2}}, False),
        ("links", {"host0->host1": "cut", "host1<->host2": {"bandwidth": "1 Gbit/s", "latency": "1 us"}}, True),
        ("links", {"host0->host1": {"cut": True}}, True),
        ("links", {"host0->host1": {"width": 1}}, False),
        ("routing", {"kind": "ecmp", "seed": 4}, True),
        ("routing", {"kind": "ecmp", "seeds": 4}, False),
        ("topology", {"kind": "fat_tree", "k": 4, "oversubscription": [1, 2]}, True),
        ("topology", {"kind": "torus", "dimensions": [4, 4]}, True),
        ("topology", {"kind": "torus", "dimensions": [4, 0]}, False),
        ("topology", {"kind": "hierarchical", "nodes": 2, "per_node": 4, "inside_bandwidth": "300 GB/s"}, True),
        ("topology", {"kind": "graph", "file": "net.graphml"}, True),
        ("topology", {"kind": "graph", "file": "net.graphml", "folder": "x"}, False),
    ],
)
def test_the_schema_takes_what_the_loader_takes(key: str, value: Any, right: bool) -> None:
    document = json.loads(json.dumps(CASE))
    document["cluster"][key] = value
    assert accepts(schema(), document) == right
