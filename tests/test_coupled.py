"""Collectives as one flow each agree with their messages: alone, and where two jobs share links and cores."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import parasim
from parasim.cluster.cluster import Cluster
from parasim.cluster.dragonfly import Dragonfly
from parasim.cluster.hosts import Device, Host
from parasim.cluster.hypercube import Hypercube
from parasim.cluster.links import Link
from parasim.cluster.ring import Ring
from parasim.cluster.topology import build
from parasim.cluster.torus import Torus
from parasim.errors import DeadlockError, ProgramError, ScenarioError
from parasim.learning.optimizers import Sgd
from parasim.program import Buffer, Cast, Collective, Compute, Context, Kernel, Layer, Model, Recv, Role, Send, Sleep
from parasim.simulation.coupled.plan import MOST_ROUNDS
from parasim.simulation.engine import Engine
from parasim.simulation.noise import LogNormal, NoNoise
from parasim.trace.table import Trace
from tests.conformance.cases import CASES
from tests.conformance.stage import simulated
from tests.pods import BANDWIDTH, LATENCY, SLOW_MEMORY
from tests.pods import pods as cluster_of

ALGORITHMS = (
    "ring",
    "rabenseifner",
    "binomial",
    "double_tree",
    "torus",
    "hierarchical",
    "hierarchical_leader",
    "recursive_doubling",
)
MODEL = Model("m", (Layer("l", 4, 1.0, 1.0, 1.0, 1, 1, 1),))
FAST_MEMORY = 1e13  # bytes/s: a reduction takes no time


class Job:
    """So many steps of computing for `seconds` and reducing `elements` on some hosts."""

    def __init__(self, hosts, algorithm, elements, *, steps=2, seconds=0.0, after=0.0, kind="all_reduce", reduce="sum"):
        self.hosts = list(hosts)
        self.algorithm = algorithm
        self.elements = elements
        self.steps = steps
        self.seconds = seconds
        self.after = after
        self.kind = kind
        self.reduce = reduce

    def program(self, me, group):
        buffer = Buffer("b", self.elements)
        shape = None
        if self.algorithm.startswith("hierarchical"):
            nodes = nodes_of(len(self.hosts))
            shape = (nodes, len(self.hosts) // nodes)
        if self.after:
            yield Sleep(self.after)
        for step in range(self.steps):
            if self.seconds:
                yield from Compute(Kernel("c", "c", 1e18 * self.seconds, 0.0, step=step))
            op = Collective(self.kind, me.group(group), buffer, self.algorithm, reduce=self.reduce, shape=shape)
            yield from op


def play(cluster, jobs, fidelity):
    roles = tuple(
        Role(f"job{number}", len(job.hosts), functools.partial(job.program, group=f"job{number}"))
        for number, job in enumerate(jobs)
    )
    return engine_of(cluster, roles, [host for job in jobs for host in job.hosts], fidelity)


def engine_of(cluster, roles, placement, fidelity, noise=None):
    cast = Cast(roles)
    contexts = [
        Context(**cast.seat(actor.rank), options=None, model=MODEL, batch_size=1, steps=1, seed=0, optimizer=Sgd())
        for actor in cast
    ]
    trace = Trace()
    engine = Engine(cluster, placement, cast, contexts, trace, noise=noise, fidelity=fidelity)
    engine.run()
    return engine, trace


def ends(trace, jobs):
    return [max(row.t_end for row in trace if row.role == f"job{number}") for number in range(len(jobs))]


def worst_difference(cluster, jobs):
    """Largest relative difference of a job's end; checks that bytes and messages of all ranks are the same."""
    _, messages = play(cluster, jobs, "message")
    _, coupled = play(cluster, jobs, "coupled")
    assert traffic(coupled) == traffic(messages)
    pairs = zip(ends(messages, jobs), ends(coupled, jobs), strict=True)
    return max(abs(own / reference - 1) for reference, own in pairs)


def traffic(trace):
    figures = {}
    for row in trace:
        if row.op in {"send", "recv"}:
            nbytes, messages = figures.get((row.rank, row.op), (0, 0))
            figures[row.rank, row.op] = nbytes + row.nbytes, messages + (row.messages or 1)
    return {key: value for key, value in figures.items() if value != (0, 0)}


def nodes_of(ranks):
    """Of eight ranks each, or as few as fill them."""
    return ranks // next(inner for inner in (8, 4, 2, 3, 1) if ranks % inner == 0)


def elements_for(algorithm, ranks):
    """Chunks that flow twenty times as long as the latency of a route of two links."""
    pieces = ranks if algorithm in {"ring", "rabenseifner", "torus", "hierarchical"} else 1
    pieces = nodes_of(ranks) if algorithm == "hierarchical_leader" else pieces
    return int(20 * 2 * LATENCY * BANDWIDTH * pieces / 4)


