"""Closed forms of collectives: the numbers of the table, how forms relate. Programs meet their times elsewhere."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.collectives import ALGORITHMS, schedule
from parasim.program.collectives.torus import most_square
from parasim.program.groups import Group
from parasim.program.ops import Collective
from parasim.theory.collectives import (
    FORMS,
    best_chunks,
    cost,
    double_tree_beats_ring,
    lower_bounds,
    parameter_server_seconds,
    ring_meets_doubling_bytes,
)
from parasim.theory.patterns import patterns

ALL_REDUCES = [name for kind, name in FORMS if kind == "all_reduce"]


def test_every_algorithm_has_a_form():
    assert set(FORMS) == {*ALGORITHMS, ("reduce", "binomial")}


@pytest.mark.parametrize(("kind", "name"), ALGORITHMS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 12, 33])
def test_rounds_are_those_of_the_schedule(kind, name, size):
    buffer = None if kind == "barrier" else Buffer("x", 50, 4)
    op = Collective(kind, Group("g", tuple(range(size))), buffer, name, shape=most_square(size))
    assert len(list(schedule(op, 0))) == cost(kind, name, size, 200, 1.0, 1.0).rounds


@pytest.mark.parametrize(
    ("kind", "name", "ranks", "latencies", "volume", "reduced", "largest"),
    [  # of the vector: transferred one after the other, reduced, sent by the busiest rank
        ("all_reduce", "naive", 5, 8, 8, 4, 4),
        ("all_reduce", "direct", 5, 4, 4, 4, 4),
        ("all_reduce", "binomial", 6, 6, 6, 3, 3),
        ("all_reduce", "recursive_doubling", 8, 3, 3, 3, 3),
        ("all_reduce", "recursive_doubling", 12, 5, 5, 4, 4),
        ("all_reduce", "ring", 5, 8, 1.6, 0.8, 1.6),
        ("all_reduce", "rabenseifner", 8, 6, 1.75, 0.875, 1.75),
        ("all_reduce", "rabenseifner", 6, 7, 3.5, 1.25, 3),
        ("all_reduce", "torus", 12, 10, 22 / 12, 11 / 12, 22 / 12),
        ("broadcast", "binomial", 5, 3, 3, 0, 3),
        ("broadcast", "scatter_all_gather", 5, 7, 1.6, 0, 1.6),
        ("reduce_scatter", "ring", 4, 3, 0.75, 0.75, 0.75),
        ("all_gather", "ring", 4, 3, 0.75, 0, 0.75),
        ("all_gather", "bruck", 5, 3, 0.8, 0, 0.8),
        ("all_to_all", "pairwise", 4, 3, 0.75, 0, 0.75),
        ("reduce", "binomial", 5, 3, 3, 3, 1),
        ("barrier", "dissemination", 9, 4, 0, 0, 0),
    ],
)
def test_numbers_of_the_table(kind, name, ranks, latencies, volume, reduced, largest):
    def seconds(alpha, beta, gamma):
        return cost(kind, name, ranks, 100, alpha, beta, gamma).seconds

    assert seconds(1, 0, 0) == pytest.approx(latencies)
    assert seconds(0, 1, 0) == pytest.approx(100 * volume)
    assert seconds(0, 0, 1) == pytest.approx(100 * reduced)
    assert cost(kind, name, ranks, 100, 1, 1).bytes_sent_max == pytest.approx(100 * largest)


@given(
    st.sampled_from(ALL_REDUCES), st.integers(2, 300), st.floats(1, 1e9), st.floats(1e-9, 1e-3), st.floats(1e-12, 1e-6)
)
def test_no_all_reduce_beats_the_lower_bounds(name, ranks, nbytes, alpha, beta):
    form = cost("all_reduce", name, ranks, nbytes, alpha, beta, beta / 3)
    bounds = lower_bounds(ranks, nbytes, alpha, beta, beta / 3)
    assert form.seconds * (1 + 1e-12) >= max(bounds.latency, bounds.bandwidth, bounds.compute)
    assert form.bytes_sent_mean <= form.bytes_sent_max * (1 + 1e-12)
    assert form.bytes_sent_mean * (1 + 1e-12) >= 2 * (ranks - 1) / ranks * nbytes


@given(st.integers(1, 9), st.floats(0, 1e9), st.floats(1e-9, 1e-3), st.floats(1e-12, 1e-6))
def test_rabenseifner_is_never_worse_than_the_ring_for_powers_of_two(levels, nbytes, alpha, beta):
    seconds = [cost("all_reduce", name, 2**levels, nbytes, alpha, beta).seconds for name in ("rabenseifner", "ring")]
    assert seconds[0] <= seconds[1] * (1 + 1e-12)


@pytest.mark.parametrize("ranks", [3, 4, 6, 8, 13, 64])
def test_ring_and_doubling_meet_where_stated(ranks):
    alpha, beta = 5e-5, 8e-10
    nbytes = ring_meets_doubling_bytes(ranks, alpha, beta)

    def ring_wins_by(factor):
        ring, doubling = (
            cost("all_reduce", name, ranks, factor * nbytes, alpha, beta).seconds
            for name in ("ring", "recursive_doubling")
        )
        return doubling - ring

    assert ring_wins_by(1) == pytest.approx(0, abs=1e-12)
    assert ring_wins_by(0.9) < 0 < ring_wins_by(1.1)


def test_two_ranks_always_double():
    assert ring_meets_doubling_bytes(2, 5e-5, 8e-10) == math.inf


def test_best_chunks_minimise_the_double_tree():
    case = ("all_reduce", "double_tree", 16, 1e7, 5e-5, 8e-10)
    best = round(best_chunks(*case[2:]))
    seconds = {chunks: cost(*case, chunks=chunks).seconds for chunks in (1, best // 2, best, 2 * best)}
    assert min(seconds, key=seconds.__getitem__) == best
    at_best = (math.sqrt(7 * 5e-5) + math.sqrt(2 * 1e7 * 8e-10)) ** 2  # h = 4
    assert seconds[best] == pytest.approx(at_best, rel=1e-3)


def test_double_tree_beats_the_ring_on_many_ranks_and_short_vectors():
    assert double_tree_beats_ring(256, 1e6, 5e-5, 8e-10)
    assert not double_tree_beats_ring(4, 1e9, 5e-5, 8e-10)


def test_hierarchical_pays_for_slow_links_between_nodes_with_a_slice_alone():
    slow = cost("all_reduce", "hierarchical", 8, 800, 0, 1, shape=(2, 4), outer=(0, 10)).seconds
    assert slow == pytest.approx(2 * 600 + 2 * 100 * 10)
    swapped = cost("all_reduce", "torus", 8, 800, 0, 1, shape=(2, 4)).seconds
    assert swapped == pytest.approx(2 * 7 / 8 * 800)


def test_leaders_reduce_and_broadcast_whole_vectors():
    seconds = cost("all_reduce", "hierarchical_leader", 8, 800, 1, 1, 1, shape=(2, 4), outer=(10, 10)).seconds
    inside = 2 * (1 + 800) + 2 * 800 + 2 * (1 + 800)
    assert seconds == pytest.approx(inside + 2 * 10 + 800 * 10 + 400)


def test_parameter_server_is_bound_by_its_shards():
    assert parameter_server_seconds(8, 2, 100, 1, 1, 1) == 2 + 2 * 4 * 100 + 4 * 100
    assert parameter_server_seconds(4, 8, 100, 1, 1) == 2 + 2 * 100


def test_patterns_are_the_rounds_that_differ():
    around = tuple((i, (i + 1) % 6) for i in range(6))
    assert patterns("all_reduce", "ring", 6) == (around,)
    doubling = patterns("all_reduce", "recursive_doubling", 8)
    assert doubling == tuple(tuple((i, i ^ d) for i in range(8)) for d in (1, 2, 4))
    rows, columns = patterns("all_reduce", "torus", 6, (2, 3))
    assert rows == ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3))
    assert columns == ((0, 3), (1, 4), (2, 5), (3, 0), (4, 1), (5, 2))
    assert patterns("all_reduce", "ring", 1) == ()


@pytest.mark.parametrize(("kind", "name"), [key for key in ALGORITHMS if key[0] == "all_reduce"])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_patterns_hold_every_message_of_the_members_schedules(kind, name, size):
    buffer = Buffer("x", 4 * size, 4)
    op = Collective(kind, Group("g", tuple(range(size))), buffer, name)
    sent = {(i, move.peer) for i in range(size) for round_ in schedule(op, i) for move in round_.sends}
    assert {pair for pattern in patterns(kind, name, size) for pair in pattern} == sent


def test_unknown_forms_and_shapes_are_refused():
    with pytest.raises(ProgramError, match=r"no closed form of all_reduce by 'rign': there are all_reduce ring"):
        cost("all_reduce", "rign", 4, 1, 1, 1)
    with pytest.raises(ProgramError, match="shape 2 x 3 does not make 8 ranks"):
        cost("all_reduce", "torus", 8, 1, 1, 1, shape=(2, 3))
