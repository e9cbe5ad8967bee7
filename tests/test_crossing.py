"""Collectives whose own messages share links: in one compiled loop as message by message, alone and disturbed."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings

from parasim.program import Role
from parasim.simulation.fast import crossing
from parasim.simulation.noise import LogNormal
from tests.test_fast_paths import ALGORITHMS, FAST, SLOW, both, crew, intruder, run, runs, star, trainer

pytestmark = [
    pytest.mark.skipif(crossing.compiled() is None, reason="numba is not installed"),
    pytest.mark.xdist_group("compiled"),  # what several tests need is compiled by one worker
]
PLACES = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]  # neighbours in a ring are in different pods


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The first message that shares a link is worth it."""
    monkeypatch.setattr(crossing, "WORTH", 0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("memory", [SLOW, FAST])
def test_every_algorithm_takes_the_time_of_messages_that_share_links(algorithm, memory):
    for uneven in (0.0, 3.1e-5):
        program = trainer(2, 20_011, algorithm, seconds=1e-3, uneven=uneven)
        fast, plain = both(star(12, memory=memory, pod=4), crew(program, 12), PLACES, overhead=(1e-6, 1e-12))
        assert (plain.events > 2 * fast.events) == (algorithm != "direct")  # whose pieces are added as they come


@pytest.mark.parametrize("kind", ["reduce_scatter", "all_gather"])
def test_other_kinds_take_the_time_of_messages_that_share_links(kind):
    program = trainer(3, 50_003, kind=kind, seconds=1e-3)
    fast, plain = both(star(12, pod=3, thin=(5,)), crew(program, 12), PLACES, noise=None)
    assert plain.events > 3 * fast.events


def test_noise_that_lengthens_no_reduction_is_no_hindrance():
    program = trainer(3, 50_003, seconds=1e-3)
    fast, plain = both(star(12, pod=4, memory=FAST), crew(program, 12), PLACES, noise=LogNormal(0.3))
    assert plain.events > 3 * fast.events


@pytest.mark.parametrize("after", [2e-5, 1.3e-4, 5e-4, 1.01e-3, 1.4e-3, 2.2e-3, 3.1e-3])
@pytest.mark.parametrize("memory", [SLOW, FAST])
def test_a_message_of_others_is_met_by_flows_with_the_bytes_that_they_have_left(after, memory):
    def roles():
        program = trainer(2, 200_000, seconds=5e-4, uneven=1e-4)
        return [
            Role("job", 8, functools.partial(program, group="job")),
            Role("intruder", 2, intruder(after, 300_000, 2, 1)),
        ]

    both(star(9, memory=memory, cores=2, pod=3), roles, [0, 3, 6, 1, 4, 7, 2, 5, 8, 3])


def test_few_messages_are_not_worth_the_compiled_loop(monkeypatch):
    program = crew(trainer(4, 20_011, seconds=1e-3), 12)
    events = []
    for worth in (0, 2 * 12 * 22, 10**9):
        monkeypatch.setattr(crossing, "WORTH", worth)
        events.append(run(star(12, pod=4), program(), PLACES, True)[0].events)
    assert events[0] < events[1] < events[2]  # at once, from the third step on, never


def test_without_numba_collectives_go_message_by_message(monkeypatch):
    program = crew(trainer(2, 20_011, seconds=1e-3), 12)
    monkeypatch.setattr(crossing, "compiled", lambda: None)
    both(star(12, pod=4), program, PLACES)


@settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(runs(pods=(2, 3)))
def test_random_runs_have_the_same_figures(given_run):
    cluster, roles, placement, options = given_run
    both(cluster, lambda: roles, placement, **options)
