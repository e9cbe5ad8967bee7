"""The programs of all members under strict rendezvous, with vectors and a clock: results, bits, bytes, rounds, time."""

import heapq
from collections import defaultdict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.program.buffers import Buffer, bounds
from parasim.program.collectives import ALGORITHMS, expand
from parasim.program.collectives.torus import most_square
from parasim.program.groups import Group
from parasim.program.ops import Collective, Compute, Exchange, Message, Recv, Send
from parasim.theory.collectives import cost
from tests.effort import in_one_test

ALPHA, BETA, GAMMA = 3e-5, 7e-9, 2e-9
ALL_REDUCES = [name for kind, name in ALGORITHMS if kind == "all_reduce"]
SIZES = range(1, 18)


class Arrays:
    """The verbs that collectives need, on NumPy."""

    def add_(self, into, x, scale=1.0):
        into += x

    def scale_(self, into, factor):
        into *= factor

    def maximum_(self, into, x):
        np.maximum(into, x, out=into)

    def concatenate(self, xs):
        return np.concatenate(xs)


class Run:
    """Steps the programs of all ranks in virtual time; a message starts when both of its ends have asked for it.

    It waits alpha, then for its sender's outgoing and its receiver's incoming link, which it holds for bytes * beta.
    Reductions take gamma per byte added, other computes nothing. Raises if anyone is left waiting.
    """

    def __init__(self, programs, links=lambda source, peer: (ALPHA, BETA), starts=()):
        self.programs, self.links = programs, links
        self.now, self.queue, self.count = 0.0, [], 0
        self.sends, self.receives = defaultdict(deque), defaultdict(deque)
        self.out_free, self.in_free = defaultdict(float), defaultdict(float)
        self.open, self.replies = {}, {}
        self.rounds, self.messages, self.nbytes = defaultdict(int), defaultdict(int), defaultdict(int)
        self.computes, self.results, self.ends = defaultdict(list), {}, {}
        for rank in programs:
            self.at(dict(starts).get(rank, 0.0), self.step, rank, None)
        while self.queue:
            self.now, _, action, arguments = heapq.heappop(self.queue)
            action(*arguments)
        waiting = sorted(programs.keys() - self.results.keys())
        assert not waiting, f"deadlock: ranks {waiting} wait"
        assert not any(self.sends.values())
        self.seconds = self.now

    def at(self, time, action, *arguments):
        self.count += 1
        heapq.heappush(self.queue, (time, self.count, action, arguments))

    def step(self, rank, reply):
        try:
            op = self.programs[rank].send(reply)
        except StopIteration as end:
            self.results[rank], self.ends[rank] = end.value, self.now
            return
        if isinstance(op, Compute):
            self.computes[rank].append(op)
            added = op.kernel.flops * op.touches[0].itemsize if op.kernel.label == "reduce" else 0
            self.at(self.now + added * GAMMA, self.step, rank, op.work() if op.work else None)
            return
        assert isinstance(op, Exchange)
        assert op.sends or op.receives
        self.rounds[rank] += 1
        self.open[rank], self.replies[rank] = len(op.sends) + len(op.receives), [None] * len(op.receives)
        for send in op.sends:
            carries = send.buffer is not None and send.buffer.carries_values
            frozen = send.buffer.values.copy() if carries else None
            self.messages[rank] += 1
            self.nbytes[rank] += send.buffer.nbytes if send.buffer else 0
            self.sends[rank, send.peer, send.tag].append((send.buffer, frozen))
        for place, receive in enumerate(op.receives):
            self.receives[receive.source, rank, receive.tag].append((place, receive.into))
        for key in {(rank, s.peer, s.tag): 0 for s in op.sends} | {(r.source, rank, r.tag): 0 for r in op.receives}:
            while self.sends[key] and self.receives[key]:
                self.start(*key, *self.sends[key].popleft(), *self.receives[key].popleft())

    def start(self, source, peer, tag, buffer, values, place, into):
        alpha, beta = self.links(source, peer)
        end = max(self.now + alpha, self.out_free[source], self.in_free[peer])
        end += beta * (buffer.nbytes if buffer else 0)
        self.out_free[source] = self.in_free[peer] = end
        self.at(end, self.deliver, source, peer, tag, buffer, values, place, into)

    def deliver(self, source, peer, tag, buffer, values, place, into):
        if into is None and buffer is not None:
            into = Buffer(buffer.name, buffer.elements, buffer.itemsize, values)
        elif into is not None:
            assert into.elements == buffer.elements
            if values is not None:
                into.values[:] = values
        self.replies[peer][place] = Message(source, tag, {}, into)
        for rank in (source, peer):
            self.open[rank] -= 1
            if self.open[rank] == 0:
                self.at(self.now, self.step, rank, tuple(self.replies[rank]))


