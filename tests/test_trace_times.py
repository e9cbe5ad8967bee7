"""The split of a worker's time, against a count of unit cells; Aggregates against rows."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.errors import ProgramError
from parasim.metrics.info import RunInfo
from parasim.metrics.summary import summary
from parasim.trace.aggregate import Aggregates
from parasim.trace.intervals import Union, covered
from parasim.trace.lanes import TRANSFER, LaneTimes
from parasim.trace.rows import Row
from parasim.trace.spans import ActorSpans
from parasim.trace.table import Trace

INFO = RunInfo("s", "x", "simulated", workers=2, batch_size=4)


def row(op: str, t_post: float, t_start: float, t_end: float, lane: str = "main", rank: int = 0, **columns) -> Row:
    return Row(rank, "worker", rank, lane, f"{lane}#0", op, t_post=t_post, t_start=t_start, t_end=t_end, **columns)


def times(rows):
    folded = Trace(rows).fold()
    (actor,) = folded.actors
    return actor.times.main_seconds(), actor.times.busy_seconds()


# unions ------------------------------------------------------------------------------------------------------------
intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=30)


@given(intervals)
def test_union_counts_cells_in_any_order(pieces):
    cells = {cell for start, end in pieces for cell in range(start, end)}
    union = Union()
    for start, end in pieces:
        union.add(start, end)
    assert union.length() == len(cells)
    assert covered(pieces) == len(cells)


def test_union_lets_old_pieces_go_and_clips_what_reaches_behind_them():
    union = Union()
    for i in range(5000):
        union.add(2.0 * i, 2.0 * i + 1)
    assert union.length() == 5000
    assert len(union._starts) <= 1024
    union.add(9000.0, 9999.0)  # the last 500 pieces and the gaps between them: 9000..9999 in all
    assert union.length() == 4500 + 999
    union.add(0.0, 9999.0)  # pieces that were let go are not counted twice
    assert 4500 + 999 < union.length() <= 9999


spans = st.lists(st.integers(0, 300), max_size=24, unique=True).map(
    lambda ends: list(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)


def pieces(group):
    return [start for start, _ in group], [end for _, end in group]


@given(st.lists(spans, max_size=4))
def test_a_union_takes_intervals_in_order_at_once(groups):
    one_by_one, at_once = Union(), Union()
    for group in groups:
        at_once.add_in_order(pieces(group))
        for start, end in group:
            one_by_one.add(start, end)
    assert at_once.length() == one_by_one.length()


def test_many_intervals_at_once_leave_as_few_pieces():
    union = Union()
    union.add_in_order(pieces([(2.0 * i, 2.0 * i + 1) for i in range(5000)]))
    assert union.length() == 5000
    assert len(union._starts) <= 1024


@given(st.lists(st.tuples(st.sampled_from(["main", "comm", "other"]), spans, st.sampled_from([0, 1])), max_size=6))
def test_work_told_at_once_is_split_as_work_told_piece_by_piece(groups):
    one_by_one, at_once = LaneTimes(), LaneTimes()
    for number, (lane, group, kind) in enumerate(groups):
        at_once.works(lane, pieces(group), kind)
        for start, end in group:
            one_by_one.work(lane, start, end, kind)
        for lanes in (one_by_one, at_once):
            lanes.wait("main", ("comm", "other")[: 1 + number % 2], 50.0 * number, 50.0 * number + 40.0)
            lanes.passed(50.0 * number + 40.0)
    assert at_once.main_seconds() == one_by_one.main_seconds()
    assert at_once.busy_seconds() == one_by_one.busy_seconds()


# the split, by hand ------------------------------------------------------------------------------------------------
def test_bucket_that_overlaps_backward():
    # main     |--compute 0..4--|--compute 4..6--|------wait 6..10------|compute 10..11|
    # comm                |........post 4, transfer 5..8|reduce 8..9|          (wait ends at 10: nothing moves 9..10)
    rows = [
        row("compute", 0, 0, 4),
        row("compute", 4, 4, 6),
        row("recv", 4, 5, 8, lane="comm", nbytes=8, message="1:0"),
        row("compute", 8, 8, 9, lane="comm"),
        row("wait", 6, 6, 10, label="comm"),
        row("compute", 10, 10, 11),
    ]
    main, busy = times(rows)
    # compute 6 + 1 of its own and 1 waited for; transfer 6..8; nothing 9..10
    assert main == (8, 2)
    # lanes move data 5..8, of which 5..6 is hidden; compute is never hidden
    assert busy == (8, 3)
    figures = summary(Trace(rows), INFO)
    assert figures["shares"] == {"compute": 8 / 11, "transfer": 2 / 11, "wait": 1 / 11}
    assert figures["overlapped"] == {"compute": None, "transfer": None}  # no step was logged
    stepped = summary(Trace([*rows, row("log", 11, 11, 11, label="step", step=0)]), INFO)
    assert stepped["overlapped"] == {"compute": 0.0, "transfer": 1.0}


def test_exchange_counts_once_and_other_lanes_do_not_count():
    rows = [
        row("recv", 0, 3, 5, nbytes=1, message="1:0"),  # of one exchange: post 0, moving 2..6 in all
        row("send", 0, 2, 6, nbytes=1, message="0:0"),
        row("send", 6, 8, 12, lane="other", nbytes=1),
        row("wait", 6, 6, 9, label="quiet"),  # waits for another lane: what "other" moves is hidden
    ]
    assert times(rows) == ((0, 4), (0, 8))


def test_transfer_that_ends_after_the_wait_still_counts_in_it():
    # WaitAny on two lanes: the second one's message is under way (1..9) when the first one's ends the wait at 4.
    rows = [
        row("recv", 0, 3, 4, lane="a", nbytes=1, message="1:0"),
        row("wait", 0, 0, 4, label="a,b"),
        row("compute", 4, 4, 7),
        row("recv", 0, 1, 9, lane="b", nbytes=1, message="2:0"),
    ]
    assert times(rows) == ((3, 3), (3, 8))


def test_lane_that_waits_for_lanes_is_seen_through():
    rows = [
        row("send", 1, 2, 5, lane="shard", nbytes=1),
        row("wait", 0, 0, 6, lane="push", label="shard"),
        row("wait", 0, 0, 6, label="push"),
    ]
    assert times(rows) == ((0, 3), (0, 3))


def test_containers_closed_and_unmatched_receives_count_nowhere():
    rows = [
        row("collective", 0, 0, 4, outcome="expanded"),
        row("locked", 4, 4, 6),
        row("recv", 6, 6, 7, outcome="cancelled"),
        row("sleep", 7, 7, 8),
        row("collective", 8, 9, 12, outcome="native"),
        row("recv", 12, 12, 50, lane="daemon", outcome="closed"),
    ]
    assert times(rows) == ((0, 3), (0, 3))
    figures = summary(Trace(rows), INFO)
    assert figures["seconds"] == 12
    assert figures["shares"]["wait"] == 0.75


def test_shared_memory_is_transfer_without_the_computes_in_it():
    # main |-----read 0..6: computes 1..3, 4..5-----|--update 6..8, all of it one compute--|wait for lane: 8..12|
    # lane                                                             update 9..12: compute 10..12
    rows = [
        row("compute", 0, 1, 3),
        row("compute", 3, 4, 5),
        row("read", 0, 0, 6),
        row("compute", 6, 6, 8),
        row("update", 6, 6, 8),
        row("compute", 9, 10, 12, lane="push"),
        row("update", 9, 9, 12, lane="push"),
        row("wait", 8, 8, 12, label="push"),
    ]
    assert times(rows) == ((2 + 1 + 2 + 2, 3 + 1), (7, 4))
    spans = ActorSpans(0, "worker", 0, rows)
    assert [(r.op, r.lane, r.t_start, r.t_end) for r, kind in spans.work if kind == TRANSFER] == [
        ("read", "main", 0, 1), ("read", "main", 3, 4), ("read", "main", 5, 6), ("update", "push", 9, 10),
    ]  # fmt: skip
    assert spans.main[0] == (0, 1, TRANSFER)
    shares = summary(Trace(rows), INFO)["shares"]
    assert shares == {"compute": 7 / 12, "transfer": 4 / 12, "wait": 1 / 12}


def test_many_waits_and_lane_rows_keep_little_state():
    folded = Aggregates()
    for step in range(3000):
        folded.add(row("send", 4 * step, 4 * step + 1, 4 * step + 3, lane="out", nbytes=1))
        folded.add(row("wait", 4 * step + 2, 4 * step + 2, 4 * step + 4, label="out"))
    times = folded.actors[0].times
    assert times.main_seconds() == (0, 3000)
    assert times.busy_seconds() == (0, 6000)
    assert len(times._waits) <= 32
    assert len(times._recent["out"]) <= 65


def test_unknown_op_is_named():
    with pytest.raises(ProgramError, match="rank 0 has op 'teleport'"):
        Aggregates().add(row("teleport", 0, 0, 1))


# the split, in general ---------------------------------------------------------------------------------------------
LANES = ("a", "b", "c")


@st.composite
def actors(draw, rank=0):
    """Valid rows of one actor: each lane's operations one after the other, the main lane's waits name lanes."""
    rows = []
    for lane in ("main", *LANES):
        cuts = sorted(draw(st.lists(st.integers(0, 60), max_size=14)))
        for low, high in pairwise(cuts):
            start = draw(st.integers(low, high))
            op = draw(st.sampled_from(["compute", "send", "recv", "sleep", "wait", "exchange", "read"]))
            if op == "wait":
                if lane == "main":
                    label = ",".join(draw(st.lists(st.sampled_from(LANES), min_size=1, max_size=3, unique=True)))
                    rows.append(row("wait", low, low, high, rank=rank, label=label))
            elif op == "read":
                inner = sorted(draw(st.lists(st.integers(low, high), max_size=4)))
                rows += [row("compute", low, a, b, lane=lane, rank=rank) for a, b in [*pairwise(inner)][::2]]
                rows.append(row("read", low, low, high, lane=lane, rank=rank))
            elif op == "exchange":
                for _ in range(2):
                    end = draw(st.integers(low, high))
                    begin = draw(st.integers(low, end))
                    rows.append(row("recv", low, begin, end, lane=lane, rank=rank, nbytes=3, message="m"))
            else:
                size = draw(st.integers(0, 9))
                rows.append(row(op, low, start, high, lane=lane, rank=rank, nbytes=size, message="m"))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, 60))
        kind = draw(st.sampled_from(["step", "applied", "loss", "hold"]))
        rows.append(
            row("log", at, at, at, rank=rank, label=kind, step=draw(st.integers(0, 3)), buffer="w",
                value=draw(st.floats(-1e9, 1e9)) if kind == "loss" else None,
                held_bytes=draw(st.integers(-9, 9)) if kind == "hold" else 0,
                version_read=draw(st.integers(0, 3)), version_applied=3, peer=draw(st.integers(-1, 3)))
        )  # fmt: skip
    return sorted(rows, key=lambda r: r.t_end)


def cells(rows, op_is, lanes):
    return {t for r in rows if op_is(r.op) and r.lane in lanes for t in range(int(r.t_start), int(r.t_end))}


def moving_cells(rows, lanes):
    """Of messages, and of reads what the same lane's computes leave."""
    reads = {t for lane in lanes for t in cells(rows, "read".__eq__, [lane]) - cells(rows, "compute".__eq__, [lane])}
    return reads | cells(rows, ("send", "recv").__contains__, lanes)


