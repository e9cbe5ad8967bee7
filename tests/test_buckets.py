"""Shaped links let through at once what they have earned in a pause, and no more."""

import pytest
import simpy

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.simulation.network import Network

RATE, BURST = 1000.0, 0.5


def network():
    env = simpy.Environment()
    host = Host("host", 1, Device("none", flops=1.0, memory=1.0, memory_bandwidth=1.0))
    links = {(0, 1): Link("cable", RATE, 0.0), (1, 0): Link("back", RATE, 0.0)}
    return env, Network(env, Cluster([host, host], links))


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
