"""The network: hand-worked sharing, numbers of events, and an exact rational reference."""

from fractions import Fraction

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.star import star
from parasim.simulation.network import Network

DEVICE = Device("cpu", 1e9)
LATENCY = 0.25
Message = tuple[float, int, int, float]
"""Start, source, destination, bytes."""


def switched(hosts: int, bandwidth: float = 100.0, latency: float = LATENCY) -> Cluster:
    return star(hosts, Link("link", bandwidth, latency), Link("memory", 1000.0, 0.125), 1, DEVICE)


class Run:
    """Messages started at their times: `ends` by message, `order` of deliveries, `events` less one for each start."""

    def __init__(self, cluster: Cluster, messages: list[Message], **overheads: float) -> None:
        self.env = simpy.Environment()
        self.network = Network(self.env, cluster, **overheads)
        self.ends = [-1.0] * len(messages)
        self.order: list[int] = []
        self.messages = messages
        for number, message in enumerate(messages):
            self.env.timeout(message[0]).callbacks.append(lambda _, number=number: self.start(number))
        steps = 0
        while self.env.peek() < float("inf"):
            self.env.step()
            steps += 1
        self.events = steps - len(messages)

    def start(self, number: int) -> None:
        at, source, destination, nbytes = self.messages[number]

        def done(started: float) -> None:
            assert started == at
            assert self.ends[number] == -1.0
            self.ends[number] = self.env.now
            self.order.append(number)

        self.network.start(source, destination, nbytes, done)


def reference(cluster: Cluster, messages: list[Message]) -> list[float]:
    """Ends in rational numbers: from event to event, all rates found anew by raising them together."""
    paths = [cluster.path(source, destination) for _, source, destination, _ in messages]
    capacity = [Fraction(link.bandwidth) for link in cluster.links]
    arrival = [
        Fraction(m[0]) + sum(Fraction(cluster.links[i].latency) for i in p.links)
        for m, p in zip(messages, paths, strict=True)
    ]
    left = {number: Fraction(message[3]) for number, message in enumerate(messages)}
    ends = [Fraction(-1)] * len(messages)
    now = Fraction(0)
    while left:
        for number in [n for n in left if left[n] == 0 and arrival[n] <= now]:
            ends[number] = now
            del left[number]
        flowing = [number for number in left if arrival[number] <= now]
        rates: dict[int, Fraction] = {}
        while len(rates) < len(flowing):
            shares = {}
            for link in {link for number in flowing for link in paths[number].links}:
                on_link = [number for number in flowing if link in paths[number].links]
                growing = [number for number in on_link if number not in rates]
                if growing:
                    shares[link] = (capacity[link] - sum(rates.get(number, 0) for number in on_link)) / len(growing)
            level = min(shares.values())
            full = {link for link in shares if shares[link] == level}
            for number in flowing:
                if number not in rates and full & set(paths[number].links):
                    rates[number] = level
        steps = [left[number] / rates[number] for number in flowing]
        steps += [arrival[number] - now for number in left if arrival[number] > now]
        if steps:
            step = min(steps)
            now += step
            for number in flowing:
                left[number] -= step * rates[number]
    return [float(end) for end in ends]


def test_alone_takes_the_latencies_and_bytes_over_the_narrowest_link_in_two_events() -> None:
    links = {(0, 2): Link("wide", 100.0, 0.5), (2, 1): Link("narrow", 50.0, 0.25)}
    run = Run(Cluster([Host("a", 1, DEVICE), Host("b", 1, DEVICE)], links), [(1.0, 0, 1, 100.0)])
    assert run.ends == [1.0 + 0.75 + 2.0]
    assert run.events == 2
    assert run.network.solves == 0
    assert run.network.flows_started == 1


def test_no_bytes_take_the_latencies_only() -> None:
    run = Run(switched(2), [(1.0, 0, 1, 0.0)])
    assert run.ends == [1.5]
    assert run.events == 1


def test_overheads_of_the_end_points_come_on_top() -> None:
    run = Run(switched(2), [(0.0, 0, 1, 100.0), (0.0, 1, 0, 0.0)], overhead=(0.5, 0.01))
    assert run.ends == [0.5 + 0.5 + 1.0 + 1.0, 0.5 + 0.5]
    assert run.network.latency(0, 1) == 0.5 + 0.5
    assert run.network.latency(0, 1, 100.0) == 0.5 + 0.5 + 1.0


def test_two_flows_share_a_link() -> None:
    run = Run(switched(3), [(0.0, 0, 2, 100.0), (0.0, 1, 2, 100.0)])
    assert run.ends == [2.5, 2.5]
    assert run.network.solves == 1
    assert run.events == 2


