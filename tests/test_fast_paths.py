"""`run: {fast_paths: none}` gives the same figures as all of them, and all of them need few events."""

from __future__ import annotations

import functools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parasim
from parasim.errors import DeadlockError, ScenarioError
from parasim.learning.optimizers import Sgd
from parasim.program import (
    Buffer,
    Cancel,
    Cast,
    Collective,
    Compute,
    Context,
    Kernel,
    Layer,
    Model,
    Post,
    Recv,
    Role,
    Send,
    Sleep,
    Wait,
)
from parasim.scenario import from_document
from parasim.simulation.engine import Engine
from parasim.simulation.fast import recurrence
from parasim.simulation.noise import LogNormal
from parasim.trace.aggregate import Aggregates
from tests.golden import ROOT, SCENARIOS
from tests.pods import SLOW_MEMORY as SLOW
from tests.pods import pods

FLOPS = 1e24
MODEL = Model("m", (Layer("l", 4, 1.0, 1.0, 1.0, 1, 1, 1),))
FAST = 1e24  # bytes/s of memory: a reduction takes no time
ALGORITHMS = ("ring", "rabenseifner", "binomial", "double_tree", "torus", "recursive_doubling", "naive", "direct")
_OF_THE_MACHINE = {"events", "fast_paths", "wall_seconds", "simulation_seconds"}


