"""A chorus gives the figures of its actors one by one, skips equal steps, and lets go of what it can't tell."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parasim
from benchmarks.cases import LOG_NORMAL, document, star
from parasim.learning.optimizers import Sgd
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.draws import Draws
from parasim.program.ops import Collective, Compute, Decide, Event, Kernel, Log, Poll, Post, Sleep, Wait
from parasim.scenario import from_document
from parasim.simulation.chorus.counts import Count, Distinguished, Family
from parasim.simulation.chorus.paces import Paces
from parasim.simulation.chorus.sing import Stage, sing
from parasim.simulation.engine import Engine
from parasim.simulation.noise import Gamma, LogNormal, Mixture, NoNoise, ParetoTail, Resampled
from parasim.simulation.pace import modelled
from parasim.simulation.stragglers import Straggler
from parasim.trace.aggregate import Aggregates
from tests.test_fast_paths import FLOPS, MODEL, close, totals
from tests.test_fast_paths import star as switched

HIERARCHY = {"kind": "hierarchical", "nodes": 3, "per_node": 2, "inside_bandwidth": "40 Gbit/s"}
LAWS = [LogNormal(0.3), Gamma(2.0), Mixture(0.3, 4.0), ParetoTail(0.3, 1.5), Resampled((1.0, 2.0, 4.0))]


def ring(workers, steps, **more):
    scheme = {"kind": "allreduce", "algorithm": "ring", "overlap": False, "workers": workers}
    return document(f"ring of {workers}", star(workers), steps, scheme, **more)


def scheme(kind, steps, workers=4, **more):
    return document(kind, star(workers), steps, {"kind": kind, "workers": workers, **more})


def simulated(text, way="all"):
    return parasim.simulate(from_document({**text, "run": {**text["run"], "fast_paths": way}}))


def both(text):
    """The chorus, its figures and sums being those of the actors one by one."""
    sung, plain = simulated(text), simulated(text, "none")
    close(sung.summary, plain.summary)
    close(totals(sung.trace), totals(plain.trace))
    assert len(sung.returns) == len(plain.returns)
    assert plain.summary["events"] > 0
    return sung


def sings(text):
    return both(text).summary["events"] == 0


def layered(text, layers):
    text["scheme"] |= {"overlap": True, "bucket_bytes": 1}
    layer = {"parameters": 999_983, "forward_flops": 5e18, "repeat": layers}
    text["workload"]["model"]["layers"] = [layer]
    return text


# scenarios -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fidelity", ["message", "coupled"])
@pytest.mark.parametrize("noise", [{"kind": "none"}, LOG_NORMAL])
def test_a_ring_is_sung(fidelity, noise):
    assert sings(ring(5, 7, fidelity=fidelity, noise=noise))


@pytest.mark.parametrize("noise", [{"kind": "none"}, LOG_NORMAL])
def test_layers_are_reduced_beside_the_backward_pass(noise):
    assert sings(layered(ring(4, 6, noise=noise), 3))


def test_a_coupled_hierarchy_is_sung_where_its_rounds_keep_step():
    kind = {"kind": "allreduce", "algorithm": "hierarchical", "rows": 3, "workers": 6}
    text = document("hierarchy", HIERARCHY, 6, kind)
    assert sings({**text, "run": {**text["run"], "fidelity": "coupled"}})


@pytest.mark.parametrize(
    "text",
    [
        scheme("local_sgd", 23, period=5),
        scheme("local_sgd", 40, period=3, local_from=11),
        scheme("local_sgd", 20, period=4, momentum="average"),
        scheme("bmuf", 25, period=4),
        scheme("pipe_sgd", 21),
        scheme("accumulation", 12, micro_batches=1),
    ],
    ids=lambda text: text["name"],
)
def test_schemes_that_keep_time_are_sung(text):
    assert sings(text)


@pytest.mark.parametrize("kind", ["parameter_server", "dpsgd", "downpour", "hogwild", "hierarchical_sgd"])
def test_schemes_whose_actors_differ_go_one_by_one(kind):
    text = scheme(kind, 3)
    text["cluster"]["topology"]["hosts"] = 8
    if kind == "hogwild":
        text["cluster"]["topology"]["hosts"] = 1
        text["cluster"]["host"] = {"cores": 4}
    if kind == "hierarchical_sgd":
        text["scheme"] |= {"groups": 2}
    summary = simulated(text).summary
    assert summary["events"] > 0
    assert "taken" not in summary["fast_paths"].values()
    if kind == "hierarchical_sgd":  # its rings are of groups
        assert summary["fast_paths"]["chorus"] == "a program asks for its index"
        assert summary["fast_paths"]["collectives"]["without_messages"] > 0


def test_unequal_workers_and_stragglers_have_their_own_times():
    text = ring(5, 9, noise=LOG_NORMAL)
    text["cluster"] |= {"speeds": {1: 0.5}, "stragglers": [{"workers": [3], "slowdown": 3, "from_step": 4}]}
    assert sings(text)


def test_rows_learning_and_the_switch_leave_the_chorus_out():
    text = ring(4, 2)
    kept = simulated({**text, "run": {**text["run"], "trace": "rows"}}).summary
    plain = simulated(text, "none").summary
    assert kept["events"] > 0
    assert plain["events"] > 0
    assert kept["fast_paths"] == dict.fromkeys(("chorus", "tapes"), "rows of the trace are kept")
    assert plain["fast_paths"] == dict.fromkeys(("chorus", "tapes"), "fast_paths is none")


# equal steps ---------------------------------------------------------------------------------------------------------
def test_a_million_steps_are_a_thousand_thousand():
    short, long = simulated(ring(4, 1000)).summary, simulated(ring(4, 1_000_000)).summary
    assert long["seconds"] == pytest.approx(1000 * short["seconds"], rel=1e-9)
    assert long["staleness"]["histogram"] == {0: 4_000_000}
    close(long["shares"], short["shares"])
    assert long["updates"] == long["steps"] == 1_000_000


@pytest.mark.parametrize("kind", ["allreduce", "local_sgd", "pipe_sgd"])
def test_few_operations_are_worked_out_of_many_steps(kind, monkeypatch):
    from parasim.simulation.chorus import score

    seen = []
    original = score.Score.run
    monkeypatch.setattr(score.Score, "run", lambda self, *given: (seen.append(self), original(self, *given))[1])
    for steps in (100, 100_000):
        simulated(scheme(kind, steps))
    assert seen[1].operations <= seen[0].operations + 4


def test_noise_leaves_every_step_its_own():
    short, long = (simulated(ring(3, steps, noise=LOG_NORMAL)).summary["seconds"] for steps in (30, 60))
    assert long != 2 * short


# programs ------------------------------------------------------------------------------------------------------------
def outcomes(program, count=3, steps=40, noise=None):
    """Sums of a chorus (None if it was let go), and those of its actors one by one."""
    cluster = switched(count)
    cast = Cast((Role("worker", count, program),))

    def context(kind=Context, rank=0, **more):
        optimizer = Sgd()
        return kind(
            **more, **cast.seat(rank), options=None, model=MODEL, batch_size=1, steps=steps, seed=3, optimizer=optimizer
        )

    law = noise or NoNoise()
    stage = Stage(cluster, range(count), law, {}, {}, (0.0, 0.0), "message", 3)
    try:
        sung = sing(stage, cast, context)
    except Distinguished:
        sung = None
    trace = Aggregates()
    contexts = [context(rank=rank) for rank in range(count)]
    Engine(cluster, range(count), cast, contexts, trace, noise=law, fast_paths=False).run()
    if sung is not None:
        own = Aggregates()
        own.take(sung.actors)
        close(totals(own), totals(trace))
        assert [actor.steps for actor in own.actors] == [actor.steps for actor in trace.actors]
    return sung


def compute(seconds, step=-1):
    return Compute(Kernel("c", "c", FLOPS * seconds, step=step))


def test_a_program_that_counts_for_itself_is_run_out():
    def program(me):
        own = 1
        for step in me.steps():
            own = min(own + 1, 35)
            yield from compute(0.5 if own > 30 else 0.1, step)
            yield Log(Event("step", step=step))

    assert outcomes(program) is not None


@pytest.mark.parametrize(
    "longer",
    [
        lambda step: step == 17,
        lambda step: step >= 33,
        lambda step: step % 7 == 3,
        lambda step: (step + 2) % 4 == 0 or step + 1 == 40,
        lambda step: bool(step) and not step % 5,
        lambda step: step != 12 and 9 < step <= 20,
    ],
)
def test_what_a_program_asks_of_its_steps_is_answered_as_ever(longer):
    def program(me):
        for step in me.steps():
            yield from compute(0.7 if longer(step) else 0.1, step)
            yield Log(Event("step", step=step))

    assert outcomes(program) is not None


def test_iterations_that_go_with_others_are_run_out():
    def program(me):
        for step, seconds in zip(me.steps(), [0.1] * 20 + [0.3] * 20, strict=True):
            yield from compute(seconds, step)

    assert outcomes(program) is not None


def test_a_program_with_sleeps_decisions_and_waits_is_sung():
    def program(me):
        for step in me.steps():
            yield from Sleep(0.25)
            handle = yield from Post(Sleep(0.5), lane="beside")
            if (yield from Decide(lambda: True, True)):
                yield from compute(0.1, step)
            yield from Wait([handle])
            yield Log(Event("step", step=step))

    assert outcomes(program) is not None


def asks_rank(me):
    for step in me.steps():
        yield from compute(0.1 * (1 + me.rank), step)


def asks_draws(me):
    yield from Sleep(me.draws.uniform("pause"))


def asks_samples(me):
    yield from Sleep(float(me.batch(0).start))


def asks_handle(me):
    handle = yield from Post(Sleep(1.0), lane="beside")
    yield from Sleep(0.0 if handle.done else 0.5)


def polls(me):
    handle = yield from Post(Sleep(1.0), lane="beside")
    yield from Sleep(0.0 if (yield from Poll(handle)) else 0.5)


def shares_its_core(me):
    handle = yield from Post(compute(0.5), lane="beside")
    yield from compute(0.4)
    yield from Wait([handle])


def posts_a_program(me):
    handle = yield from Post(asks_nothing(), lane="beside")
    yield from Wait([handle])


def asks_nothing():
    yield from Sleep(0.5)


def writes_its_step(me):
    for step in me.steps():
        yield from Compute(Kernel(f"c{step}", "c", FLOPS))


def half_a_group(me):
    yield from Collective("barrier", me.group("worker"))


@pytest.mark.parametrize(
    "program",
    [
        asks_rank,
        asks_draws,
        asks_samples,
        asks_handle,
        polls,
        shares_its_core,
        posts_a_program,
        writes_its_step,
        half_a_group,
    ],
)
def test_a_program_that_could_tell_is_let_go(program):
    assert outcomes(program) is None


# parts ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("law", [NoNoise(), *LAWS], ids=lambda law: law.kind)
@given(st.integers(0, 2**40), st.integers(-1, 1000), st.sampled_from(["", "layer 1"]))
@settings(max_examples=10, deadline=None)
def test_seconds_of_all_are_those_of_each(law, seed, step, layer):
    rules = {1: [Straggler(slowdown=2.0, from_step=5)], 2: [Straggler(noise=LogNormal(0.5))]}
    device = switched(1).hosts[0].device
    paces = Paces(seed, "worker", [device], np.zeros(4, np.intp), {3: 0.25}, law, rules)
    kernels = [Kernel(label, "c", FLOPS, layer=layer, step=step) for label in ("a", "b", "a")]
    every = [np.broadcast_to(paces.seconds(kernel, np.zeros(1)), (4,)) for kernel in kernels]
    for rank in range(4):
        one = modelled(device, law, Draws(seed, "worker", rank), {3: 0.25}.get(rank, 1.0), rules.get(rank, ()))
        assert [seconds[rank] for seconds in every] == pytest.approx(
            [one(kernel, 0.0) for kernel in kernels], rel=1e-12
        )


def test_a_count_answers_as_a_number_and_writes_down_what_it_was_asked():
    family = Family()
    count = Count(family, 3)
    assert (count + 1) % 2 == 0
    assert count < 5
    assert 2 < count <= 3
    assert count != math.inf
    assert Count(family, 5) - count == 2
    assert family.moduli == {2}
    assert family.room(0, 1) == -1  # it was compared with itself
    family.skipped = 10
    assert count.value == 13
    for broken in (lambda: count == 1.5, lambda: f"{count}", lambda: count < Count(Family())):
        with pytest.raises(Distinguished):
            broken()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["allreduce", "local_sgd", "pipe_sgd", "accumulation"]),
    st.integers(2, 6),
    st.integers(1, 14),
    st.sampled_from(["ring", "recursive_doubling", "binomial", "torus", "rabenseifner"]),
    st.sampled_from(["message", "coupled"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_random_runs_have_the_same_figures(kind, workers, steps, algorithm, fidelity, noisy, parameters):
    more = {"algorithm": algorithm} | ({"period": 3} if kind == "local_sgd" else {})
    more |= {"micro_batches": 1} if kind == "accumulation" else {}
    text = scheme(kind, steps, workers, **more)
    text["run"]["fidelity"] = fidelity
    text["cluster"]["noise"] = LOG_NORMAL if noisy else {"kind": "none"}
    text["workload"]["model"]["layers"][0]["parameters"] = parameters * 1009
    text["cluster"]["device"]["memory_bandwidth"] = "50 GB/s"
    both(text)