SIZES = {"double_tree": (2, 5, 8, 16)}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("memory", [SLOW_MEMORY, FAST_MEMORY])
def test_alone_it_takes_the_time_of_its_messages(algorithm, memory):
    for ranks in SIZES.get(algorithm, (2, 3, 4, 6, 8, 12, 17, 64)):
        job = Job(range(ranks), algorithm, elements_for(algorithm, ranks), steps=1 if ranks == 64 else 2)
        clusters = [cluster_of(ranks, pod=4, memory=memory)]
        if ranks < 64:
            clusters += [cluster_of(ranks, memory=memory), cluster_of(ranks, memory=memory, thin=(1,))]
        for cluster in clusters:
            assert worst_difference(cluster, [job]) < 0.005, ranks


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_jobs_on_the_same_hosts(algorithm):
    """They share every link and core, in step and out of step."""
    for ranks in SIZES.get(algorithm, (2, 4, 6, 8, 12, 16)):
        elements = elements_for(algorithm, ranks)
        unit = 4 * elements / BANDWIDTH
        for other, seconds, after in ((2 / 3, 0.0, 0.0), (1.0, unit, 0.3 * unit), (0.3, 0.4 * unit, 0.1 * unit)):
            jobs = [
                Job(range(ranks), algorithm, elements, steps=3, seconds=seconds),
                Job(range(ranks), algorithm, int(other * elements), steps=3, seconds=0.8 * seconds, after=after),
            ]
            cluster = cluster_of(ranks, cores=2 if seconds else 1)
            assert worst_difference(cluster, jobs) < 0.02, (ranks, other)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_jobs_that_share_uplinks_only(algorithm):
    for ranks in SIZES.get(algorithm, (2, 4, 8, 12, 16)):
        elements = elements_for(algorithm, ranks)
        jobs = [
            Job(range(0, 2 * ranks, 2), algorithm, elements, steps=3),
            Job(range(1, 2 * ranks, 2), algorithm, 2 * elements // 3, steps=3, after=1e-4),
        ]
        assert worst_difference(cluster_of(2 * ranks, pod=4), jobs) < 0.02, ranks


SCATTERED = (
    ("rabenseifner", range(16), "ring", (14, 12, 1, 2, 5, 9)),
    ("recursive_doubling", (12, 15, 8, 2, 9, 11, 1, 13), "torus", range(12, 16)),
    ("torus", (1, 7, 8, 13), "recursive_doubling", (13, 14, 1, 15)),
    ("ring", range(8), "recursive_doubling", (10, 7, 5, 12)),
    ("torus", range(8), "ring", (2, 10)),
    ("hierarchical", range(12), "binomial", (3, 11, 6, 0, 9)),
    ("ring", range(0, 16, 2), "double_tree", (14, 8, 1)),
)


@pytest.mark.parametrize("topology", [Torus((4, 4)), Dragonfly(4, 2, 2), Ring(16), Hypercube(4)], ids=lambda t: t.kind)
@pytest.mark.parametrize("memory", [SLOW_MEMORY, FAST_MEMORY])
def test_two_jobs_scattered_over_direct_networks(topology, memory):
    """Messages cross several links, of which few are shared, and none by all members alike."""
    host = Host("h", 2, Device("d", 1e18, memory_bandwidth=memory))
    cluster = build(topology, host, Link("l", BANDWIDTH, LATENCY), Link("o", 1e12, 0.0))
    for algorithm, hosts, other, others in SCATTERED:
        elements = 3 * elements_for(algorithm, len(hosts))
        seconds = 4 * elements / BANDWIDTH
        for after in (0.0, 0.2 * seconds):
            jobs = [
                Job(hosts, algorithm, elements, seconds=0.5 * seconds),
                Job(others, other, 3 * elements_for(other, len(others)), steps=4, seconds=0.3 * seconds, after=after),
            ]
            assert worst_difference(cluster, jobs) < 0.02, (algorithm, other, after)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("flow_over_latency", [0.05, 1.0, 5.0])
def test_short_messages_are_bracketed_and_not_taken_by_auto(algorithm, flow_over_latency):
    """Between the collective alone and both of them one after the other, and so are the messages."""
    for ranks in (4, 6, 16):
        cluster = cluster_of(ranks)
        elements = int(elements_for(algorithm, ranks) * flow_over_latency / 20)
        jobs = [Job(range(ranks), algorithm, elements, steps=1), Job(range(ranks), "ring", elements, steps=1)]
        alone = [ends(play(cluster, [job], "message")[1], [job])[0] for job in jobs]
        for fidelity in ("message", "coupled"):
            for end, least in zip(ends(play(cluster, jobs, fidelity)[1], jobs), alone, strict=True):
                assert (1 - 1e-9) * least <= end <= (1 + 1e-9) * sum(alone)
        assert play(cluster, jobs[:1], "auto")[0].collectives == {"message": 1, "coupled": 0}


@pytest.mark.parametrize("algorithm", ["naive", "direct"])
def test_naive_algorithms_too(algorithm):
    for ranks in (2, 5, 8):
        jobs = [Job(range(ranks), algorithm, 100_000), Job(range(ranks), "ring", 90_000 * ranks, after=1e-4)]
        assert worst_difference(cluster_of(ranks), jobs[:1]) < 1e-9
        assert worst_difference(cluster_of(ranks), jobs) < 0.02


@pytest.mark.parametrize("kind", ["reduce_scatter", "all_gather", "all_to_all", "broadcast"])
def test_other_kinds(kind):
    algorithm = {"all_to_all": "pairwise", "broadcast": "binomial"}.get(kind, "ring")
    for ranks in (2, 5, 8):
        job = Job(range(ranks), algorithm, 250_000 * ranks, kind=kind, steps=1)
        assert worst_difference(cluster_of(ranks), [job]) < 1e-9
        assert worst_difference(cluster_of(ranks, pod=4), [job]) < 0.005


def test_a_mean_costs_what_its_messages_cost():
    for algorithm in ALGORITHMS:
        job = Job(range(8), algorithm, 8_000_000, reduce="mean")
        assert worst_difference(cluster_of(8), [job]) < 1e-6


@pytest.mark.parametrize("algorithm", ["ring", "torus", "hierarchical", "rabenseifner", "binomial", "double_tree"])
def test_alone_it_costs_the_same_events_for_any_number_of_ranks(algorithm):
    counts = set()
    for ranks in (4, 16, 64):
        elements = elements_for(algorithm, ranks)
        whole, _ = play(cluster_of(ranks), [Job(range(ranks), algorithm, elements, steps=1)], "coupled")
        counts.add(whole.events)
    assert max(counts) <= 8


def test_where_links_are_shared_events_are_bounded():
    def events(ranks):
        jobs = [Job(range(ranks), "ring", 100_000 * ranks, steps=1) for _ in range(2)]
        return play(cluster_of(ranks), jobs, "coupled")[0].events

    # Two jobs of 766 rounds, or 382, of two legs each, too many messages: gathered into 256 rounds, a leg is one event.
    assert 2 * MOST_ROUNDS < events(192) < 4 * MOST_ROUNDS
    assert 2 * MOST_ROUNDS < events(384) < 4 * MOST_ROUNDS


def test_a_message_that_crosses_takes_its_share():
    """By hand: two ranks exchange halves of 2000 bytes twice at 1 byte/s; a message meets the first exchange half-way.

    It shares the uplink of host 0 from 500 s on: the exchange's second 500 bytes take 1000 s. Then it pauses for no
    time (no latency, no reductions), shares again while the message has 500 of its 1000 bytes left, ...
    """
    device = Device("d", 1e18)
    links = {(a, b): Link(f"{a}{b}", 1.0, 0.0) for a in range(3) for b in range(3) if a != b}
    for host in range(3):
        links[host, host] = Link(f"{host}", 1e12, 0.0)
    links[0, 3], links[3, 1], links[3, 2] = Link("up", 1.0, 0.0), Link("a", 9.0, 0.0), Link("b", 9.0, 0.0)

    def router(source, destination):
        return (0, 3, destination) if source == 0 else (source, destination)

    cluster = Cluster([Host(str(host), 1, device) for host in range(3)], links, router)

    def pair(me):
        yield from Collective("all_reduce", me.group("pair"), Buffer("b", 500), "ring")

    def sender(me):
        yield Sleep(500.0)
        yield Send(3, Buffer("m", 250), "t")

    def receiver(me):
        yield Recv(2, "t")

    roles = (Role("pair", 2, pair), Role("sender", 1, sender), Role("receiver", 1, receiver))
    for fidelity in ("message", "coupled"):
        _, trace = engine_of(cluster, roles, [0, 1, 0, 2], fidelity)
        assert max(row.t_end for row in trace if row.role == "receiver") == pytest.approx(2500.0, rel=1e-9)
        assert max(row.t_end for row in trace if row.role == "pair") == pytest.approx(3000.0, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if name != "all-reduce: ring is its messages"])
