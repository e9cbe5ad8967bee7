"""Handling of messages: what it costs when nobody disturbs it is a sum; cores and end points are shared."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from calibration.fitting.messages import MESSAGES, NATIVE, Case, fit_messages, machine, predict
from calibration.probes.programs import contexts_of
from calibration.probes.record import Observation
from parasim.cluster.cluster import Cluster
from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.errors import CalibrationError, DeadlockError, ScenarioError
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.ops import Compute, Exchange, Kernel, Post, Recv, Send, Wait
from parasim.simulation.engine import Engine
from parasim.trace.table import Trace

COSTS = Handling(post=1e-3, hear=2e-3, start=4e-3, finish=8e-3, latency=16e-3)
SIZES = (8, 65536, 1 << 20, 4 << 20)


def seconds(case: Case, handling: Handling, cores: int = 8) -> float:
    return predict([case], cores, handling=handling)[0]


def test_a_message_alone_takes_all_its_stages():
    assert seconds(Case("stream", 2, 100), COSTS) == pytest.approx(31e-3, rel=1e-9)
    assert seconds(Case("ping_pong", 2, 100), COSTS) == pytest.approx(62e-3, rel=1e-9)


def test_a_header_alone_needs_no_start_and_no_latency():
    assert seconds(Case("ping_pong", 2, 0), COSTS) == pytest.approx(2 * 11e-3, rel=1e-9)


def test_bytes_cost_both_ends_at_once():
    handling = Handling(send_byte=2e-9, receive_byte=5e-9, near_bytes=1000, near_byte=1e-9)
    assert seconds(Case("stream", 2, 3000), handling) == pytest.approx(1000e-9 + 2000 * 5e-9, rel=1e-9)


def test_ranks_share_the_cores():
    handling = Handling(post=1e-3)
    alone = seconds(Case("ring", 4, 8), handling, cores=4)
    assert alone == pytest.approx(1e-3, rel=1e-9)
    assert seconds(Case("ring", 4, 8), handling, cores=2) == pytest.approx(2 * alone, rel=1e-9)
    assert seconds(Case("ring", 4, 8), handling, cores=1) == pytest.approx(4 * alone, rel=1e-9)


def test_background_delays_nobody_while_cores_are_free():
    handling = Handling(post=1e-3, background=0.5e-3)
    assert seconds(Case("ping_pong", 2, 8), handling, cores=8) == pytest.approx(2e-3, rel=1e-9)
    alone, crowded = (seconds(Case("ring", 4, 8), handling, cores) for cores in (12, 1))
    assert alone == pytest.approx(1e-3, rel=1e-9)
    assert 7e-3 < crowded <= 4 * 1e-3 + 8 * 0.5e-3  # one core has all of it to do


def test_one_loop_handles_one_message_after_the_other():
    handling = Handling(hear=1e-3)
    assert 4e-3 <= seconds(Case("fan_in", 5, 8), handling, cores=16) < 5.001e-3  # 4 pushes, at most 1 answer after them
    assert seconds(Case("fan_in", 5, 8), handling, cores=16) > 1.5 * seconds(Case("fan_in", 3, 8), handling, cores=16)


def test_an_actor_moves_its_bytes_in_and_out_together():
    handling = Handling(bandwidth=1e6)
    assert seconds(Case("stream", 2, 1000), handling) == pytest.approx(1e-3, rel=1e-9)
    assert seconds(Case("facing", 2, 1000), handling) == pytest.approx(2e-3, rel=1e-9)
    assert seconds(Case("ring", 5, 1000), handling) == pytest.approx(2e-3, rel=1e-9)


def test_operations_cost_the_cores_too():
    assert seconds(Case("operations", 1, 0), Handling(operation=1e-5)) == pytest.approx(1e-5, rel=1e-6)
    crowded = seconds(Case("operations", 8, 0), Handling(operation=1e-3), cores=1)
    assert crowded > 5 * seconds(Case("operations", 8, 0), Handling(operation=1e-3), cores=8)


def test_paced_computes_end_by_the_model_whatever_operations_cost():
    """Two lanes on one core, 100 computes each: as long as they, and what the last one's end waits for."""

    def lane(me, name):
        for _ in range(100):
            yield from Compute(Kernel("paced", flops=1e12))

    def program(me):
        posted = []
        for name in ("a", "b"):
            posted.append((yield from Post(lane(me, name), name)))
        yield from Wait(posted)
        yield from me.step_done(0)

    cast = Cast((Role("worker", 1, program),))
    device = Device("none", flops=1e15, memory=1.0, memory_bandwidth=1.0)
    host = Host("machine", 1, device, handling=Handling(operation=1e-4))
    cluster = Cluster([host], {(0, 0): Link("loopback", 1e15, 0.0)})
    trace = Trace()
    context = contexts_of(cast)
    Engine(cluster, [0], cast, [context(0)], trace, handling_cores=1).run()
    computes = [row for row in trace if row.op == "compute"]
    assert len(computes) == 200
    for name in ("a", "b"):
        ends = [row.t_end for row in computes if row.lane == name]
        assert ends == pytest.approx([1e-3 * (k + 1) for k in range(100)], rel=1e-9)
    waited = [row for row in trace if row.op == "wait"]
    assert [row.t_end for row in waited] == pytest.approx([0.1], rel=1e-9)
    (stepped,) = [row for row in trace if row.op == "log"]
    assert 0.1 <= stepped.t_end <= 0.1 + 3e-4