def close(first, second, where=""):
    """Both are the same, numbers to 1e-9."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            if key not in _OF_THE_MACHINE:
                close(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            close(*pair, f"{where}[{number}]")
    elif isinstance(first, float) and isinstance(second, float):
        assert first == second or math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12), (where, first, second)
    else:
        assert first == second, where


star = functools.partial(pods, flops=FLOPS)


def run(cluster, roles, placement, fast_paths, *, groups=(), noise=None, overhead=(0.0, 0.0)):
    cast = Cast(tuple(roles), tuple(groups))
    contexts = [
        Context(**cast.seat(actor.rank), options=None, model=MODEL, batch_size=1, steps=1, seed=0, optimizer=Sgd())
        for actor in cast
    ]
    trace = Aggregates()
    engine = Engine(cluster, placement, cast, contexts, trace, noise=noise, overhead=overhead, fast_paths=fast_paths)
    engine.run()
    return engine, trace


def totals(trace):
    """All that is known of each actor."""
    return [
        {
            "end": actor.end,
            "rows": actor.num_rows,
            "sent": (actor.bytes_sent, actor.messages_sent, actor.bytes_received, actor.messages_received),
            "flops": actor.flops,
            "main": actor.times.main_seconds(),
            "busy": actor.times.busy_seconds(),
        }
        for actor in trace.actors
    ]


def both(cluster, roles, placement, **options):
    """The engines with and without fast paths, their figures being the same."""
    fast, seen = run(cluster, roles(), placement, True, **options)
    plain, expected = run(cluster, roles(), placement, False, **options)
    close(totals(seen), totals(expected))
    return fast, plain


def trainer(steps, elements, algorithm="ring", *, kind="all_reduce", seconds=0.0, uneven=0.0, layers=1, lane="reduce"):
    """A program: compute, with a collective per layer on a lane beside it; rank r computes `uneven` r longer."""

    def program(me, group):
        buffer = Buffer("b", elements)
        for step in range(steps):
            handles = []
            for layer in range(layers):
                length = (seconds + uneven * me.group(group).index(me.rank)) / layers
                if length:
                    yield from Compute(Kernel(f"c{layer}", "c", FLOPS * length, step=step))
                part = buffer.part(elements * layer // layers, elements * (layer + 1) // layers)
                op = Collective(kind, me.group(group), part, algorithm, reduce="mean")
                handles.append((yield from Post(op, lane=lane)))
            yield from Wait(handles)

    return program


def crew(program, count, name="job"):
    return lambda: [Role(name, count, functools.partial(program, group=name))]


# scenarios -----------------------------------------------------------------------------------------------------------
def shortest(path):
    """The scenarios of a file with as few steps, and as little learning, as it can do with."""
    often = ["run.steps=100", "run.evaluate={every: 1 epoch}"]
    for learn in (["run.learn=false"], []):
        for short in (["run.steps=2"], ["run.steps=6"], often, []):
            try:
                return parasim.load_all(ROOT / path, ["run.trace=aggregate", *learn, *short], allow_code=True)
            except ScenarioError as error:
                refused = error
    raise refused


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=pytest.mark.slow) if "all_keys" in str(path) else path for path in SCENARIOS]
)
def test_scenarios_have_the_same_figures(path):
    for case in shortest(path):
        none = from_document({**case.document, "run": {**case.document["run"], "fast_paths": "none"}})
        close(parasim.simulate(case).summary, parasim.simulate(none).summary, case.name)


# collectives ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["all_reduce", "reduce_scatter", "all_gather"])
@pytest.mark.parametrize("memory", [SLOW, FAST])
def test_a_collective_alone_takes_one_event_a_member_and_step(kind, memory):
    workers, steps = 9, 3
    program = trainer(steps, 50_003, kind=kind, seconds=1e-3, uneven=1e-4)
    fast, plain = both(star(workers, memory=memory), crew(program, workers), range(workers))
    assert fast.events <= (2 * workers + 2) * steps
    assert plain.events > 3 * fast.events


def test_members_that_come_as_before_are_not_worked_out_again(monkeypatch):
    worked_out = []
    play = recurrence._play
    monkeypatch.setattr(recurrence, "_play", lambda *arguments: worked_out.append(1) or play(*arguments))
    for steps in (5, 25):
        program = trainer(steps, 50_003, seconds=1e-3)
        run(star(7, memory=FAST), crew(program, 7)(), range(7), True)
    assert len(worked_out) <= 2 * 3  # as many for 25 steps as for 5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("workers", [2, 5, 8])
def test_every_algorithm_takes_the_time_of_its_messages(algorithm, workers):
    for memory, pod in ((SLOW, None), (FAST, 4)):
        program = trainer(2, 10_007, algorithm, seconds=1e-4, uneven=3e-5)
        both(star(workers, memory=memory, pod=pod), crew(program, workers), range(workers))


def test_collectives_of_layers_follow_each_other_beside_the_computes():
    workers, layers, steps = 8, 5, 2
    for memory, cores, is_fast in ((FAST, 1, True), (SLOW, 2, True), (SLOW, 1, False)):
        program = trainer(steps, 400_000, seconds=2e-3, uneven=1e-4, layers=layers)
        fast, plain = both(star(workers, memory=memory, cores=cores), crew(program, workers), range(workers))
        assert (2 * fast.events < plain.events) == is_fast


def test_with_noise_reductions_that_take_no_time_need_no_messages():
    program = trainer(3, 50_003, seconds=1e-3)
    fast, plain = both(star(8, memory=FAST), crew(program, 8), range(8), noise=LogNormal(0.3), overhead=(1e-6, 1e-12))
    assert 3 * fast.events < plain.events
    both(star(8, memory=SLOW), crew(program, 8), range(8), noise=LogNormal(0.3))


def intruder(after, nbytes, times, partner):
    def program(me):
        for _ in range(times):
            yield from Sleep(after)
            if me.index == 0:
                yield from Send(me.ranks("intruder")[partner], Buffer("x", nbytes // 4), "x")
            else:
                yield from Recv(me.ranks("intruder")[0], "x")

    return program


@pytest.mark.parametrize("after", [2e-5, 1.3e-4, 5e-4, 1.01e-3, 1.4e-3, 2.2e-3])
@pytest.mark.parametrize("memory", [SLOW, FAST])
def test_a_message_of_others_on_its_links_is_met_message_by_message(after, memory):
    def roles():
        program = trainer(2, 200_000, seconds=5e-4, uneven=1e-4)
        return [
            Role("job", 6, functools.partial(program, group="job")),
            Role("intruder", 2, intruder(after, 300_000, 2, 1)),
        ]

    both(star(8, memory=memory, cores=2), roles, [*range(6), 2, 7])


def test_a_compute_that_takes_the_core_of_reductions_slows_them_down():
    def busy(me):
        yield from Sleep(1e-3)
        yield from Compute(Kernel("beside", "c", FLOPS * 1e-3))

    def roles():
        program = trainer(2, 200_000, seconds=5e-4, uneven=1e-4)
        return [Role("job", 6, functools.partial(program, group="job")), Role("busy", 1, busy)]

    both(star(6), roles, [*range(6), 3])


def test_a_cancelled_member_stops_where_its_messages_stop():
    def program(me, group):
        op = Collective("all_reduce", me.group(group), Buffer("b", 100_000), "ring")
        handle = yield from Post(op, lane="reduce")
        yield from Sleep(1e-4)
        if me.rank == 1:
            yield from Cancel(handle)
            yield from Wait([handle])
        return None

    messages = []
    for fast_paths in (True, False):
        with pytest.raises(DeadlockError) as error:
            run(star(4), crew(program, 4)(), range(4), fast_paths)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_who_waits_for_a_member_that_never_comes_waits_for_a_message():
    def program(me, group):
        if me.rank != 2:
            yield from Collective("all_reduce", me.group(group), Buffer("b", 100_000), "ring")
        else:
            yield from Recv(0, "never")

    messages = []
    for fast_paths in (True, False):
        with pytest.raises(DeadlockError) as error:
            run(star(4), crew(program, 4)(), range(4), fast_paths)
        messages.append(str(error.value))
    assert "Exchange" in messages[0]
    assert messages[0] == messages[1]


# random runs ---------------------------------------------------------------------------------------------------------
@st.composite
def runs(draw, pods=(None, 2, 3)):
    hosts = draw(st.integers(3, 7))
    cluster = star(
        hosts,
        memory=draw(st.sampled_from([SLOW, FAST])),
        cores=draw(st.sampled_from([1, 2, 8])),
        thin=draw(st.sets(st.integers(0, hosts - 1), max_size=1)),
        pod=draw(st.sampled_from(pods)),
    )
    roles, placement = [], []
    for number in range(draw(st.integers(1, 3))):
        size = draw(st.integers(2, hosts))
        program = trainer(
            draw(st.integers(1, 3)),
            draw(st.integers(size, 30_000)),
            draw(st.sampled_from(ALGORITHMS)),
            seconds=draw(st.sampled_from([0.0, 1e-4, 7.3e-4])),
            uneven=draw(st.sampled_from([0.0, 3.1e-6, 1.7e-4])),
            layers=draw(st.sampled_from([1, 1, 3])),
            lane=draw(st.sampled_from(["reduce", "other"])),
        )
        name = f"job{number}"
        roles.append(Role(name, size, functools.partial(program, group=name)))
        placement += draw(st.permutations(range(hosts)))[:size]
    if draw(st.booleans()):
        roles.append(Role("intruder", 2, intruder(draw(st.floats(1e-6, 1e-3)), draw(st.integers(4, 100_000)), 3, 1)))
        placement += draw(st.permutations(range(hosts)))[:2]
    options = {
        "noise": draw(st.sampled_from([None, None, LogNormal(0.2)])),
        "overhead": draw(st.sampled_from([(0.0, 0.0), (1e-6, 1e-11)])),
    }
    return cluster, roles, placement, options


@settings(max_examples=60, deadline=None, derandomize=True)
@given(runs())
def test_random_runs_have_the_same_figures(given_run):
    cluster, roles, placement, options = given_run
    both(cluster, lambda: roles, placement, **options)