def run(kind, name, size, vectors, *, links=lambda source, peer: (ALPHA, BETA), starts=(), **options):
    """Run a collective on copies of these vectors (None: a barrier); ranks are not the indices."""
    if name.startswith("hierarchical"):
        options.setdefault("shape", most_square(size))
    ranks = tuple(100 - 3 * i for i in range(size))
    group, buffers, programs = Group("g", ranks), {}, {}
    for index, rank in enumerate(ranks):
        if vectors is not None:
            values = np.array(vectors[index])
            buffers[rank] = Buffer("x", len(values), values.itemsize, values)
        own = {key: value[index] if key.startswith("counts") else value for key, value in options.items()}
        op = Collective(kind, group, buffers.get(rank), name, **own)
        programs[rank] = expand(op, rank, "t", Arrays())
    done = Run(programs, links, starts)
    done.ranks = ranks
    done.vectors = [buffers[rank].values for rank in ranks] if buffers else []
    done.replies_by_index = [done.results[rank] for rank in ranks]
    return done


def test_the_clock_of_this_file_detects_a_deadlock():
    def facing(peer):
        yield Exchange(sends=(Send(peer, Buffer("x", 1), "t"),))
        yield Exchange(receives=(Recv(peer, "t"),))

    with pytest.raises(AssertionError, match=r"deadlock: ranks \[0, 1\] wait"):
        Run({0: facing(1), 1: facing(0)})


def integers(size, elements):
    return [np.arange(elements, dtype=np.float64) * (i + 1) % 11 - i for i in range(size)]


def fractions(size, elements):
    return list(np.random.default_rng(size * 1000 + elements).standard_normal((size, elements)).astype(np.float32))


@pytest.mark.parametrize("name", ALL_REDUCES)
@in_one_test("size", SIZES)
@in_one_test("elements", [0, 1, 5, 24, 61])
def test_all_reduce_is_exact_on_integers(name, size, elements):
    vectors = integers(size, elements)
    done = run("all_reduce", name, size, vectors)
    for got in done.vectors:
        np.testing.assert_array_equal(got, np.sum(vectors, axis=0))
    assert done.replies_by_index == [None] * size


@pytest.mark.parametrize("name", ALL_REDUCES)
@in_one_test("reduce", ["sum", "mean", "max"])
@in_one_test("size", SIZES)
def test_all_members_end_with_identical_bits(name, size, reduce):
    vectors = fractions(size, 37)
    done = run("all_reduce", name, size, vectors, reduce=reduce)
    assert len({got.tobytes() for got in done.vectors}) == 1
    expected = {"sum": np.sum, "mean": np.mean, "max": np.max}[reduce](np.array(vectors, dtype=np.float64), axis=0)
    np.testing.assert_allclose(done.vectors[0], expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ALL_REDUCES), st.integers(1, 33), st.integers(0, 100), st.sampled_from(["sum", "max"]), st.data()
)
def test_all_reduce_for_any_size_root_shape_and_chunks(name, size, elements, reduce, data):
    options = {"reduce": reduce, "root": data.draw(st.integers(0, size - 1))}
    if name in {"torus", "hierarchical", "hierarchical_leader"}:
        rows = data.draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        options["shape"] = (rows, size // rows)
    if name == "double_tree":
        options["chunks"] = data.draw(st.integers(1, 9))
    vectors = integers(size, elements)
    done = run("all_reduce", name, size, vectors, **options)
    expected = {"sum": np.sum, "max": np.max}[reduce](vectors, axis=0)
    assert all(np.array_equal(got, expected) for got in done.vectors)


@in_one_test("size", SIZES)
@in_one_test("elements", [0, 3, 34, 50])
def test_reduce_scatter_leaves_each_member_its_own_piece(size, elements):
    vectors, cuts = integers(size, elements), bounds(elements, size)
    done = run("reduce_scatter", "ring", size, vectors, reduce="mean")
    for index, view in enumerate(done.replies_by_index):
        assert (view.start, view.stop) == (cuts[index], cuts[index + 1])
        expected = np.sum(vectors, axis=0)[view.start : view.stop] * (1 / size)
        np.testing.assert_array_equal(view.values, expected)


def test_ring_all_reduce_has_the_bits_of_reduce_scatter_then_all_gather():
    vectors = fractions(5, 33)
    scattered = run("reduce_scatter", "ring", 5, vectors, reduce="mean")
    gathered = run("all_gather", "ring", 5, scattered.vectors)
    assert gathered.vectors[3].tobytes() == run("all_reduce", "ring", 5, vectors, reduce="mean").vectors[0].tobytes()


def test_counts_of_a_reduce_scatter():
    vectors = integers(3, 9)
    done = run("reduce_scatter", "ring", 3, vectors, counts=[(2, 0, 7)] * 3)
    assert [(view.start, view.stop) for view in done.replies_by_index] == [(0, 2), (2, 2), (2, 9)]
    np.testing.assert_array_equal(done.replies_by_index[2].values, np.sum(vectors, axis=0)[2:])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["ring", "bruck"]), st.lists(st.integers(0, 7), min_size=1, max_size=20))