def test_who_waits_for_a_paced_compute_wakes_up_late():
    """One after the other they end by the model; a message after them is posted when its program has woken up."""

    def program(me):
        for _ in range(3):
            yield from Compute(Kernel("paced", flops=1e12))
        yield Exchange((Send(1 - me.index, None, "word"),), (Recv(1 - me.index, "word"),))
        yield from me.step_done(0)

    cast = Cast((Role("worker", 2, program),))
    costs = Handling(wake=2e-4, operation=1e-4)
    trace, context = Trace(), contexts_of(cast)
    Engine(machine(2, costs), [0, 0], cast, [context(0), context(1)], trace, handling_cores=2).run()
    computes = [row.t_end for row in trace if row.op == "compute" and row.rank == 0]
    assert computes == pytest.approx([1e-3, 2e-3, 3e-3], rel=1e-9)
    assert [row.t_post for row in trace if row.op == "send"] == pytest.approx([3.2e-3] * 2, rel=1e-9)
    assert seconds(Case("waking after 5 ms", 2, 8), costs) == pytest.approx(2e-4, rel=1e-6)
    assert seconds(Case("waking after 5 ms", 2, 8), Handling(wake=2e-4, cold=1.0)) == pytest.approx(4e-4, rel=0.5)


@pytest.mark.parametrize(("latency", "woken"), [(5e-3, 2e-4), (0.0, 0.0)])
def test_timers_hold_messages_up_by_the_latency_of_their_route(latency, woken):
    """From when both ends are ready; then the receiver wakes up and starts. No latency: no timer, not even an event."""

    def program(me):
        if me.index:
            yield from Recv(0, "word", Buffer("into", 1000, 1))
        else:
            yield from Send(1, Buffer("out", 1000, 1), "word")
        yield from me.step_done(0)

    cast = Cast((Role("worker", 2, program),))
    costs = Handling(post=1e-4, hear=1e-4, wake=2e-4, start=1e-4)
    host = Host("machine", 1, Device("none", flops=1e15, memory=1.0, memory_bandwidth=1.0), handling=costs)
    links = {pair: Link(f"{pair}", 1e15, latency) for pair in ((0, 1), (1, 0))}
    events = []
    for cores, ends in ((2, 3e-4 + latency + woken), (None, 3e-4 + latency)):
        trace, context = Trace(), contexts_of(cast)
        cluster = Cluster([host, host], links)
        engine = Engine(cluster, [0, 1], cast, [context(0), context(1)], trace, handling_cores=cores)
        engine.run()
        (received,) = [row for row in trace if row.op == "recv"]
        assert received.t_end == pytest.approx(ends, rel=1e-6)
        events.append(engine.events)
    assert (events[0] > events[1]) == (latency > 0)