def test_the_conformance_suite_holds(name):
    case = CASES[name]
    if case.error is None:
        case.check(simulated(case, fidelity="coupled"))
    else:
        with pytest.raises(case.error, match=case.match):
            simulated(case, fidelity="coupled")


# scenarios -----------------------------------------------------------------------------------------------------------
def scenario(*overrides, variant="all-reduce"):
    return parasim.load("scenarios/quickstart.yaml", ["run.steps=4", *overrides], variant=variant)


@pytest.mark.parametrize("algorithm", ["ring", "rabenseifner", "binomial", "double_tree", "direct", "native"])
def test_learning_is_the_same_to_the_bit(algorithm):
    words = f"scheme.algorithm={algorithm}", "scheme.workers=3", "scheme.bucket_bytes=300000"
    by_message = parasim.simulate(scenario(*words))
    coupled = parasim.simulate(scenario(*words, "run.fidelity=coupled"))
    for own, reference in zip(coupled.returns, by_message.returns, strict=True):
        np.testing.assert_array_equal(own, reference)
    for key in ("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "loss", "updates", "steps"):
        assert coupled.summary[key] == by_message.summary[key]
    assert by_message.summary["collectives"] is None
    assert coupled.summary["collectives"]["message"] == 0
    assert coupled.summary["collectives"]["coupled"] > 0


@pytest.mark.parametrize("trace", ["rows", "aggregate"])
def test_shares_are_those_of_the_messages(trace):
    words = "run.learn=false", "scheme.overlap=false", f"run.trace={trace}", "cluster.noise.sigma=0"
    for algorithm in ("ring", "binomial"):
        by_message = parasim.simulate(scenario(*words, f"scheme.algorithm={algorithm}")).summary
        coupled = parasim.simulate(scenario(*words, f"scheme.algorithm={algorithm}", "run.fidelity=coupled")).summary
        assert coupled["seconds"] == pytest.approx(by_message["seconds"], rel=0.005)
        for share, value in by_message["shares"].items():
            assert coupled["shares"][share] == pytest.approx(value, abs=0.02)


def test_auto_takes_what_it_fits_and_says_so():
    def counts(*words):
        chosen = scenario("run.learn=false", "run.fidelity=auto", "scheme.overlap=false", *words)
        return parasim.simulate(chosen).summary["collectives"]

    quiet, fast = "cluster.noise={kind: none}", "cluster.device.memory_bandwidth=10 TB/s"
    assert counts(quiet, fast) == {"message": 0, "coupled": 4}  # its chunks of 150 kB flow for 12 latencies of a route
    assert counts(quiet, fast, "cluster.link.latency=61 us") == {"message": 4, "coupled": 0}  # for 9.8
    # Costly reductions of the first of three buckets share cores with the backward pass, those of the others do not.
    slow_memory = "cluster.device.memory_bandwidth=1 GB/s"
    assert counts(quiet, slow_memory) == {"message": 0, "coupled": 4}
    buckets = "scheme.overlap=true", "scheme.bucket_bytes=200000", "cluster.link.latency=1 us"
    assert counts(quiet, slow_memory, *buckets) == {"message": 4, "coupled": 8}


@pytest.mark.parametrize(
    ("memory", "noise", "coupled"),
    [(SLOW_MEMORY, NoNoise(), 2), (SLOW_MEMORY, LogNormal(0.1), 0), (FAST_MEMORY, LogNormal(0.1), 2)],
)
def test_auto_leaves_out_reductions_that_noise_slows_down(memory, noise, coupled):
    job = Job(range(4), "ring", elements_for("ring", 4))
    roles = (Role("job0", 4, functools.partial(job.program, group="job0")),)
    engine, _ = engine_of(cluster_of(4, memory=memory), roles, range(4), "auto", noise)
    assert engine.collectives == {"message": 2 - coupled, "coupled": coupled}


def test_a_coupled_run_is_told_and_can_not_be_a_replay(capsys):
    from parasim.cli import main
    from parasim.trace.record import Record

    words = ["scenarios/quickstart.yaml", "--variant", "all-reduce", "run.learn=false", "run.steps=2"]
    assert main(["run", *words, "run.fidelity=coupled"]) == 0
    assert "COUPLED: 2 of 2 collectives were simulated as one flow each" in capsys.readouterr().out
    with pytest.raises(ScenarioError, match=r"write run\.fidelity=message"):
        parasim.simulate(scenario("run.fidelity=coupled"), replay=Record({}, ()))


def test_members_must_agree():
    def program(me):
        buffer = Buffer("b", 8 if me.rank else 12)
        yield from Collective("all_reduce", me.group("worker"), buffer, "ring")

    with pytest.raises(ProgramError, match="gives bytes 48, rank 1 gives 32; all members must ask for the same"):
        engine_of(cluster_of(2), (Role("worker", 2, program),), [0, 1], "coupled")


def test_a_member_that_never_comes_is_a_deadlock_with_a_table():
    def program(me):
        if me.rank:
            yield from Collective("all_reduce", me.group("worker"), Buffer("b", 8), "ring")

    with pytest.raises(DeadlockError) as caught:
        engine_of(cluster_of(3), (Role("worker", 3, program),), [0, 1, 2], "coupled")
    assert len(re.findall(r"Collective\(", str(caught.value))) == 2
