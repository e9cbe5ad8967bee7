"""`parasim topologies`: the kinds, the cables of a cluster, and its picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from parasim.cli import main
from parasim.cluster.topologies import TOPOLOGIES
from parasim.errors import ScenarioError
from parasim.report.topologies import cables_of, cluster_text
from parasim.report.topology_drawing import draw_cluster, drawn_cluster
from parasim.report.topology_picture import picture_of
from parasim.scenario.sketch import named_clusters, sketch_cluster

SCENARIO = """
workload: {model: {kind: mlp}, batch_size: 8}
cluster:
  topology: {kind: ring, hosts: 4}
  device: {name: a core, flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}
  link: {bandwidth: 10 Gbit/s, latency: 50 us}
  links: {host0<->host1: cut, host2->host3: {bandwidth: 1 Gbit/s}}
  hosts: {3: {cores: 2}}
scheme: {kind: allreduce}
run: {steps: 1}
variants:
  ring: {}
  binomial: {scheme.algorithm: binomial}
  star: {cluster.topology.kind: star, cluster.links: null}
"""

SKETCHES: list[tuple[str, list[str]]] = [
    ("star", ["hosts=9"]),
    ("line", ["hosts=1"]),
    ("ring", ["hosts=10", "links={host2<->host3: cut, host4->host5: {bandwidth: 1 Gbit/s}}", "hosts.7.cores=4"]),
    ("torus", ["dimensions=[4,5]"]),
    ("torus", ["dimensions=[3,4,3]"]),
    ("full", ["hosts=9"]),
    ("full", ["hosts=200"]),
    ("hypercube", ["dimension=5"]),
    ("tree", ["branching=3", "levels=3", "growth=2"]),
    ("fat_tree", ["k=4", "oversubscription=2"]),
    ("fat_tree", ["k=10"]),
    ("dragonfly", ["groups=9", "routers=4", "hosts_per_router=2"]),
    ("hierarchical", ["nodes=4", "per_node=8", "inside_bandwidth=300 GB/s", "uplinks=2"]),
]


@pytest.fixture
def case(tmp_path: Path) -> str:
    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO)
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = main(["topologies", *words])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def test_every_kind_is_listed_with_its_options_and_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys)
    entries = json.loads(run(capsys, "--json"))
    assert [entry["kind"] for entry in entries] == list(TOPOLOGIES)
    for entry in entries:
        row = next(line for line in text.splitlines() if re.match(rf"{entry['kind']} +\S", line))
        assert all(entry[fact] in row for fact in ("hosts", "switches", "cables", "diameter", "bisection"))
        assert entry["summary"].endswith((".", ":"))
        for option in entry["options"]:
            assert f"\n  {option['name']}" in text
    assert max(map(len, text.splitlines())) <= 115


def test_a_scenario_shows_its_cables_hosts_and_cuts(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, case, "--variant", "ring").splitlines()
    assert lines[:6] == [
        "ring: ring (hosts 4)",
        "4 hosts, no switches, 4 cables and single links, 6 links",
        "diameter 2 links, bisection bandwidth 2.5 GB/s (before links were changed)",
        "routing shortest",
        "cut: host0<->host1",
        "host3: 2 cores of a core with 50 GFLOP/s",
    ]
    rows = [line.split() for line in lines[9:]]
    assert [row[0] for row in rows] == ["host1<->host2", "host2->host3", "host3->host2", "host0<->host3"]
    assert [row[1:] for row in rows[:2]] == [["1.25", "GB/s", "50", "us"], ["125", "MB/s", "50", "us"]]


def test_equal_clusters_of_variants_are_shown_once(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    clusters = named_clusters(case, [])
    assert [(name, cluster.topology.kind) for name, cluster in clusters] == [
        ("ring, binomial", "ring"),
        ("star", "star"),
    ]
    assert [entry["name"] for entry in json.loads(run(capsys, case, "--json"))] == ["ring, binomial", "star"]


def test_json_has_every_link(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = json.loads(run(capsys, case, "--variant", "ring", "--json"))
    assert {key: value for key, value in entry.items() if key != "links"} == {
        "name": "ring",
        "kind": "ring",
        "options": {"hosts": 4},
        "hosts": 4,
        "switches": 0,
        "diameter": 2,
        "bisection_bytes_per_second": 2.5e9,
        "routing": {"kind": "shortest"},
        "cut": ["host0<->host1"],
    }
    assert {link["name"]: link["bandwidth"] for link in entry["links"]}["host2->host3"] == 1.25e8
    assert len(entry["links"]) == 6


def test_a_kind_is_shown_without_a_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "fat_tree", "k=16", "oversubscription=2", "link.bandwidth=100 Gbit/s", "routing.kind=ecmp")
    assert "1024 hosts, 320 switches, 3072 cables, 6144 links" in text
    assert "routing ecmp, seed 0" in text
    assert re.search(r"agg0<->core0 \.\.\. agg127<->core63 +1024 +6\.25 GB/s +1 us", text)
    assert "(--all lists every cable)" in text
    every = run(capsys, "fat_tree", "k=16", "--all").splitlines()
    assert sum("<->" in line for line in every) == 3072 + 1  # and the heading


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["torsu"], "torsu: neither a scenario file nor a kind of topology (did you mean 'torus'?)"),
        (
            ["torus", "dimension=3"],
            "override 'dimension=3': cluster.topology.dimension: unknown key of topology 'torus'",
        ),
        (["torus"], "topology 'torus': cluster.topology.dimensions: is missing (extents, as in [4, 4] or [4, 4, 4])"),
        (["torus", "kind=ring"], "override 'kind=ring': the kind is 'torus': name another one instead of it"),
        (["torus", "--variant", "a"], "--variant a: 'torus' is a kind of topology and has no variants"),
    ],
)
def test_wrong_words_are_answered_in_a_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topologies", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


def test_pictures_are_written_and_the_same_each_time(case: str, tmp_path: Path) -> None:
    assert main(["topologies", case, "--out", str(tmp_path / "out")]) == 0
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    pictures = ["topology-2.png", "topology-2.svg", "topology.png", "topology.svg"]
    assert files == ["topologies.json", "topologies.txt", *pictures]
    cluster = named_clusters(case, [])[0][1]
    once, again = (draw_cluster("ring", cluster, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


@pytest.mark.parametrize(("kind", "words"), SKETCHES, ids=lambda value: " ".join(value) if value else "")
def test_a_picture_shows_everything_inside_its_frame(kind: str, words: list[str]) -> None:
    cluster = sketch_cluster(kind, words)
    picture = picture_of(cluster)
    wiring = cluster.wiring()
    if not picture.note:
        assert len(picture.symbols) == len(wiring.hosts) + len(wiring.switches)
        assert len(picture.cables) == len(cables_of(wiring))
    drawn = drawn_cluster(f"{kind} {' '.join(words)}"[:60], cluster)
    canvas = _renderer(drawn)
    frame = drawn.bbox
    axes = drawn.axes[0]
    texts = [*drawn.texts, *axes.texts, *drawn.legends[0].get_texts()]
    for text in texts:
        box = text.get_window_extent(canvas)
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1, text.get_text()
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1, text.get_text()
    window = axes.get_window_extent(canvas)
    for line in axes.lines:
        for x, y in axes.transData.transform(line.get_xydata()):
            assert window.x0 <= x <= window.x1
            assert window.y0 <= y <= window.y1
    legend, title = drawn.legends[0].get_window_extent(canvas), drawn.texts[-1].get_window_extent(canvas)
    assert legend.y1 <= window.y0 + 0.4 * drawn.dpi
    assert title.y0 >= window.y1 - 0.4 * drawn.dpi


def test_large_clusters_are_drawn_by_groups() -> None:
    picture = picture_of(sketch_cluster("fat_tree", ["k=16"]))
    assert picture.note == "1024 hosts drawn as 128 groups, one of each switch"
    assert [symbol.label for symbol in picture.symbols[:2]] == ["0-7", "8-15"]
    assert len(picture.cables) == 128 + 2048
    assert "of which" in picture_of(sketch_cluster("full", ["hosts=200"])).note


def test_changed_hosts_and_cut_cables_are_marked() -> None:
    cluster = sketch_cluster(*SKETCHES[2])
    picture = picture_of(cluster)
    assert [number for number, symbol in enumerate(picture.symbols) if symbol.changed] == [7]
    assert [cable.name for cable in picture.cut] == ["host2<->host3"]
    assert {cable.bandwidth for cable in picture.cables} == {1.25e9, 1.25e8}
    words = {text.get_text() for text in drawn_cluster("ring", cluster).legends[0].get_texts()}
    assert words == {"1.25 GB/s, 1 us", "125 MB/s, 1 us", "cut", "host", "host with other cores or device"}


def test_a_parted_cluster_says_so() -> None:
    words = ["hosts=4", "links={host1->host2: cut}"]
    assert "PARTED: no route joins host0 with host2 and 1 more, in one direction or both" in cluster_text(
        "line", sketch_cluster("line", words)
    )
    assert "PARTED" not in cluster_text("ring", sketch_cluster("ring", words))


def test_what_is_no_section_of_a_scenario_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "case.yaml"
    file.write_text("cluster: {topology: {kind: ring, hosts: 4}, device: V100, link: {bandwidth: 1 Gbit/s}}\n")
    assert named_clusters(str(file), ["cluster.topology.hosts=5"])[0][1].hosts == 5
    with pytest.raises(ScenarioError, match=r"^override 'hosts=5': hosts: unknown key \(there are: "):
        named_clusters(str(file), ["hosts=5"])


def test_the_list_of_a_single_host_is_empty() -> None:
    assert "1 host, no switches, 0 cables, 0 links" in cluster_text("one", sketch_cluster("ring", ["hosts=1"]))


def _renderer(drawn: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return canvas.get_renderer()
