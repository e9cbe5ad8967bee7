"""Graph files: what they say, what they leave to the scenario, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import parasim
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.graph import Graph
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.sheets import find_sheet
from parasim.cluster.topology import build
from parasim.errors import ScenarioError
from tests.clusters import HOST, LINK, LOOPBACK, built, graph, wired

SCENARIO = """
workload: {model: {kind: mlp, width: 64}, batch_size: 8}
cluster:
  topology: {kind: graph, file: net.graphml}
  device: {flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}
  link: {bandwidth: 10 Gbit/s, latency: 50 us}
scheme: {kind: allreduce, workers: 2}
run: {steps: 2}
"""


XMLNS = "xmlns='http://graphml.graphdrawing.org/xmlns'"


def pair(**attributes: Any) -> Any:
    """Two hosts and a switch."""
    made = nx.Graph()
    made.add_node("left", cores=4)
    made.add_node("middle", kind="switch")
    made.add_node("right")
    made.add_edge("left", "middle", **attributes)
    made.add_edge("middle", "right")
    return made


def as_json(made: Any, edges: str = "edges") -> str:
    return json.dumps(nx.node_link_data(made, edges=edges))


@pytest.mark.parametrize("edges", ["edges", "links", None])
def test_json_and_graphml_say_the_same(tmp_path: Path, edges: str | None) -> None:
    made = pair(bandwidth="1 Gbit/s", latency="5 us")
    name = "net.xml" if edges is None else "net.json"
    if edges is None:
        nx.write_graphml(made, tmp_path / name)
    else:
        (tmp_path / name).write_text(as_json(made, edges))
    topology = Graph(name, str(tmp_path))
    wiring = topology.wiring(HOST, LINK)
    assert [(host.name, host.cores) for host in wiring.hosts] == [("left", 4), ("right", 1)]
    assert wiring.switches == ("middle",)
    fast = Link("link", 1.25e8, 5e-6)
    assert wiring.links == {(0, 2): fast, (2, 0): fast, (2, 1): LINK, (1, 2): LINK}
    assert (topology.hosts, topology.diameter, topology.bisection(LINK)) == (2, 2, None)
    assert build(topology, HOST, LINK, LOOPBACK).path(0, 1) == ((0, 2), 5e-6 + LINK.latency, LINK.bandwidth)


def test_plain_numbers_are_in_si_units(tmp_path: Path) -> None:
    nx.write_graphml(pair(bandwidth=2.5e9, latency=0), tmp_path / "net.graphml")
    links = Graph("net.graphml", str(tmp_path)).wiring(HOST, LINK).links
    assert links[0, 2] == Link("link", 2.5e9, 0.0)


def test_a_directed_edge_is_one_link(tmp_path: Path) -> None:
    made = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")])
    nx.write_graphml(made, tmp_path / "net.graphml")
    cluster = build(Graph("net.graphml", str(tmp_path)), HOST, LINK, LOOPBACK)
    assert cluster.route(0, 1) == (0,)
    assert cluster.route(1, 0) == (1, 2)


def test_a_host_has_the_device_of_a_data_sheet(tmp_path: Path) -> None:
    made = pair()
    made.nodes["right"]["device"] = "V100"
    (tmp_path / "net.json").write_text(as_json(made))
    hosts = Graph("net.json", str(tmp_path)).wiring(Host("host", 1, Device("cpu", 1e9)), LINK).hosts
    assert hosts[0].device.name == "cpu"
    assert hosts[1].device == find_sheet("V100").device("float32")


def test_the_graph_of_a_topology_is_that_topology(tmp_path: Path) -> None:
    topology = FatTree(4, oversubscription=2.0)
    wiring = wired(topology)
    made = nx.Graph()
    for node in graph(wiring):
        made.add_node(wiring.name(node), **({} if node < topology.hosts else {"kind": "switch"}))
    for (start, end), link in wiring.links.items():
        made.add_edge(wiring.name(start), wiring.name(end), bandwidth=link.bandwidth)
    nx.write_graphml(made, tmp_path / "net.graphml")
    copy = build(Graph("net.graphml", str(tmp_path)), HOST, LINK, LOOPBACK)
    whole = built(topology)
    for source in range(16):
        for destination in range(16):
            names = [[c.links[i].name for i in c.route(source, destination)] for c in (copy, whole)]
            assert names[0] == names[1]
            assert copy.path(source, destination)[1:] == whole.path(source, destination)[1:]


def doubled() -> Any:
    return nx.MultiGraph([("a", "b"), ("a", "b")])


def changed(change: Callable[[Any], Any]) -> Callable[[], Any]:
    def make() -> Any:
        made = pair()
        change(made)
        return made

    return make


WRONG: list[tuple[Callable[[], Any], str]] = [
    (
        doubled,
        "net.json: edge 'a<->b' is there 2 times: merge parallel edges into one of their summed bandwidth",
    ),
    (
        changed(lambda made: made.add_edge("left", "left")),
        "net.json: edge 'left<->left' is a self-loop: remove it (traffic inside a host has a link)",
    ),
    (
        changed(lambda made: made.add_edge("x", "y")),
        "net.json: the graph has 2 parts that are not connected: join node 'x' to the others by an edge, or take"
        " it out",
    ),
    (
        lambda: nx.DiGraph([("a", "b")]),
        "net.json: the graph has 2 parts that are not connected in the direction of the links: join node ",
    ),
    (
        changed(lambda made: made.add_nodes_from(["left", "right"], kind="switch") or made.nodes["left"].pop("cores")),
        "net.json: no host among 3 nodes: leave kind: switch out where hosts are",
    ),
    (
        changed(lambda made: made.add_node("left", kind="swich")),
        "net.json: node 'left': kind must be host or switch, got 'swich'",
    ),
    (
        changed(lambda made: made.add_node("left", core=2)),
        "net.json: node 'left': unknown attribute 'core' (did you mean 'cores'?)",
    ),
    (
        changed(lambda made: made.add_node("left", cores=0)),
        "net.json: node 'left': cores must be a whole number from 1 to 1000000, got 0",
    ),
    (
        changed(lambda made: made.add_node("middle", cores=2)),
        "net.json: node 'middle': a switch has no cores: take it out, or make the node a host",
    ),
    (
        changed(lambda made: made.add_node("left", device="V1000")),
        "net.json: node 'left': device: ",
    ),
    (
        changed(lambda made: made.add_node("left", device=7)),
        "net.json: node 'left': device must be the name of a data sheet, got 7",
    ),
    (
        changed(lambda made: made.add_edge("left", "middle", bandwith="1 Gbit/s")),
        "net.json: edge 'left<->middle': unknown attribute 'bandwith' (did you mean 'bandwidth'?)",
    ),
    (
        changed(lambda made: made.add_edge("left", "middle", bandwidth="1 Gbps")),
        "net.json: edge 'left<->middle': bandwidth: '1 Gbps': 'Gbps' may mean bits or bytes: write '1 Gbit/s' or"
        " '1 GB/s'",
    ),
    (
        changed(lambda made: made.add_edge("left", "middle", bandwidth=0)),
        "net.json: edge 'left<->middle': bandwidth must be above 0 and finite, got 0: write '10 Gbit/s', or a number in"
        " bytes/s",
    ),
    (
        changed(lambda made: made.add_edge("left", "middle", latency=-1.0)),
        "net.json: edge 'left<->middle': latency must be at least 0 and finite, got -1.0: write '50 us', or a number in"
        " seconds",
    ),
    (
        changed(lambda made: made.add_edge("middle", "a->b")),
        "net.json: node 'a->b': a name has 1 to 60 printable characters, no blank at its ends, and no '->': rename it",
    ),
    (
        changed(lambda made: made.add_edge("middle", " left")),
        "net.json: node ' left': a name has 1 to 60 printable characters, no blank at its ends, and no '->': rename it",
    ),
    (
        changed(lambda made: made.add_edge("left", "middle", capacity=1e9)),
        "net.json: edge 'left<->middle': unknown attribute 'capacity': call it bandwidth, or take it out",
    ),
    (
        changed(lambda made: made.add_node("right", type="switch")),
        "net.json: node 'right': says what it is under type: call the attribute kind",
    ),
    (
        changed(lambda made: made.add_edges_from([("middle", 1), ("middle", "1")])),
        "net.json: two nodes are called '1' (a number and a text?): rename one",
    ),
    (nx.Graph, "net.json: no host among 0 nodes: leave kind: switch out where hosts are"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message[10:50] for _, message in WRONG])
def test_wrong_graphs_are_named(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    (tmp_path / "net.json").write_text(as_json(make()))
    with pytest.raises(ScenarioError) as error:
        Graph("net.json", str(tmp_path))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1, 2]", "a.json: is no node-link JSON: it needs an object with lists 'nodes' and 'links'"),
        ("a.json", "{", "a.json: is no node-link JSON that networkx reads: Expecting property name"),
        (
            "a.json",
            '{"nodes": [{"id": "x"}]}',
            "a.json: is no node-link JSON: it needs an object with lists 'nodes' and",
        ),
        (
            "a.json",
            '{"nodes": [{"id": 1}, {"id": 2}], "links": [{"source": 1, "target": 2}], "edges": []}',
            "a.json: has both 'links' and 'edges': keep the one that holds the edges",
        ),
        (
            "a.json",
            '{"directed": "no", "nodes": [{"id": 1}, {"id": 2}], "links": [{"source": 1, "target": 2}]}',
            "a.json: 'directed' must be true or false, got 'no'",
        ),
        ("a.json", '{"nodes": [{"name": "x"}], "links": []}', "a.json: entry 0 of 'nodes' has no 'id': give it one"),
        ("a.json", '{"nodes": [7], "links": []}', "a.json: entry 0 of 'nodes' has no 'id': give it one"),
        (
            "a.json",
            '{"nodes": [{"id": "x"}], "links": [{"from": "x", "to": "x"}]}',
            "a.json: entry 0 of 'links' has no 'source': give it one",
        ),
        (
            "a.json",
            '{"nodes": [{"id": "x"}, {"id": "y"}, {"id": "x"}], "links": [{"source": "x", "target": "y"}]}',
            "a.json: node 'x' is there 2 times: make one of them, or rename the others",
        ),
        (
            "a.json",
            '{"nodes": [{"id": "x"}, {"id": "y"}], "links": [{"source": "x", "target": "z"}]}',
            "a.json: an edge ends at 'z', which is none of the 2 nodes: mend its name, or add the node",
        ),
        (
            "a.graphml",
            f"<graphml {XMLNS}><graph edgedefault='undirected'><node id='x'/><node id='x'/></graph></graphml>",
            "a.graphml: node 'x' is there 2 times: make one of them, or rename the others",
        ),
        (
            "a.graphml",
            f"<graphml {XMLNS}><graph edgedefault='undirected'><node id='x'/><edge source='x' target='y'/>"
            "</graph></graphml>",
            "a.graphml: an edge ends at 'y', which is none of the 1 nodes: mend its name, or add the node",
        ),
        (
            "a.graphml",
            f"<graphml {XMLNS}><graph edgedefault='undirected'><node id='x'/></graph><graph/></graphml>",
            "a.graphml: holds 2 graphs: keep the one that is the cluster",
        ),
        ("a.graphml", "<graphml", "a.graphml: is no GraphML (a name ending in .json is JSON) that networkx reads: "),
        (
            "a.graphml",
            "<html></html>",
            "a.graphml: is no GraphML (a name ending in .json is JSON) that networkx reads: ",
        ),
        ("a.graphml", "\x00", "a.graphml: is no GraphML (a name ending in .json is JSON) that networkx reads: "),
    ],
)
def test_files_that_are_no_graphs_are_refused_in_a_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError) as error:
        Graph(name, str(tmp_path))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    for name in ("a.json", "b.json"):
        with pytest.raises(ScenarioError, match=f"^{name}: is no regular file: name a GraphML or node-link JSON file$"):
            Graph(name, str(tmp_path))


def test_a_file_stands_beside_its_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    nx.write_graphml(pair(bandwidth="1 Gbit/s"), folder / "net.graphml")
    (folder / "case.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    scenario = parasim.load("sub/case.yaml")
    assert scenario.cluster.hosts == 2
    assert scenario.cluster.build().path(0, 1).bandwidth == 1.25e8
    again = parasim.scenario.from_document(scenario.document, scenario.source)  # type: ignore[attr-defined]
    assert again.cluster.wiring() == scenario.cluster.wiring()


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    case = tmp_path / "case.yaml"
    case.write_text(SCENARIO)
    with pytest.raises(ScenarioError) as error:
        parasim.load(case)
    assert str(error.value) == (
        f"{case}:4:13: cluster.topology: net.graphml: can't be read: No such file or directory (looked for"
        f" {tmp_path / 'net.graphml'}; the name is relative to the scenario file)"
    )
