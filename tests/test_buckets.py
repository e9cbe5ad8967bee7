"""Shaped links let through at once what they have earned in a pause, and no more."""

import pytest
import simpy

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.star import Star
from parasim.cluster.topology import build
from parasim.simulation.network import Network

RATE, BURST = 1000.0, 0.5
HOST = Host("host", 1, Device("none", flops=1.0, memory=1.0, memory_bandwidth=1.0))


def network():
    env = simpy.Environment()
    links = {(0, 1): Link("cable", RATE, 0.0), (1, 0): Link("back", RATE, 0.0)}
    return env, Network(env, Cluster([HOST, HOST], links))


def star(hosts):
    env = simpy.Environment()
    return env, Network(env, build(Star(hosts), HOST, Link("cable", RATE, 0.0), Link("inside", RATE)))


def ends(*starts):
    """When messages end that start at (moment, bytes) on one link."""
    env, net = network()
    ended = {}

    def play(moment, nbytes, number):
        yield env.timeout(moment)
        net.start(0, 1, nbytes, lambda _: ended.setdefault(number, env.now), credit=BURST)

    for number, (moment, nbytes) in enumerate(starts):
        env.process(play(moment, nbytes, number))
    env.run()
    return [ended[number] for number in range(len(starts))]


def test_the_first_message_saves_the_burst():
    assert ends((0.0, 2000)) == pytest.approx([1.5])


def test_one_right_after_another_saves_nothing():
    assert ends((0.0, 2000), (1.5, 1000)) == pytest.approx([1.5, 2.5])


def test_a_pause_earns_its_length_up_to_the_burst():
    assert ends((0.0, 2000), (1.7, 1000)) == pytest.approx([1.5, 2.5])
    assert ends((0.0, 2000), (9.0, 1000)) == pytest.approx([1.5, 9.5])


def test_small_messages_use_the_burst_up():
    """0.3 s of 0.5 s; then 0.2 s; the third meets what is left of the second, and shares the link with it."""
    assert ends((0.0, 300), (0.0001, 300), (0.0002, 300)) == pytest.approx([0.0, 0.2, 0.4], abs=1e-3)


def test_messages_that_meet_share_what_is_left():
    assert max(ends((0.0, 1000), (0.0, 1000))) == pytest.approx(1.5)


def test_the_other_direction_has_a_bucket_of_its_own():
    env, net = network()
    ended = []
    net.start(0, 1, 2000, lambda _: net.start(1, 0, 1000, lambda _: ended.append(env.now), credit=BURST), credit=BURST)
    env.run()
    assert ended == pytest.approx([2.0])


def test_every_link_lets_its_burst_through_where_messages_cross():
    """From 0 and 1 to 2 and 3: the first saves the bursts of its two links, and the last those of the other two."""
    env, net = star(4)
    ended = {}
    for pair in ((0, 2), (0, 3), (1, 2), (1, 3)):
        net.start(*pair, 1000, lambda _, pair=pair: ended.setdefault(pair, env.now), credit=BURST)
    env.run()
    assert ended == pytest.approx({(0, 2): 1.0, (1, 3): 1.0, (0, 3): 1.5, (1, 2): 1.5})


def test_a_link_keeps_what_a_message_that_another_link_limited_has_left():
    """To 1 when the link of 0 has earned 0.2 s: it saves no more. Then 2 sends to 1, whose link has 0.3 s left."""
    env, net = star(3)
    ended = []

    def play():
        net.start(0, 2, 1000, lambda _: None, credit=BURST)  # ends at 0.5
        yield env.timeout(0.7)
        net.start(0, 1, 1000, lambda _: ended.append(env.now), credit=BURST)
        yield env.timeout(0.8)
        net.start(2, 1, 1000, lambda _: ended.append(env.now), credit=BURST)

    env.process(play())
    env.run()
    assert ended == pytest.approx([1.5, 2.2])
