"""The shaped testbed: a cluster's network on this machine, for real. Needs root, ip and tc."""

from __future__ import annotations

import itertools
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import calibration
import parasim
from calibration import testbed as beds
from calibration.executor.launch import Outcome, run_cast
from calibration.executor.pool import Pool
from calibration.testbed import missing, standing_testbed
from calibration.testbed.build import device
from calibration.testbed.plan import address
from calibration.testbed.shaping import Shape
from parasim.cluster.cluster import Cluster
from parasim.cluster.links import Link
from parasim.cluster.routing import Ecmp, Routing, Shortest
from parasim.errors import DeadlockError, ExecutionError, ScenarioError
from parasim.trace.rows import Row
from tests.effort import attempted
from tests.test_testbed_plan import HOST, cluster

pytestmark = pytest.mark.real
needs_rights = pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing")
CHUNK = 400_000
ROUNDS = 4


def outputs(testbed: beds.Testbed, node: int, command: Sequence[str], lines: Sequence[str] = ()) -> list[str]:
    """Lines that a program prints at a node."""
    said: list[str] = []

    def inside() -> None:
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
        said.extend(done.stdout.splitlines())

    testbed.namespace(node).run(inside)
    return said


def moved(pool: Pool, testbed: beds.Testbed, placement: Sequence[int], flows: Sequence[tuple[int, int]]) -> list[Row]:
    """The receives of chunks in so many rounds."""
    arguments = {"size": len(placement), "nbytes": CHUNK, "flows": flows, "rounds": ROUNDS}
    outcome = run_cast(
        "tests.testbed_programs:traffic", arguments, len(placement), pool=pool, seats=testbed.seats(placement)
    )
    rows = [row for row in outcome.trace if row.op == "recv" and row.nbytes]
    assert len(rows) == ROUNDS * len(flows)
    return rows


def traffic(pool: Pool, testbed: beds.Testbed, placement: Sequence[int], flows: Sequence[tuple[int, int]]) -> float:
    """Seconds of a round, the first left out."""
    ends = sorted(row.t_end for row in moved(pool, testbed, placement, flows))
    return (ends[-1] - ends[len(flows) - 1]) / (ROUNDS - 1)


def held_to(pool: Pool, testbed: beds.Testbed, built: Cluster, flows: Sequence[tuple[int, int]]) -> None:
    """In no time does a link carry more than its bandwidth, and what it has saved; later it may always be."""
    rows = moved(pool, testbed, range(len(built.hosts)), flows)
    seconds = max(row.t_end for row in rows) - min(row.t_start for row in rows)
    passing = Counter(built.ends(link) for flow in flows for link in built.route(*flow))
    for ends, bandwidth in testbed.plan.bandwidths:
        shape = Shape.of(bandwidth, len(testbed.plan.bandwidths))
        assert seconds * bandwidth >= passing[ends] * ROUNDS * CHUNK - shape.burst - shape.segment


def rates(testbed: beds.Testbed, here: int, there: int) -> set[str]:
    """What the kernel says of the classes of data that go from a node to its neighbour: their ceilings."""
    lines = outputs(testbed, here, ["tc", "class", "show", "dev", device(there)])
    return {line.split(" ceil ")[1].split()[0] for line in lines if " htb 1:1 " not in line}


def sent_over(testbed: beds.Testbed, here: int, there: int) -> int:
    """Bytes that have gone from a node to its neighbour."""
    (line,) = [line for line in outputs(testbed, here, ["cat", "/proc/net/dev"]) if f"{device(there)}:" in line]
    return int(line.split(":")[1].split()[8])


@pytest.fixture(scope="module")
def star() -> Iterator[beds.Testbed]:
    with beds.Testbed(cluster("star", {"hosts": 4}, 30.0), range(4)) as testbed:
        yield testbed


