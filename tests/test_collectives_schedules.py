"""Schedules as data: every rule of parasim/program/collectives/rounds.py, and the shape of the double tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.program.buffers import Buffer
from parasim.program.collectives import ALGORITHMS, Move, Round, binomial, schedule
from parasim.program.collectives.double_tree import default_chunks, trees
from parasim.program.collectives.torus import most_square
from parasim.program.groups import Group
from parasim.program.ops import Collective
from tests.effort import in_one_test


def shape_for(name, size):
    return most_square(size) if name.startswith("hierarchical") else None


def all_rounds(kind, name, size, elements, **options):
    buffer = None if kind == "barrier" else Buffer("x", elements, 4)
    op = Collective(kind, Group("g", tuple(range(size))), buffer, name, shape=shape_for(name, size), **options)
    return [list(schedule(op, index)) for index in range(size)]


@pytest.mark.parametrize(("kind", "name"), ALGORITHMS)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 200), st.data())
def test_every_schedule_keeps_the_rules_of_rounds(kind, name, size, elements, data):
    options = {}
    if name == "double_tree":
        options["chunks"] = data.draw(st.integers(1, 12))
    if kind == "broadcast" or name in {"binomial", "naive"}:
        options["root"] = data.draw(st.integers(0, size - 1))
    members = all_rounds(kind, name, size, elements, **options)
    room = size * -(-elements // size) if kind == "all_to_all" else elements  # a new vector, of its own size
    assert len({len(rounds) for rounds in members}) == 1
    for at_once in zip(*members, strict=True):
        sent, received = {}, {}
        for index, round_ in enumerate(at_once):
            for move in round_.sends:
                assert move.peer != index
                assert kind == "barrier" or 0 <= move.start < move.stop <= elements
                sent.setdefault((index, move.peer), []).append(move.stop - move.start)
            for move in round_.receives:
                assert kind == "barrier" or 0 <= move.start < move.stop <= room
                received.setdefault((move.peer, index), []).append(move.stop - move.start)
            if kind != "all_to_all":
                for into in round_.receives:
                    overlapping = [m for m in round_.sends if m.start < into.stop and into.start < m.stop]
                    assert into.reduce or not overlapping
        assert sent == received


@pytest.mark.parametrize(("kind", "name"), [key for key in ALGORITHMS if key[0] in {"all_reduce", "reduce_scatter"}])
@in_one_test("size", [2, 3, 6, 8, 13])
def test_complete_ranges_cover_the_vector_and_are_not_overwritten_later(kind, name, size):
    elements = 29
    members = all_rounds(kind, name, size, elements)
    covered = {e for rounds in members for r in rounds for start, stop in r.complete for e in range(start, stop)}
    assert covered == set(range(elements))
    for rounds in members:
        for t, round_ in enumerate(rounds):
            for start, stop in round_.complete:
                later = [m for r in rounds[t + 1 :] for m in r.receives if m.start < stop and start < m.stop]
                assert later == []


def test_ring_rounds_are_those_drawn_in_its_docstring():
    received = [
        [round_.receives[0].start for round_ in rounds] for rounds in all_rounds("reduce_scatter", "ring", 4, 4)
    ]
    assert list(map(list, zip(*received, strict=True))) == [[2, 3, 0, 1], [1, 2, 3, 0], [0, 1, 2, 3]]


def test_a_scripted_ring_all_reduce_of_two_members():
    first, second = all_rounds("all_reduce", "ring", 2, 3)[0]
    assert first == Round((Move(1, 1, 3),), (Move(1, 0, 1, reduce=True),), complete=((0, 1),))
    assert second == Round((Move(1, 0, 1),), (Move(1, 1, 3),))


def test_binomial_reduce_gathers_the_tree_drawn_in_its_docstring():
    senders = [
        [(i, r.sends[0].peer) for i, r in enumerate(at_once) if r.sends]
        for at_once in zip(*(binomial.reduce(i, 6, 1) for i in range(6)), strict=True)
    ]
    assert senders == [[(1, 0), (3, 2), (5, 4)], [(2, 0)], [(4, 0)]]


def test_bruck_holds_what_its_docstring_draws():
    held = [{i} for i in range(5)]
    drawn = []
    for at_once in zip(*all_rounds("all_gather", "bruck", 5, 5), strict=True):
        for index, round_ in enumerate(at_once):
            for move in round_.receives:
                held[index] |= set(range(move.start, move.stop))
        drawn.append([len(pieces) for pieces in held])
        assert all({(i + k) % 5 for k in range(len(pieces))} == pieces for i, pieces in enumerate(held))
    assert drawn == [[2] * 5, [4] * 5, [5] * 5]


def test_double_tree_runs_the_pipeline_drawn_in_its_docstring():
    members = all_rounds("all_reduce", "double_tree", 4, 6, chunks=3)  # the lower half, [0, 3), goes over tree A
    edges = {"1->2": [], "2->0": [], "0->2": [], "2->3": []}
    for time, at_once in enumerate(zip(*members, strict=True)):
        for index, round_ in enumerate(at_once):
            for move in round_.sends:
                key = f"{index}->{move.peer}"
                if move.stop <= 3 and key in edges:
                    edges[key].append((time, "abc"[move.start]))
    assert len(members[0]) == 6
    for first, edge in enumerate(edges):
        assert edges[edge] == [(first + i, chunk) for i, chunk in enumerate("abc")]


@in_one_test("size", range(2, 300))
def test_double_trees_span_are_shallow_and_share_inner_nodes_as_stated(size):
    for tree in trees(size):
        assert tree.parents.count(-1) == 1
        root = tree.parents.index(-1)
        assert tree.depths[root] == 0
        assert all(
            tree.depths[child] == tree.depths[parent] + 1 for child, parent in enumerate(tree.parents) if parent >= 0
        )
        assert sum(map(len, tree.children)) == size - 1
        assert len(tree.children[root]) == 1
        assert all(len(children) <= 2 for children in tree.children)
        assert tree.depth <= (size - 1).bit_length()
    assert trees(size)[0].depth == trees(size)[1].depth
    both = {m for m in range(size) if all(tree.children[m] for tree in trees(size))}
    assert len(both) == size % 2


def test_double_tree_of_nine_to_sixteen_hangs_from_eight():
    for size in range(9, 17):
        assert trees(size)[0].children[0] == (8,)


@in_one_test("size", [2, 3, 8, 13, 16, 31])
def test_double_tree_moves_at_most_four_chunks_per_member_and_round(size):
    for rounds in all_rounds("all_reduce", "double_tree", size, 40, chunks=20):  # a chunk is one element
        assert max(len(round_.sends) for round_ in rounds) <= 4
        assert max(len(round_.receives) for round_ in rounds) <= 4


def test_default_chunks_grow_with_the_root_of_the_vector():
    assert default_chunks(16, 0) == 1
    assert default_chunks(16, 400 << 20) == pytest.approx(2 * default_chunks(16, 100 << 20), abs=1)


def test_most_square_factors():
    assert [most_square(n) for n in (1, 7, 12, 16, 18)] == [(1, 1), (1, 7), (3, 4), (4, 4), (3, 6)]
