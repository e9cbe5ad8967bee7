"""Computes too short to move the clock end without an event, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.program import ANY, Buffer, Closed, Compute, Kernel, Post, Recv, Role, Send, Wait
from parasim.simulation.noise import LogNormal, Mixture, Resampled
from parasim.simulation.pace import modelled
from tests.test_fast_paths import FLOPS, both, star

SHORTEST = 1e-30


def crew(lengths, steps, lanes):
    """Workers that compute, some of it for no time, and push to a server; it computes and answers, on a lane each."""

    def worker(me):
        mine = Buffer("mine", 1000)
        for step in range(steps):
            for number, seconds in enumerate(lengths):
                yield Compute(Kernel(f"c{number}", "c", FLOPS * seconds, step=step), touches=(mine,))
            handle = yield Post(ask(me.ranks("server")[0], mine), "ask")
            yield Compute(Kernel("beside", "c", FLOPS * lengths[0]))
            yield Wait([handle])

    def ask(server, mine):
        yield Send(server, mine, "request")
        yield Recv(server, "reply")

    def server(me):
        held = Buffer("held", 1000)
        for source in me.ranks("worker") if lanes else (ANY,):
            yield Post(serve(held, source), f"lane {source}", daemon=True)

    def serve(held, source):
        try:
            while True:
                message = yield Recv(source, "request")
                yield Compute(Kernel("update", "c", FLOPS * lengths[-1]), touches=(held,))
                yield Send(message.source, Buffer("copy", 1000), "reply")
        except Closed:
            return

    def roles(workers):
        return [Role("worker", workers, worker), Role("server", 1, server, daemon=True)]

    return roles


@given(
    lengths=st.lists(st.sampled_from([0.0, SHORTEST, 1e-17, 1e-6, 3e-4]), min_size=1, max_size=3),
    steps=st.integers(1, 4),
    hosts=st.lists(st.integers(0, 2), min_size=2, max_size=5),
    cores=st.integers(1, 2),
    lanes=st.booleans(),
    noise=st.sampled_from([None, LogNormal(0.3), Mixture(0.2, 3.0)]),
)
@settings(deadline=None, max_examples=40)
def test_figures_are_the_same_with_and_without(lengths, steps, hosts, cores, lanes, noise):
    roles = crew(lengths, steps, lanes)
    both(star(3, cores=cores), lambda: roles(len(hosts) - 1), hosts, noise=noise)


def test_a_compute_of_no_time_needs_no_event():
    one, many = (crew([3e-4] + [SHORTEST] * count, 5, True) for count in (1, 4))
    few = both(star(2), lambda: one(1), [0, 1])
    more = both(star(2), lambda: many(1), [0, 1])
    assert more[0].events == few[0].events
    assert more[1].events == few[1].events + 3 * 5


@pytest.mark.parametrize("law", [LogNormal(0.3), Mixture(0.2, 3.0), Resampled((1.0, 2.0, 5.0))])
def test_the_largest_factor_bounds_all(law):
    from parasim.cluster.hosts import Device
    from parasim.program.draws import Draws

    draws = Draws(0, "worker", 0)
    pace = modelled(Device("d", FLOPS), law, draws)
    assert max(law.factor(draws, Kernel("k", step=step), 0) for step in range(200)) <= pace.most