def test_a_pause_makes_handling_dearer():
    """All jobs of a round trip after 30 ms: as by the law; the pause of each is what the repetition takes besides."""
    costs = Handling(post=1e-3, hear=2e-3, cold=0.5, cooling=0.01)
    warm, after = (seconds(Case(name, 2, 8), costs) for name in ("stream", "stream after 30 ms"))
    assert warm < 3e-3 * 1.5
    pause = after + 0.03
    by_hand = 1e-3 * costs.warmth(pause - 1e-3 * costs.warmth(pause)) + 2e-3 * costs.warmth(pause)
    assert after == pytest.approx(by_hand, rel=0.05)
    assert costs.warmth(0.0) == 1.0
    assert costs.warmth(10.0) == pytest.approx(1.5)


def test_native_collectives_have_costs_of_their_own():
    case = Case("native", 2, 1000)
    native = Handling(post=1e-3, operation=5e-3)
    found = predict([case], 8, handling=Handling(post=1.0, operation=1.0), native=native)[0]
    assert found == pytest.approx(5e-3 + 2 * 1e-3, rel=1e-9)


def test_negative_costs_are_refused():
    with pytest.raises(ScenarioError, match="post"):
        Handling(post=-1e-6)


def synthetic(costs, values, cases, *, rounds=6, sigma=0.02, seed=0, **given):
    rng = np.random.default_rng(seed)
    truth = costs.handling(values)
    if costs is MESSAGES:
        exact = predict(cases, 2, handling=truth, idle=costs.handling(values, idle=True))
    else:
        exact = predict(cases, 2, native=truth, **given)
    return [
        Observation("links", case.pattern, {"nbytes": case.nbytes, "ranks": case.ranks}, one, number, 0.0)
        for case, value in zip(cases, exact, strict=True)
        for number, one in enumerate(value * np.exp(sigma * rng.standard_normal(rounds)))
    ]


@pytest.mark.slow
def test_what_is_fitted_predicts_cases_that_were_not_observed():
    values = [6e-5, 1.5e-4, 8e-5, 2e-10, 4e-10, 6e-10, 1e-4, 4e-5, 0.6, 1.5, 0.003, 1.2, 2.0, 0.008]
    patterns = ("ping_pong", "stream", "facing", "ring", "fan_in")
    cases = [Case(p, n, b) for p in patterns for n in (2, 4) for b in SIZES] + [Case("operations", 1, 0)]
    cases += [Case(f"{p} after {ms} ms", 2, 8) for p in ("ping_pong", "facing") for ms in (5, 30)]
    cases += [Case(f"{p} after {ms} ms of work", 2, 8) for p in ("ping_pong", "facing") for ms in (1, 5)]
    cases += [Case(f"{p} after 5 ms{work}", 2, 1 << 19) for p in ("ping_pong", "facing") for work in ("", " of work")]
    cases += [Case(f"{p} after 30 ms", 2, 1 << 19) for p in ("ping_pong", "facing")] + [Case("ring after 30 ms", 4, 8)]
    cases += [Case(f"waking after {ms} ms", 2, 8) for ms in (1, 5)]
    found = fit_messages(MESSAGES, synthetic(MESSAGES, values, cases, rounds=16), 2, 0)
    assert found.drift.value < 0.05
    assert not found.warnings
    assert all(number.low <= number.value <= number.high for number in found.numbers.values())
    unseen = [
        Case("ring", 3, 300_000),
        Case("ring after 30 ms", 4, 65536),
        Case("all_reduce", 4, 2 << 20),
        Case("fan_in", 5, 1000),
        Case("facing", 6, 8),
        Case("facing after 5 ms of work", 2, 65536),
    ]

    def costs(numbers):
        own = {name: value for name, value in numbers.items() if not name.startswith("idle_")}
        idle = {name.removeprefix("idle_"): value for name, value in numbers.items() if name.startswith("idle_")}
        return {"handling": Handling(**own), "idle": Handling(**{**own, **idle})}

    truth = predict(unseen, 2, **costs(MESSAGES.fields(values)))
    fitted = costs({name: number.value for name, number in found.numbers.items()})
    assert predict(unseen, 2, **fitted) == pytest.approx(truth, rel=0.05)


