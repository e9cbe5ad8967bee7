"""Asynchronous workers from tapes have the figures of the actors one by one; where a tape can't be, there is none."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parasim
from benchmarks.cases import document, star
from parasim.learning.optimizers import Sgd
from parasim.program import (
    ANY,
    Buffer,
    Cast,
    Closed,
    Compute,
    Event,
    Kernel,
    Layer,
    Log,
    Model,
    Post,
    Recv,
    Role,
    Send,
    Wait,
)  # fmt: skip
from parasim.scenario import from_document
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.sing import Stage
from parasim.simulation.engine import Engine
from parasim.simulation.noise import LogNormal, NoNoise
from parasim.simulation.sharing import EqualShares
from parasim.simulation.tapes import heaps, shares
from parasim.simulation.tapes import perform as performing
from parasim.simulation.tapes.perform import perform
from parasim.trace.aggregate import Aggregates
from tests.pods import pods
from tests.test_fast_paths import close, totals

pytestmark = pytest.mark.xdist_group("compiled")  # by one worker, in the first run
SLOW = {"flops": "1e21 FLOP/s", "memory": "1 TB", "memory_bandwidth": "20 GB/s"}
MODEL = Model("m", (Layer("l", 1000, 1.0, 1.0, 1.0, 1, 1, 1),))


def asynchronous(workers=5, servers=2, steps=3, *, hosts=None, sigma=0.2, cluster=None, **scheme):
    """A scenario document of Downpour, whose updates take a while."""
    scheme = {"kind": "downpour", "servers": servers, "workers": workers, **scheme}
    noise = {"kind": "lognormal", "sigma": sigma} if sigma else {"kind": "none"}
    made = document("downpour", star(hosts or workers + servers), steps, scheme, noise=noise)
    made["cluster"].update({"device": SLOW, **(cluster or {})})
    return made


@pytest.fixture(autouse=True)
def _worth(monkeypatch):
    monkeypatch.setattr(performing, "WORTH", 0)


def same(made, *, tape=True):
    """The figures from tapes and one by one are the same; was there a tape?"""
    fast = parasim.simulate(from_document(made))
    assert (fast.summary["fast_paths"]["tapes"] == "taken") == tape
    plain = parasim.simulate(from_document({**made, "run": {**made["run"], "fast_paths": "none"}}))
    close(fast.summary, plain.summary)
    assert fast.returns == plain.returns
    for one, other in zip(fast.trace.actors, plain.trace.actors, strict=True):
        assert one.staleness == other.staleness
        assert (one.updates, one.num_rows, one.peak_bytes_of) == (other.updates, other.num_rows, other.peak_bytes_of)
    close(totals(fast.trace), totals(plain.trace))
    return fast


# scenarios -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_workers_and_shards_have_the_same_figures(service, sigma):
    result = same(asynchronous(6, 3, 4, service=service, sigma=sigma))
    assert result.summary["staleness"]["max"] > 0


def test_pushes_and_fetches_of_several_steps():
    same(asynchronous(5, 2, 7, n_push=3, n_fetch=2))
    same(asynchronous(5, 2, 7, n_push=2, n_fetch=3, service="serial"))


def test_actors_that_share_hosts_share_cores_and_links():
    same(asynchronous(7, 2, 3, hosts=4, cluster={"host": {"cores": 2}}))


def test_speeds_overheads_and_topologies_are_kept():
    overhead = {"per_message": "10 us", "per_byte": "0.1 ns/B"}
    same(asynchronous(4, 2, cluster={"overhead": overhead, "speeds": {0: 0.3, 2: 2.0}}))
    tree = {"kind": "fat_tree", "children": [4, 2], "parents": [1, 1]}
    same(asynchronous(6, 2, cluster={"topology": tree}))


def test_many_workers_with_several_shards_leave_their_hubs_and_come_back():
    same(asynchronous(40, 4, 2))


@pytest.mark.parametrize(
    "options", [{"zealous": 3}, {"threads": True}, {"warm_start": 2}, {"kind": "dynsgd"}, {"kind": "ssp", "slack": 1}]
)
def test_who_looks_at_what_others_have_otherwise_goes_one_by_one(options):
    same(asynchronous(4, 2, 3, **options), tape=False)


def test_stragglers_and_rows_go_one_by_one():
    rule = {"workers": [1], "slowdown": 3}
    same(asynchronous(cluster={"stragglers": [rule]}), tape=False)
    made = asynchronous()
    made["run"]["trace"] = "rows"
    result = parasim.simulate(from_document(made))
    assert len(result.trace) > 0


def test_few_requests_are_not_worth_a_tape(monkeypatch):
    monkeypatch.setattr(performing, "WORTH", 1 + 4 * 2 * 4)  # workers, servers, fetches
    few = same(asynchronous(4, 2, 3), tape=False)
    assert few.summary["fast_paths"]["tapes"] == "32 requests are not worth it, 33 are"


def test_the_compiled_loop_does_what_it_does_uncompiled():
    made = asynchronous(9, 2, 4)
    compiled = parasim.simulate(from_document(made)).summary
    program = (
        "import json, sys, parasim\n"
        "from parasim.scenario import from_document\n"
        "from parasim.simulation.tapes import perform\n"
        "perform.WORTH = 0\n"
        "print(json.dumps(parasim.simulate(from_document(json.load(sys.stdin))).summary))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(made), env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    plain = json.loads(ran.stdout)
    close(plain, json.loads(json.dumps(compiled)))


@st.composite
def documents(draw):
    """Small scenarios of all that tapes know."""
    workers, servers = draw(st.integers(2, 7)), draw(st.integers(1, 3))
    cluster = {
        "host": {"cores": draw(st.sampled_from([1, 2]))},
        "device": draw(st.sampled_from([SLOW, {**SLOW, "memory_bandwidth": "1e24 B/s"}])),
        "overhead": draw(st.sampled_from([{}, {"per_message": "30 us"}, {"per_byte": "0.2 ns/B"}])),
        "speeds": draw(st.sampled_from([{}, {0: 0.5}])),
    }
    return asynchronous(
        workers,
        servers,
        draw(st.integers(1, 6)),
        hosts=draw(st.sampled_from([workers + servers, workers, 2])),
        sigma=draw(st.sampled_from([0.0, 0.3])),
        cluster=cluster,
        n_push=draw(st.sampled_from([1, 1, 2])),
        n_fetch=draw(st.sampled_from([1, 1, 3])),
        service=draw(st.sampled_from(["serial", "concurrent"])),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(documents())
def test_random_scenarios_have_the_same_figures(made):
    same(made)


# programs ------------------------------------------------------------------------------------------------------------
WEIGHTS = Buffer("weights", 1000)


def worker(me):
    """Compute, ask, compute ..."""
    for _ in me.steps():
        yield from Compute(Kernel("work", flops=1e20))
        handles = []
        for one in me.ranks("server"):
            handles.append((yield from Post(ask(one), f"to {one}")))
        yield from Wait(handles)


def ask(server):
    yield from Send(server, Buffer("push", 1000), "ask")
    yield from Recv(server, "answer")


def server(me):
    for one in me.ranks("worker"):
        yield from Post(serve(one), f"from {one}", daemon=True)


def serve(one):
    try:
        while True:
            yield from Recv(one, "ask")
            yield from Compute(Kernel("update", nbytes=1e9), touches=(WEIGHTS,))
            yield from Send(one, Buffer("copy", 1000), "answer")
    except Closed:
        return


def stage_and_cast(work, serving, workers=4, servers=2, noise=None):
    cast = Cast((Role("worker", workers, work), Role("server", servers, serving, daemon=True)))
    cluster = pods(workers + servers, flops=1e21, memory=20e9)
    placement = tuple(range(workers + servers))
    return Stage(cluster, placement, noise or NoNoise(), {}, {}, (0.0, 0.0), "message", 0), cast


def context_of(cast):
    def make(kind, rank, **more):
        return kind(
            **more, **cast.seat(rank), options=None, model=MODEL, batch_size=1, steps=3, seed=0, optimizer=Sgd()
        )  # fmt: skip

    return make


def tape(work=worker, serving=server, **more):
    """What came of a run from tapes; None if its actors have to go one by one."""
    stage, cast = stage_and_cast(work, serving, **more)
    try:
        return perform(stage, cast, context_of(cast))
    except Distinguished:
        return None


def test_a_worker_that_goes_on_after_its_last_step_is_not_taped():
    def stepping(me, after):
        for step in me.steps():
            handles = []
            for one in me.ranks("server"):
                handles.append((yield from Post(ask(one), f"to {one}")))
            yield from Wait(handles)
            yield from Log(Event("step", step=step))
        if after:
            yield from Compute(Kernel("work", flops=1e20))

    ended, goes_on = (tape(lambda me, after=after: stepping(me, after)) for after in (False, True))
    assert ended is not None
    assert all(one.totals.last_step == one.totals.end > 0 for one in ended.actors if one.totals.role == "worker")
    assert goes_on is None


def test_plain_programs_are_played_as_the_engine_runs_them():
    for workers in (2, 3, 5):
        stage, cast = stage_and_cast(worker, server, workers, noise=LogNormal(0.3))
        performed = perform(stage, cast, context_of(cast))
        trace, expected = Aggregates(), Aggregates()
        trace.take(performed.actors)
        make = context_of(cast)
        contexts = [make(parasim.program.Context, actor.rank) for actor in cast]
        Engine(stage.cluster, stage.placement, cast, contexts, expected, noise=stage.noise, fast_paths=False).run()
        close(totals(trace), totals(expected))


def _asks_for_rank(me):
    yield from Compute(Kernel("work", flops=1e20 * (1 + me.rank)))


def _talks_in_the_main_lane(me):
    yield from ask(me.ranks("server")[0])


def _leaves_a_talk(me):
    yield from Post(ask(me.ranks("server")[0]), "to one")


def _changes_what_a_talk_reads(me):
    sizes = [1000]

    def talk():
        yield from Send(me.ranks("server")[0], Buffer("push", sizes[0]), "ask")
        yield from Recv(me.ranks("server")[0], "answer")

    handle = yield from Post(talk(), "to one")
    sizes[0] = 2000
    yield from Wait([handle])


@pytest.mark.parametrize("work", [_asks_for_rank, _talks_in_the_main_lane, _leaves_a_talk, _changes_what_a_talk_reads])
def test_workers_that_may_differ_have_no_tape(work):
    assert tape() is not None
    assert tape(work=work) is None


def _prefers_one(me):
    for one in me.ranks("worker"):
        if one != 0:
            yield from Post(serve(one), f"from {one}", daemon=True)


def _skips_some(me):
    for number, one in enumerate(me.ranks("worker")):
        if number < 3:
            yield from Post(serve(one), f"from {one}", daemon=True)


def _remembers_its_clients(me):
    met = []
    for one in me.ranks("worker"):
        met.append(one)
        yield from Post(serve(one), f"from {one}", daemon=True)


def _counts_requests(me):
    served = SimpleNamespace(requests=0)

    def lane(one):
        while True:
            yield from Recv(one, "ask")
            served.requests += 1
            yield from Send(one, Buffer("copy", 1000 + served.requests), "answer")

    for one in me.ranks("worker"):
        yield from Post(lane(one), f"from {one}", daemon=True)


def _counts_who_is_served(me):
    held = me.replica()

    def lane(one):
        while True:
            yield from Recv(one, "ask")
            held.parameters.name = "busy"
            yield from Compute(Kernel("update", nbytes=1e9))
            held.parameters.name = "weights"
            yield from Send(one, Buffer("copy", 1000), "answer")

    for one in me.ranks("worker"):
        yield from Post(lane(one), f"from {one}", daemon=True)


def _serves_so_often(me):
    def lane(one):
        for _ in itertools.repeat(None, 3):
            yield from Recv(one, "ask")
            yield from Send(one, Buffer("copy", 1000), "answer")

    for one in me.ranks("worker"):
        yield from Post(lane(one), f"from {one}", daemon=True)


def _looks_at_its_version(me):
    held = me.replica()
    while True:
        message = yield from Recv(ANY, "ask")
        held.version += 1
        yield from Send(message.source, Buffer("copy", 1000 if held.version % 2 else 2000), "answer")


@pytest.mark.parametrize(
    "serving",
    [
        _prefers_one, _skips_some, _remembers_its_clients, _counts_requests, _counts_who_is_served, _serves_so_often,
        _looks_at_its_version,
    ],
)  # fmt: skip
def test_servers_whose_requests_may_differ_have_no_tape(serving):
    assert tape(serving=serving) is None


def test_where_actors_would_wait_for_ever_there_is_no_tape():
    def silent(one):
        while True:
            yield from Recv(one, "ask")

    def deaf(me):
        for one in me.ranks("worker"):
            yield from Post(silent(one), f"from {one}", daemon=True)

    assert tape(serving=deaf) is None


# the loop's parts ----------------------------------------------------------------------------------------------------
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 3)), min_size=1, max_size=12), st.sampled_from([1.0, 3.0]))
def test_equal_shares_are_those_of_the_engine(jobs, capacity):
    slow = np.array([1.0, 1.3, 1.7])
    plain = EqualShares(capacity, 1.0, slow.tolist())
    fast = shares.make_shares(
        np.array([capacity]), np.ones(1), np.array([len(jobs)]), slow, np.zeros(1, np.int64), np.array([3])
    )
    now, ended = 0.0, np.zeros(len(jobs), np.int32)
    for number, (gap, work) in enumerate(jobs):
        now += gap
        count = shares.take(fast, 0, now, now, ended, 0)
        assert ended[:count].tolist() == plain.take(now, now)
        plain.add(now, work, number)
        shares.add(fast, 0, now, work, number)
        assert shares.end_of(fast, 0) == plain.end


@given(st.lists(st.integers(0, 999), unique=True, max_size=40))
def test_items_are_sorted_by_their_numbers(numbers):
    by = np.array(numbers, np.int64)
    items = np.arange(len(numbers), dtype=np.int32)
    heaps.sort(items, len(items), by)
    assert by[items].tolist() == sorted(numbers)