@needs_rights
@pytest.mark.parametrize(
    ("kind", "options", "routing"),
    [("ring", {"hosts": 5}, Shortest()), ("fat_tree", {"k": 4}, Shortest()), ("fat_tree", {"k": 4}, Ecmp(1))],
)
def test_every_pair_takes_the_route_of_the_simulator(kind: str, options: dict[str, int], routing: Routing) -> None:
    built = cluster(kind, options, routing=routing)
    placement = range(0, len(built.hosts), 3 if kind == "fat_tree" else 1)
    asked: dict[int, list[tuple[str, str]]] = {}
    for source, destination in itertools.permutations(placement, 2):
        links = [built.ends(link) for link in built.route(source, destination)]
        came = ""
        for here, following in links:
            query = f"route get {address(destination)} from {address(source)}{came}"
            asked.setdefault(here, []).append((query, device(following)))
            came = f" iif {device(here)}"
    with beds.Testbed(built, placement) as testbed:
        for node, questions in asked.items():
            said = outputs(testbed, node, ["ip", "-o", "-batch", "-"], [query for query, _ in questions])
            assert [line.split(" dev ")[1].split()[0] for line in said if " dev " in line] == [
                end for _, end in questions
            ]


FLOWS = [
    [(0, 1), (1, 0)],
    [(rank, (rank + 1) % 4) for rank in range(4)],
    [(1, 0), (2, 0), (3, 0)],
    [(0, 1), (0, 2)],
]
"""Facing pairs, a ring, three into one, one to two."""


@needs_rights
@pytest.mark.parametrize("flows", FLOWS)
def test_no_link_carries_more_than_its_bandwidth(pool: Pool, star: beds.Testbed, flows: list[tuple[int, int]]) -> None:
    held_to(pool, star, cluster("star", {"hosts": 4}, 30.0), flows)


@needs_rights
@pytest.mark.slow  # judges times
def test_flows_share_links_as_in_the_simulator(pool: Pool, star: beds.Testbed) -> None:
    """In units of one message alone: facing pairs and rings disturb nobody, three into one take three times as long."""
    placement = range(4)

    def times() -> list[float]:
        alone = traffic(pool, star, placement, [(0, 1)])
        return [traffic(pool, star, placement, flows) / alone for flows in FLOWS]

    expected = pytest.approx([1.0, 1.0, 3.0, 2.0], abs=0.3)
    assert attempted(times, lambda found: found == expected) == expected


@needs_rights
def test_each_direction_of_a_cable_has_its_bandwidth(pool: Pool) -> None:
    links = {
        ends: Link("", mbit * 1e6 / 8)
        for ends, mbit in {(0, 2): 40.0, (2, 0): 10.0, (1, 2): 400.0, (2, 1): 400.0}.items()
    }
    built = Cluster([HOST, HOST], {**links, (0, 0): Link("", 1e9)})
    with beds.Testbed(built, [0, 1]) as testbed:
        found = {ends: rates(testbed, *ends) for ends in ((0, 2), (2, 0), (1, 2), (2, 1))}
        assert found == {(0, 2): {"40Mbit"}, (2, 0): {"10Mbit"}, (1, 2): {"400Mbit"}, (2, 1): {"400Mbit"}}
        for flow in ((0, 1), (1, 0)):
            held_to(pool, testbed, built, [flow])


@needs_rights
def test_several_ranks_of_a_host_talk_inside_their_namespace(pool: Pool, star: beds.Testbed) -> None:
    sent = []
    for placement in ([0, 0], [0, 1]):
        before = sent_over(star, 0, 4)
        moved(pool, star, placement, [(0, 1)])
        sent.append(sent_over(star, 0, 4) - before)
    assert sent[0] < CHUNK
    assert sent[1] >= ROUNDS * CHUNK


@needs_rights
def test_latency_holds_up_payloads_and_is_marked_at_both_ends(pool: Pool, star: beds.Testbed) -> None:
    arguments = {"size": 2, "nbytes": 1000, "flows": [(0, 1), (1, 0)], "latency": 0.03}
    outcome: Outcome = run_cast("tests.testbed_programs:traffic", arguments, 2, pool=pool, seats=star.seats([0, 1]))
    messages = [row for row in outcome.trace if row.op in {"send", "recv"}]
    assert {row.outcome for row in messages if row.nbytes} == {"injected"}
    assert {row.outcome for row in messages if not row.nbytes} == {""}
    for row in messages:
        source = row.rank if row.op == "send" else row.peer
        if row.nbytes:
            assert row.t_end - row.t_start >= 0.03 * (1 + source)


