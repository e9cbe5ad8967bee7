"""Flows on integer arrays: as the solver on lists, flow by flow, and as the rational reference, message by message."""

from operator import attrgetter

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import parasim
from parasim.metrics.result import Result
from parasim.scenario import from_document
from parasim.simulation import crowd, network
from parasim.simulation.alarm import due
from parasim.simulation.crowd import Crowd
from parasim.simulation.fairness import max_min
from parasim.simulation.flows import Flow
from parasim.simulation.network import Network
from tests.test_network import Message, Run, mesh, reference, switched, traffic

functions = crowd.compiled()
pytestmark = [
    pytest.mark.skipif(functions is None, reason="numba is not installed"),
    pytest.mark.xdist_group("compiled"),  # what several tests need is compiled by one worker
]


@st.composite
def comings(draw: st.DrawFn) -> tuple[list[float], list[list[tuple[tuple[int, ...], float]]]]:
    """Capacities, and instant by instant the routes and sizes of the flows that come."""
    capacities = draw(st.lists(st.sampled_from([1.0, 2.0, 4.0]) | st.floats(0.1, 8.0), min_size=2, max_size=10))
    link = st.integers(0, len(capacities) - 1)
    route = st.lists(link, min_size=1, max_size=4, unique=True).map(tuple)
    instant = st.lists(st.tuples(route, st.floats(0.5, 20.0)), max_size=5)
    return capacities, draw(st.lists(instant, min_size=1, max_size=12))


@settings(deadline=None, max_examples=30)
@given(comings())
def test_rates_are_those_of_the_twin_whoever_comes_and_goes(
    problem: tuple[list[float], list[list[tuple[tuple[int, ...], float]]]],
) -> None:
    capacities, instants = problem
    now, number = 0.0, 0
    flows = Crowd(functions, capacities, [], now)
    for instant in instants:
        for route, nbytes in instant:
            bandwidth = min(capacities[link] for link in route)
            flows.enter(Flow(number, route, bandwidth, nbytes, now, lambda _: None), nbytes, now)
            number += 1
        flows.share(now)
        states = flows.states()
        rates = max_min(capacities, [flow.links for flow, _, _ in states])
        assert [rate for _, rate, _ in states] == pytest.approx(rates, rel=1e-11)
        assert flows.first == min((end for _, _, end in states), default=float("inf"))
        if states:
            now = flows.first
            assert {flow.number for flow in flows.take_ended(due(now))} == {
                flow.number for flow, _, end in states if end <= due(now)
            }


def test_more_flows_and_longer_routes_than_there_was_room_for() -> None:
    capacities = [1.0 + link for link in range(40)]
    flows = Crowd(functions, capacities, [], 0.0)
    routes = [tuple(range(first, first + 1 + first % 9)) for first in range(31)] * 20
    for number, route in enumerate(routes):
        flows.enter(Flow(number, route, min(capacities[link] for link in route), 50.0, 0.0, lambda _: None), 50.0, 0.0)
        if number % 7 == 0:
            flows.share(0.0)
    flows.share(0.0)
    states = sorted(flows.states(), key=lambda state: state[0].number)
    assert [flow.links for flow, _, _ in states] == routes
    assert [rate for _, rate, _ in states] == pytest.approx(max_min(capacities, routes), rel=1e-11)