def test_a_latecomer_slows_the_first_down_and_is_sped_up_by_its_end() -> None:
    # First: 100 B alone for 1 s, 50 B/s for 2 s. Second: 100 B in those 2 s, 100 left at full speed.
    run = Run(switched(3), [(0.0, 0, 2, 200.0), (1.0, 1, 2, 200.0)])
    assert run.ends == [3.5, 4.5]


def test_a_long_flow_gets_a_third_and_leaves_two_thirds() -> None:
    # Up from host 0: three flows. Down to host 3: the one from host 0 and the one from host 4, which gets 2/3.
    run = Run(switched(5), [(0.0, 0, 3, 100.0), (0.0, 0, 1, 100.0), (0.0, 0, 2, 100.0), (0.0, 4, 3, 100.0)])
    assert run.ends == pytest.approx([3.5, 3.5, 3.5, 2.0], rel=1e-15)


def test_a_departure_speeds_up_the_others() -> None:
    # To host 3 at 100/3 each: 25 B end at 0.75; at 50 each: 50 B left less 25 ... ends at 0.75 + 0.5 = 1.25; then 100.
    run = Run(switched(4), [(0.0, 0, 3, 25.0), (0.0, 1, 3, 50.0), (0.0, 2, 3, 100.0)])
    assert run.ends == pytest.approx([0.5 + 0.75, 0.5 + 1.25, 0.5 + 1.75], rel=1e-15)


def test_incast_takes_n_times_as_long() -> None:
    run = Run(switched(33), [(0.0, source, 32, 100.0) for source in range(32)])
    assert run.ends == [32.5] * 32
    assert run.network.solves == 1


def test_flows_that_join_and_leave_a_hub_need_no_solving() -> None:
    messages = [(0.25 * step, step % 7, 7, 10.0 + 30.0 * (step % 3)) for step in range(40)]
    messages = [message for message in messages if message[1] != 3]
    run = Run(switched(8, bandwidth=64.0), messages)
    assert run.network.solves < len(messages) / 4
    assert run.ends == pytest.approx(reference(switched(8, bandwidth=64.0), messages), rel=1e-12)


def test_pushes_through_the_link_of_a_server_cost_about_two_events_each_however_many_there_are() -> None:
    for clients in (8, 64):
        messages = [
            (0.37 * number + step * clients, number, clients, 90.0) for number in range(clients) for step in range(5)
        ]
        run = Run(switched(clients + 1), messages)
        assert run.events <= 2.1 * len(messages)
        assert run.network.solves <= 5


def test_a_hub_dissolves_when_a_flow_has_two_shared_links_and_forms_again() -> None:
    # To host 3: 300 B from 0, 1 and 2 at 0.5. At 1.5 host 0 also sends 25 B to host 1:
    # its uplink carries 100/3 to host 3 and 200/3 to host 1, whose message ends at 1.5 + 0.375. Then as before.
    run = Run(
        switched(4), [(0.0, 0, 3, 300.0), (0.0, 1, 3, 300.0), (0.0, 2, 3, 300.0), (1.0, 0, 1, 25.0), (6.0, 0, 3, 1.0)]
    )
    assert run.ends == pytest.approx([9.51, 9.51, 9.51, 1.875, 6.54], rel=1e-12)
    assert run.network.solves == 3


def test_both_directions_are_independent() -> None:
    run = Run(switched(2), [(0.0, 0, 1, 100.0), (0.0, 1, 0, 300.0)])
    assert run.ends == [1.5, 3.5]
    assert run.network.solves == 0


def test_traffic_of_one_host_stays_off_its_links() -> None:
    run = Run(switched(2), [(0.0, 0, 0, 500.0), (0.0, 0, 1, 100.0), (0.0, 0, 0, 500.0)])
    assert run.ends == [0.125 + 1.0, 1.5, 0.125 + 1.0]


def test_other_flows_are_not_touched_by_a_change() -> None:
    pair = [(0.0, 0, 1, 1000.0)]
    others = [(0.5 * step, 2 + step % 3, 5, 30.0) for step in range(20)]
    run = Run(switched(6), pair + others)
    assert run.ends[0] == 10.5
    assert run.ends[1:] == pytest.approx(reference(switched(6), others), rel=1e-12)