def test_all_gather_of_pieces_of_any_sizes(name, counts):
    cuts = np.cumsum([0, *counts])
    whole = np.arange(cuts[-1], dtype=np.int64) + 1
    vectors = []
    for index in range(len(counts)):
        own = np.zeros_like(whole)
        own[cuts[index] : cuts[index + 1]] = whole[cuts[index] : cuts[index + 1]]
        vectors.append(own)
    done = run("all_gather", name, len(counts), vectors, counts=[tuple(counts)] * len(counts))
    assert all(np.array_equal(got, whole) for got in done.vectors)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.data())
def test_all_to_all_of_pieces_of_any_sizes(size, data):
    table = [[data.draw(st.integers(0, 4)) for _ in range(size)] for _ in range(size)]
    vectors = [
        np.concatenate([np.full(n, 100 * i + j, dtype=np.int32) for j, n in enumerate(row)])
        for i, row in enumerate(table)
    ]
    columns = [tuple(table[i][j] for i in range(size)) for j in range(size)]
    done = run("all_to_all", "pairwise", size, vectors, counts=[tuple(row) for row in table], counts_in=columns)
    for j, reply in enumerate(done.replies_by_index):
        expected = [100 * i + j for i in range(size) for _ in range(table[i][j])]
        assert reply.values.tolist() == expected
        assert reply.elements == len(expected)
        assert reply.values.dtype == np.int32
        assert done.vectors[j].tolist() == vectors[j].tolist()


def test_all_to_all_of_equal_vectors_transposes_the_pieces():
    done = run("all_to_all", "pairwise", 3, [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]])
    assert [reply.values.tolist() for reply in done.replies_by_index] == [
        [0, 10, 20],
        [1, 11, 21],
        [2, 3, 12, 13, 22, 23],
    ]