WHICH = attrgetter("rank", "program", "op", "label", "step", "message", "peer", "buffer", "version_applied")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two flows are a crowd."""
    monkeypatch.setattr(network, "MANY", 2)
    monkeypatch.setattr(network, "WORTH", 0)
    monkeypatch.setattr(network, "FEW", 2)
    monkeypatch.setattr(crowd, "_FRESH", 5)


@pytest.mark.usefixtures("soon")
def test_as_the_rational_reference_from_a_crowd_to_components_and_back() -> None:
    @settings(deadline=None, max_examples=30)
    @given(traffic(4))
    def between_two_switches(messages: list[Message]) -> None:
        assert Run(mesh, messages).ends == pytest.approx(reference(mesh, messages), rel=1e-11)

    between_two_switches()


BUSY = [(0.03 * step, step % 5, (step + 1 + step % 3) % 5, 20.0 + 7.0 * (step % 11)) for step in range(400)]


@pytest.mark.usefixtures("soon")
def test_crowds_change_nothing_but_how_shares_are_solved() -> None:
    with_crowds, without = Run(switched(5), BUSY), Run(switched(5), BUSY, fast_paths=False)
    assert with_crowds.network.crowds > 0
    assert without.network.crowds == 0
    assert with_crowds.ends == pytest.approx(without.ends, rel=1e-12)
    assert with_crowds.events <= without.events + 2
    assert Run(switched(5), BUSY).ends == with_crowds.ends


@pytest.mark.usefixtures("soon")
def test_a_flow_of_several_messages_sends_a_crowd_home() -> None:
    env = simpy.Environment()
    net = Network(env, switched(4))
    ends: list[float] = []

    def done(_: float) -> None:
        ends.append(env.now)

    for source in range(3):
        net.start(source, 3, 100.0, done)
        net.start(source, (source + 1) % 3, 100.0, done)
    env.run(1.0)
    assert net.crowds == 1
    up, _ = net._path(0, 3)[0]
    net.flow((up,), (2.0,), 50.0, 50.0, 0.25, done)
    env.run()
    assert len(ends) == 7
    plain = simpy.Environment()
    other = Network(plain, switched(4), fast_paths=False)
    expected: list[float] = []

    def also_done(_: float) -> None:
        expected.append(plain.now)

    for source in range(3):
        other.start(source, 3, 100.0, also_done)
        other.start(source, (source + 1) % 3, 100.0, also_done)
    plain.run(1.0)
    other.flow((up,), (2.0,), 50.0, 50.0, 0.25, also_done)
    plain.run()
    assert ends == pytest.approx(expected, rel=1e-12)


SHARDED = {
    "name": "shards on a fat tree",
    "workload": {"model": {"kind": "mlp", "width": 64, "depth": 4}, "batch_size": 8},
    "cluster": {
        "topology": {"kind": "fat_tree", "children": [2, 2, 4], "parents": [1, 1, 2]},
        "device": {"flops": "10 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "10 GB/s"},
        "link": {"bandwidth": "1 Gbit/s", "latency": "10 us"},
        "noise": {"kind": "lognormal", "sigma": 0.3},
    },
    "scheme": {
        "kind": "downpour", "servers": 4, "workers": 12,
        "placement": {"server": [0, 5, 6, 15], "worker": [3, 9, 12, 1, 14, 7, 2, 11, 4, 8, 13, 10]},
    },
    "optimizer": {"kind": "sgd", "lr": 0.1},
}  # fmt: skip


@pytest.mark.usefixtures("soon")
def test_a_scheme_takes_the_same_time_with_crowds_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(network, "compiled", lambda: asked.append(None) or functions)

    def simulated(fast_paths: str) -> Result:
        return parasim.simulate(from_document({**SHARDED, "run": {"steps": 4, "fast_paths": fast_paths}}))

    plain = simulated("none")
    assert not asked
    fast, again = simulated("all"), simulated("all")
    assert asked
    assert fast.trace.digest() == again.trace.digest()
    assert fast.summary["staleness"] == plain.summary["staleness"]
    assert len(fast.trace) == len(plain.trace)
    for one, other in zip(sorted(fast.trace, key=WHICH), sorted(plain.trace, key=WHICH), strict=True):
        assert WHICH(one) == WHICH(other)
        assert one.t_end == pytest.approx(other.t_end, rel=1e-9)


@pytest.mark.usefixtures("soon")
def test_without_numba_flows_stay_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "compiled", lambda: None)
    run = Run(switched(5), BUSY)
    assert run.network.crowds == 0
    assert run.ends == Run(switched(5), BUSY, fast_paths=False).ends


def test_a_function_is_compiled_once_for_all_integers():
    from parasim.simulation.compiling import compiled, inner

    @inner
    def more(numbers, at):
        return numbers[at] + 1

    @compiled
    def sums(numbers, at):
        return more(numbers, 0) + more(numbers, at) + more(numbers, numbers[0])

    assert sums(np.array([1, 5], np.int32), 0) == 2 + 2 + 6
    assert [str(kinds[1]) for kinds in more.signatures] == ["int64"]
