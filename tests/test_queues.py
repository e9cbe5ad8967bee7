"""Shaped links are queues with token buckets: what passes at once, who waits where, and that nothing gets lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.probes.programs import contexts_of
from parasim.cluster.cluster import Cluster
from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.star import Star
from parasim.cluster.topology import build
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.ops import Exchange, Recv, Send, Sleep
from parasim.simulation.engine import Engine
from parasim.simulation.network import Network
from parasim.trace.table import Trace

RATE, BURST = 1000.0, 0.5
HOST = Host("host", 1, Device("none", flops=1.0, memory=1.0, memory_bandwidth=1.0))


def star(hosts: int) -> Cluster:
    return build(Star(hosts), HOST, Link("link", RATE, 0.0), Link("inside", 1e15))


def ends(cluster: Cluster, *messages: tuple[float, int, int, float], burst: float = BURST) -> list[float]:
    """When messages end that start at (moment, from, to, bytes)."""
    env = simpy.Environment()
    net = Network(env, cluster, credit=burst)
    ended: dict[int, float] = {}

    def play(moment, source, destination, nbytes, number):
        yield env.timeout(moment)
        net.start(source, destination, nbytes, lambda _: ended.setdefault(number, env.now))

    for number, message in enumerate(messages):
        env.process(play(*message, number))
    env.run()
    assert len(ended) == len(messages)
    return [ended[number] for number in range(len(messages))]


def test_the_first_message_saves_the_burst_of_its_links_once():
    assert ends(star(2), (0.0, 0, 1, 2000)) == pytest.approx([1.5])


def test_one_right_after_another_saves_nothing():
    assert ends(star(2), (0.0, 0, 1, 2000), (1.5, 0, 1, 1000)) == pytest.approx([1.5, 2.5])


@pytest.mark.parametrize(("pause", "saved"), [(0.2, 0.2), (0.5, 0.5), (7.5, 0.5)])
def test_a_pause_earns_its_length_up_to_the_burst(pause, saved):
    again = 1.5 + pause
    assert ends(star(2), (0.0, 0, 1, 2000), (again, 0, 1, 1000))[1] == pytest.approx(again + 1.0 - saved)


def test_small_messages_use_the_burst_up():
    """0.3 s of 0.5 s; then 0.2 s; the third meets what is left of the second, and shares the link with it."""
    found = ends(star(2), (0.0, 0, 1, 300), (0.0001, 0, 1, 300), (0.0002, 0, 1, 300))
    assert found == pytest.approx([0.0, 0.2, 0.4], abs=1e-3)


def test_messages_take_turns():
    """500 B of 1000 and 3000 pass at once, half each; the rest of the first takes as long as 500 B of the second."""
    assert ends(star(3), (0.0, 0, 2, 1000), (0.0, 1, 2, 3000)) == pytest.approx([1.5, 3.5])


def test_the_other_direction_is_another_link():
    assert ends(star(2), (0.0, 0, 1, 1000), (0.0, 1, 0, 1000)) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("gap", [0.01, 0.1, 0.3, 0.6, 1.2])
def test_senders_to_the_same_two_receivers_keep_their_gap(gap):
    """Each link of a receiver has half as much to do as that of a sender, so nobody delays anybody."""
    found = ends(star(4), *[(moment, s, r, 1000) for moment, s in ((0.0, 0), (gap, 1)) for r in (2, 3)])
    assert max(found[:2]) == pytest.approx(1.5)
    assert max(found[2:]) == pytest.approx(gap + 1.5)


def test_hosts_with_credit_have_links_that_are_queues():
    """The same by programs: 0 and 1 send to 2 and 3, one of them 0.1 s later; with flows it would take longer."""
    out, into = Buffer("out", 1000, 1), Buffer("into", 1000, 1)

    def program(me):
        if me.index < 2:
            yield from Sleep(0.1 * me.index)
            yield Exchange((Send(2, out, "data"), Send(3, out, "data")), ())
        else:
            yield Exchange((), (Recv(0, "data", into), Recv(1, "data", into)))
        yield from me.step_done(0)

    cast, trace = Cast((Role("worker", 4, program),)), Trace()
    context = contexts_of(cast)
    host = replace(HOST, handling=Handling(credit=BURST))
    cluster = build(Star(4), host, Link("link", RATE, 0.0), Link("inside", 1e15))
    Engine(cluster, range(4), cast, [context(rank) for rank in range(4)], trace).run()
    ended = {row.rank: row.t_end for row in trace if row.op == "log"}
    assert (ended[0], ended[1]) == pytest.approx((1.5, 1.6))


def test_what_waits_at_a_later_link_is_no_load_for_those_before_it():
    """Three send to one host, which takes 2.5 s for the first; the sender of that is done with it by 0.5 s.

    By 1 s the sender's link has earned its burst again, and the next message is as fast as if it were alone.
    """
    first, *_, other = ends(star(5), (0.0, 0, 2, 1000), (0.0, 1, 2, 2000), (0.0, 3, 2, 2000), (1.0, 0, 4, 1000))
    assert first == pytest.approx(2.5)
    assert other == pytest.approx(1.5)


def test_what_a_link_has_earned_by_when_another_message_comes_is_left_to_that():
    """0.4 s of 0.5 s are spent on the first; 0.2 s later 0.3 s are there, and the last 100 B of the second wait."""
    assert ends(star(3), (0.0, 0, 2, 400), (0.2, 1, 2, 400)) == pytest.approx([0.0, 0.3])


def test_routes_that_pass_links_in_opposite_orders():
    """A triangle where each message goes the long way round: a link is the first of one and the last of another."""
    hosts, names = [HOST] * 3, [(0, 1), (1, 2), (2, 0)]
    cluster = Cluster(hosts, {pair: Link(f"{pair}", RATE, 0.0) for pair in names})
    found = ends(cluster, (0.0, 0, 2, 1000), (0.0, 1, 0, 1000), (0.0, 2, 1, 1000))
    assert found == pytest.approx([found[0]] * 3)
    assert 1.5 <= found[0] <= 2.0  # a link has 2000 B to carry, half a second of which it has earned


messages = st.lists(
    st.tuples(st.floats(0, 4), st.integers(0, 3), st.integers(0, 3), st.floats(1, 3000)).filter(lambda m: m[1] != m[2]),
    min_size=1,
    max_size=8,
)


@given(messages=messages, burst=st.floats(0.01, 2))
@settings(max_examples=60, deadline=None)
def test_no_link_carries_more_than_its_time_and_its_burst_and_none_idles(messages, burst):
    found = ends(star(4), *messages, burst=burst)
    for (start, _, _, nbytes), end in zip(messages, found, strict=True):
        assert end >= start + nbytes / RATE - burst - 1e-6
    for place in (1, 2):
        for host in range(4):
            own = [(one, end) for one, end in zip(messages, found, strict=True) if one[place] == host]
            if own:
                first, last = min(one[0] for one, _ in own), max(end for _, end in own)
                assert last >= first + sum(one[3] for one, _ in own) / RATE - burst - 1e-6
    assert max(found) <= max(one[0] for one in messages) + sum(one[3] for one in messages) / RATE + 1e-6


@pytest.mark.parametrize("now", [1e3, 1e6])
@pytest.mark.parametrize("nbytes", [1e-3, 8.0, 1e7])
def test_messages_end_however_late_the_hour(now, nbytes):
    first, second = ends(star(3), (now, 0, 2, nbytes), (now, 1, 2, nbytes))
    assert now <= first <= now + 2 * nbytes / RATE
    assert first == pytest.approx(second, abs=1e-6 * (now + nbytes))