@settings(max_examples=300)
@given(actors())
def test_split_is_the_count_of_cells(rows):
    if not rows:
        return
    is_compute = "compute".__eq__
    compute, transfer = cells(rows, is_compute, ["main"]), moving_cells(rows, ["main"])
    for r in rows:
        if r.op == "wait":
            inside = set(range(int(r.t_post), int(r.t_end)))
            moving = inside & moving_cells(rows, r.label.split(","))
            transfer |= moving
            compute |= (inside & cells(rows, is_compute, r.label.split(","))) - moving
    busy = len(cells(rows, is_compute, ["main", *LANES])), len(moving_cells(rows, ["main", *LANES]))
    assert times(rows) == ((len(compute), len(transfer)), busy)


@settings(max_examples=150)
@given(actors(rank=0), actors(rank=1), st.randoms(use_true_random=False))
def test_aggregates_equal_rows_however_actors_interleave(first, second, random):
    whole = Trace([*first, *second])
    folded = Aggregates()
    queues = [queue for queue in (list(first), list(second)) if queue]
    while queues:
        queue = random.choice(queues)
        folded.add(queue.pop(0))
        queues = [queue for queue in queues if queue]
    figures = summary(whole, INFO)
    assert summary(folded, INFO) == figures
    assert summary(pickle.loads(pickle.dumps(folded)), INFO) == figures
    assert [loss.mean() for _, loss in sorted(folded.losses.items())] == [
        loss.mean() for _, loss in sorted(whole.fold().losses.items())
    ]
    if len(whole):
        shares = figures["shares"]
        assert abs(sum(shares.values()) - 1) < 1e-12
        assert min(shares.values()) >= 0
        assert all(figures["max"]["shares"][name] >= share for name, share in shares.items())