def test_a_strange_case_is_named_and_does_not_move_the_rest():
    values = [2e-5, 3e-5, 2e-10, 2.5e-10, 5e-10, 1e-4, 0.5, 0.5]
    cases = [Case("native", n, b) for n in (2, 3, 4) for b in SIZES]
    observations = synthetic(NATIVE, values, cases, handling=Handling())
    bad = [
        Observation(o.probe, o.kind, o.parameters, o.seconds * 5, o.round, o.at)
        if o.parameters == {"nbytes": 8, "ranks": 3}
        else o
        for o in observations
    ]
    found = fit_messages(NATIVE, bad, 2, 0, handling=Handling())
    assert len(found.warnings) == 1
    assert "native of 8 bytes between 3 ranks" in found.warnings[0]
    others = [abs(r) for case, r in found.residuals.items() if case != Case("native", 3, 8)]
    assert np.median(others) < 0.1


def test_too_few_cases_are_refused():
    with pytest.raises(CalibrationError, match="1 cases were timed, 9 are needed for 6 costs"):
        fit_messages(MESSAGES, synthetic(MESSAGES, [1e-5] * 14, [Case("ring", 2, 8)]), 2, 0)


def test_what_no_pattern_tells_is_left_out():
    values = [6e-5, 1.5e-4, 8e-5, 2e-10, 4e-10, 6e-10, 1e-4, 4e-5, 0.6, 1.5, 0.003, 1.2, 2.0, 0.008]
    cases = [Case(p, n, b) for p in ("ping_pong", "stream", "ring") for n in (2, 4) for b in SIZES]
    found = fit_messages(MESSAGES, synthetic(MESSAGES, values, cases), 2, 0)
    untold = {
        "operation",
        "wake",
        *(f"{idle}{name}" for idle in ("", "idle_") for name in ("cold", "cold_near", "cooling")),
    }
    assert untold.isdisjoint(found.numbers)


def test_bytes_are_dearer_after_a_pause_too():
    costs = Handling(near_bytes=1e6, near_byte=1e-9, send_byte=1e-9, receive_byte=1e-9, cold_near=1.0, cooling=0.001)
    assert costs.sending(3e6, pause=0.0) == pytest.approx(3e-3)
    assert costs.sending(3e6, pause=1.0) == pytest.approx(4e-3)  # the first million only
    warm, after = (seconds(Case(name, 2, 10**6), costs) for name in ("stream", "stream after 30 ms"))
    assert after == pytest.approx(2e-3, rel=1e-3)
    assert warm < 1.5e-3


def test_what_comes_while_the_loop_computes_waits():
    """A program alone computes in its loop: the announcement is heard after it; with a lane beside, meanwhile."""

    def receiver(me, alone):
        if not alone:
            yield from Post(Recv(1, "never"), "beside")
        yield from Compute(Kernel("work", flops=1e13))  # 10 ms
        yield from Recv(1, "word")
        yield from me.step_done(0)

    def sender(me):
        yield from Send(0, None, "word")

    for alone, ends in ((True, 0.012), (False, 0.01)):
        cast = Cast((Role("worker", 2, lambda me, alone=alone: sender(me) if me.index else receiver(me, alone)),))
        device = Device("none", flops=1e15, memory=1.0, memory_bandwidth=1.0)
        host = Host("machine", 4, device, handling=Handling(hear=2e-3))
        trace = Trace()
        context = contexts_of(cast)
        cluster = Cluster([host], {(0, 0): Link("loopback", 1e15, 0.0)})
        engine = Engine(cluster, [0, 0], cast, [context(0), context(1)], trace)
        with contextlib.suppress(DeadlockError):  # of the lane that waits for ever
            engine.run()
        (stepped,) = [row for row in trace if row.op == "log"]
        assert stepped.t_end == pytest.approx(ends, abs=1e-6)