@needs_rights
def test_latency_does_not_hold_up_headers(pool: Pool, star: beds.Testbed) -> None:
    outcome = run_cast("tests.testbed_programs:overtaken", {"latency": 0.03}, 3, pool=pool, seats=star.seats([0, 1, 2]))
    ends = {row.nbytes: row.t_end for row in outcome.trace if row.op == "recv" and row.tag == "taken"}
    assert ends[0] < ends[1000]


@needs_rights
def test_native_collectives_find_the_store_that_was_left_outside(pool: Pool, star: beds.Testbed) -> None:
    outcome = run_cast("tests.testbed_programs:native", {"size": 3}, 3, pool=pool, seats=star.seats([0, 1, 2]))
    assert sum(row.outcome == "native" for row in outcome.trace) == 9


@needs_rights
def test_deadlocks_and_failures_are_told_as_ever(pool: Pool, star: beds.Testbed) -> None:
    seats = star.seats([0, 1])
    with pytest.raises(DeadlockError):
        run_cast("tests.real_programs:facing", {"sends_first": True}, 2, pool=pool, seats=seats)
    with pytest.raises(ExecutionError, match="ZeroDivisionError"):
        run_cast("tests.real_programs:failing", {"how": "raise", "workers": 2}, 2, pool=pool, seats=seats)


SCENARIO = """
workload: {model: {kind: mlp, width: 64, depth: 2}, batch_size: 8, data: {kind: digits}}
cluster:
  topology: {kind: star, hosts: 3}
  host: {cores: 1}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 50 Mbit/s, latency: 1 ms}
scheme: {kind: allreduce, workers: 3}
optimizer: {kind: sgd, lr: 0.1}
run: {steps: 3}
execute: {compute: paced, network: shaped}
"""


@needs_rights
def test_scenarios_run_shaped_with_the_bytes_and_weights_of_any_other_run(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(SCENARIO)
    paced = calibration.execute(parasim.load(file), pool=pool)
    simulated = parasim.simulate(parasim.load(file))
    assert paced is not None
    for key in ("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step"):
        assert paced.summary[key] == simulated.summary[key]
    assert any(row.outcome == "injected" for row in paced.trace)
    real = ["execute.compute=real", "run.learn=true"]
    shaped, loopback = (
        calibration.execute(parasim.load(file, [*real, f"execute.network={network}"]), pool=pool)
        for network in ("shaped", "loopback")
    )
    assert shaped is not None
    assert loopback is not None
    assert shaped.summary["loss"] == loopback.summary["loss"]
    assert not any(row.outcome == "injected" for row in loopback.trace)


@needs_rights
def test_a_testbed_stands_until_many_others_are_wanted() -> None:
    built = cluster("star", {"hosts": 3})
    first = standing_testbed(built, [0, 1])
    assert standing_testbed(cluster("star", {"hosts": 3}), [1, 0, 0]) is first
    assert standing_testbed(cluster("star", {"hosts": 3}, 200.0), [0, 1]) is not first
    for mbit in range(10, 18):
        standing_testbed(cluster("star", {"hosts": 3}, float(mbit)), [0, 1])
    assert standing_testbed(built, [0, 1]) is not first


def test_without_tools_or_rights_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pattern: str) -> None:
        with pytest.raises(ExecutionError, match=pattern) as caught:
            beds.Testbed(cluster("star", {"hosts": 2}), [0, 1])
        assert len(str(caught.value).splitlines()) == 1
        assert "or write execute: {network: loopback}" in str(caught.value)

    with monkeypatch.context() as patched:
        patched.setattr("shutil.which", lambda name: None if name == "tc" else name)
        refused("no program 'tc': install iproute2")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.which", lambda name: name)
        patched.setattr("os.geteuid", lambda: 1000)
        refused("network namespaces need root")


def test_torchrun_does_not_build_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(SCENARIO)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ScenarioError, match=r"execute.network: 'shaped' .* torchrun"):
        calibration.execute(parasim.load(file))