@pytest.mark.parametrize("name", ["binomial", "scatter_all_gather"])
@in_one_test("size", SIZES)
@in_one_test("elements", [0, 2, 35])
def test_broadcast_from_any_root(name, size, elements):
    for root in {0, size // 2, size - 1}:
        vectors = fractions(size, elements)
        done = run("broadcast", name, size, vectors, root=root)
        assert {got.tobytes() for got in done.vectors} == {vectors[root].tobytes()}


@in_one_test("size", SIZES)
def test_barrier_holds_everyone_until_the_last_has_come(size):
    done = run("barrier", "dissemination", size, None)
    assert done.seconds == pytest.approx((size - 1).bit_length() * ALPHA)
    assert sum(done.nbytes.values()) == 0
    last = done.ranks[size // 2]
    held = run("barrier", "dissemination", size, None, starts={last: 1.0})
    assert min(held.ends.values()) >= 1.0


@pytest.mark.parametrize(("kind", "name"), ALGORITHMS)
@in_one_test("size", SIZES)
def test_bytes_messages_rounds_and_seconds_meet_the_closed_forms(kind, name, size):
    elements = 0 if kind == "barrier" else 32 * size  # every division comes out even
    vectors = None if kind == "barrier" else integers(size, elements)
    done = run(kind, name, size, vectors)
    form = cost(kind, name, size, 8 * elements, ALPHA, BETA, GAMMA)
    assert max(done.nbytes.values(), default=0) == pytest.approx(form.bytes_sent_max)
    assert sum(done.nbytes.values()) / size == pytest.approx(form.bytes_sent_mean)
    if kind != "barrier":
        assert sum(done.messages.values()) / size == pytest.approx(form.messages_sent_mean)
    if name not in {"double_tree", "scatter_all_gather"}:  # there, ranks are idle in some rounds
        assert max(done.rounds.values(), default=0) == form.rounds
    if form.exact:
        assert done.seconds == pytest.approx(form.seconds, rel=1e-9)
    else:
        assert 0.25 * form.seconds < done.seconds < 1.65 * form.seconds


@pytest.mark.parametrize("chunks", [1, 4, 16, 64])
@pytest.mark.parametrize("size", [2, 5, 8, 13, 16])
def test_double_tree_is_within_a_factor_of_its_estimate(size, chunks):
    # Short pipelines gain from their thin first and last rounds; in long ones, messages queue for links used in turn.
    done = run("all_reduce", "double_tree", size, integers(size, 160000), chunks=chunks)
    form = cost("all_reduce", "double_tree", size, 8 * 160000, ALPHA, BETA, GAMMA, chunks=chunks)
    assert 0.25 * form.seconds < done.seconds < 1.65 * form.seconds


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 5), (1, 6), (6, 1)])
@pytest.mark.parametrize("algorithm", ["hierarchical", "hierarchical_leader"])
def test_hierarchical_with_slower_links_between_nodes(algorithm, shape):
    nodes, per_node = shape
    size = nodes * per_node

    def links(source, peer):
        same = (100 - source) // 3 // per_node == (100 - peer) // 3 // per_node
        return (ALPHA, BETA) if same else (10 * ALPHA, 20 * BETA)

    done = run("all_reduce", algorithm, size, integers(size, size * 4), shape=shape, links=links)
    form = cost(
        "all_reduce", algorithm, size, 32 * size, ALPHA, BETA, GAMMA, shape=shape, outer=(10 * ALPHA, 20 * BETA)
    )
    assert done.seconds == pytest.approx(form.seconds, rel=1e-9)
    assert max(done.nbytes.values()) == pytest.approx(form.bytes_sent_max)
    assert sum(done.nbytes.values()) == pytest.approx(size * form.bytes_sent_mean)
    assert sum(done.messages.values()) == pytest.approx(size * form.messages_sent_mean)


@pytest.mark.parametrize(("kind", "name"), ALGORITHMS)
def test_without_values_the_operations_are_the_same(kind, name):
    size, group = 6, Group("g", tuple(range(6)))
    shape = most_square(size)

    def outline(xp):
        def buffer(rank):
            return None if kind == "barrier" else Buffer("x", 25, 8, np.zeros(25) if xp else None)

        return Run(
            {r: expand(Collective(kind, group, buffer(r), name, "mean", shape=shape), r, "t", xp) for r in group.ranks}
        )

    carried, modelled = outline(Arrays()), outline(None)
    assert carried.seconds == modelled.seconds
    for rank in group.ranks:
        assert [op.kernel for op in carried.computes[rank]] == [op.kernel for op in modelled.computes[rank]]
        assert all(op.work is None for op in modelled.computes[rank])


def test_a_mean_scales_each_piece_of_a_ring_once():
    done = run("all_reduce", "ring", 4, integers(4, 8), reduce="mean")
    for ops in done.computes.values():
        assert [op.kernel.label for op in ops] == ["reduce", "reduce", "reduce", "mean"]
        assert [op.kernel.flops for op in ops] == [2.0] * 4
        assert [op.kernel.nbytes for op in ops] == [48.0] * 3 + [32.0]


def test_a_group_of_one_exchanges_nothing():
    for kind, name in ALGORITHMS:
        done = run(kind, name, 1, None if kind == "barrier" else [np.array([2.0, 5.0])], reduce="mean")
        assert not done.rounds
        assert all(got.tolist() == [2.0, 5.0] for got in done.vectors)