def test_shares_are_solved_once_an_instant() -> None:
    # At 10.5 four flows end and, their latencies over, four others begin.
    early = [(0.0, source, 4, 250.0) for source in range(4)]
    late = [(10.0, source, 4, 100.0) for source in range(4)]
    run = Run(switched(5), early + late)
    assert run.ends == [10.5] * 4 + [14.5] * 4
    assert run.network.solves == 2


def test_without_latency_what_deliveries_start_is_solved_with_them() -> None:
    env = simpy.Environment()
    network = Network(env, switched(9, latency=0.0))
    ends: list[float] = []

    def go(source: int, rounds: int) -> None:
        def done(_: float) -> None:
            ends.append(env.now)
            if rounds > 1:
                go(source, rounds - 1)

        network.start(source, 8, 100.0, done)

    for source in range(8):
        go(source, 5)
    env.run()
    assert ends == [8.0 * (1 + number // 8) for number in range(40)]
    assert network.solves == 5


def test_deliveries_of_one_instant_keep_the_order_of_the_starts() -> None:
    messages = [(0.0, 3, 0, 100.0), (0.0, 1, 2, 100.0), (0.0, 2, 4, 100.0), (1.0, 4, 1, 0.0), (0.0, 0, 3, 100.0)]
    assert Run(switched(5), messages).order == [0, 1, 2, 4, 3]


@pytest.mark.parametrize("now", [0.0, 1.0, 1e6, 1e9])
@pytest.mark.parametrize("nbytes", [1e-12, 1.0])
def test_tiny_messages_end_however_late_the_hour(now: float, nbytes: float) -> None:
    messages = [(now, source, 3, nbytes * (1 + source)) for source in range(3)]
    run = Run(switched(4, bandwidth=1e12, latency=1e-9), messages)
    assert all(now <= end <= now * (1 + 1e-15) + 1e-8 for end in run.ends)
    assert run.events < 12


def test_a_ring_of_64_keeps_time_for_126_rounds() -> None:
    env = simpy.Environment()
    network = Network(env, star(64, Link("link", 1.25e9, 50e-6), Link("memory", 1e10), 1, DEVICE))
    delivered = 0

    def round_(_: float = 0.0) -> None:
        nonlocal delivered
        delivered += 1
        if delivered % 64 == 0 and delivered < 64 * 126:
            begin()

    def begin() -> None:
        for host in range(64):
            network.start(host, (host + 1) % 64, 1_000_003, round_)

    begin()
    env.run()
    assert env.now == pytest.approx(126 * (2 * 50e-6 + 1_000_003 / 1.25e9), rel=1e-12)
    assert network.flows_started == 64 * 126
    assert network.solves == 0


def test_uncontended_messages_out_of_step_cost_at_most_three_events() -> None:
    messages = [(0.1 * step + 0.013 * host, host, (host + 1) % 8, 7.0) for step in range(10) for host in range(8)]
    run = Run(switched(8, latency=0.001), messages)
    assert run.network.solves == 0
    assert run.events <= 3 * len(messages)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a message must have 0 bytes or more, got -1"):
        Network(simpy.Environment(), switched(2)).start(0, 1, -1, lambda _: None)


mesh = Cluster(
    [Host(f"host{number}", 1, DEVICE) for number in range(4)],
    {
        ends: Link(f"{ends}", 32.0 * (1 + number % 3), 0.125 * (number % 2))
        for number, ends in enumerate([(0, 4), (4, 0), (1, 4), (4, 1), (4, 5), (5, 4), (2, 5), (5, 2), (3, 5), (5, 3)])
    },
)
"""Two switches, two hosts on each, bandwidths and latencies that differ."""


@st.composite
def traffic(draw: st.DrawFn, hosts: int) -> list[Message]:
    start = st.integers(0, 24).map(lambda n: n / 8) | st.floats(0, 3)
    size = st.integers(0, 40).map(lambda n: 8.0 * n) | st.floats(0.01, 400)
    pair = st.permutations(range(hosts)).map(lambda p: p[:2])
    messages = draw(st.lists(st.tuples(start, pair, size), min_size=1, max_size=14))
    return [(at, source, destination, nbytes) for at, (source, destination), nbytes in messages]


@settings(deadline=None)
@given(traffic(4))
def test_as_the_rational_reference_between_two_switches(messages: list[Message]) -> None:
    assert Run(mesh, messages).ends == pytest.approx(reference(mesh, messages), rel=1e-11)


@settings(deadline=None)
@given(traffic(5))
def test_as_the_rational_reference_on_a_star(messages: list[Message]) -> None:
    cluster = switched(5)
    assert Run(cluster, messages).ends == pytest.approx(reference(cluster, messages), rel=1e-11)
