"""The operations of the language on real processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.executor.launch import Outcome, run_cast
from calibration.executor.pool import Pool
from parasim.errors import DeadlockError, ProgramError

pytestmark = pytest.mark.real


def run(pool: Pool, name: str, size: int, **arguments: Any) -> Outcome:
    return run_cast(f"tests.real_programs:{name}", arguments, size, pool=pool)


def test_values_travel_and_rows_of_both_ends_agree(pool: Pool) -> None:
    outcome = run(pool, "ping_pong", 2, rounds=3, elements=4, values=True)
    assert outcome.returns[0].tolist() == [4.0] * 4
    assert outcome.returns[1] is None
    sends = {row.message: row for row in outcome.trace if row.op == "send"}
    receives = {row.message: row for row in outcome.trace if row.op == "recv"}
    assert sends.keys() == receives.keys()
    assert len(sends) == 6
    for message, send in sends.items():
        receive = receives[message]
        assert (send.nbytes, send.buffer, send.peer, send.tag) == (16, receive.buffer, receive.rank, receive.tag)
        assert send.t_post <= send.t_start <= send.t_end
        assert receive.t_start >= max(send.t_post, receive.t_post)


@pytest.mark.parametrize("values", [True, False])
def test_large_payloads(pool: Pool, values: bool) -> None:
    outcome = run(pool, "ping_pong", 2, rounds=2, elements=1 << 18, values=values)
    assert [row.nbytes for row in outcome.trace if row.op == "recv"] == [1 << 20] * 4
    if values:
        assert np.array_equal(outcome.returns[0], np.full(1 << 18, 3.0))


def test_messages_of_one_exchange_come_beside_each_other(pool: Pool) -> None:
    """The short one is not behind the long one, first in the list, which can't end before: the run would hang."""
    outcome = run_cast("tests.real_messages:gathered", {"nbytes": [1 << 24, 8]}, 3, pool=pool)
    received = {row.peer: row.nbytes for row in outcome.trace if row.op == "recv" and row.tag == "gather"}
    assert received == {0: 1 << 24, 1: 8}


def test_facing_sends_deadlock_and_facing_pairs_do_not(pool: Pool) -> None:
    run(pool, "facing", 2, sends_first=False)
    with pytest.raises(DeadlockError, match=r"2 ranks wait") as caught:
        run(pool, "facing", 2, sends_first=True)
    assert "Send(peer=1, tag=x)" in str(caught.value)
    assert "Send(peer=0, tag=x)" in str(caught.value)


def test_one_rank_alone(pool: Pool) -> None:
    with pytest.raises(DeadlockError, match="Recv"):
        run(pool, "alone_for_ever", 1)


def test_daemons_serve_until_all_else_is_finished(pool: Pool) -> None:
    outcome = run(pool, "served", 4, clients=3, rounds=5)
    assert outcome.returns == (20, 20, 20, 15)
    sources = [entry[2] for entry in outcome.record.ranks[3] if entry[1] == "source" and entry[2] >= 0]
    assert sorted(sources) == [0] * 5 + [1] * 5 + [2] * 5
    assert sum(row.outcome == "closed" for row in outcome.trace) == 1


def test_a_daemon_that_receives_after_closed_is_refused(pool: Pool) -> None:
    with pytest.raises(ProgramError, match="goes on receiving"):
        run(pool, "stubborn", 2)


@pytest.mark.parametrize("length", [1, 300, 440, 100_000])
def test_headers_of_any_length(pool: Pool, length: int) -> None:
    assert run(pool, "long_header", 2, length=length).returns[1] == [length, 1, 0.1, True]


def test_a_header_that_cannot_travel_is_named(pool: Pool) -> None:
    with pytest.raises(ProgramError, match=r"header list=\[1\]"):
        run(pool, "bad_header", 2)


def test_all_types_of_values(pool: Pool) -> None:
    names = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
    results = run(pool, "types", 2, names=names).returns[1]
    for name, (kind, whole, into) in zip(names, results, strict=True):
        assert kind == f"torch.{name}"
        truth = [False, True, True, True, True] if name == "bool" else [0, 1, 2, 3, 4]
        assert whole == truth
        assert into == [truth[0], truth[0], *truth[1:4]]


def test_what_travels_is_the_value_at_the_post(pool: Pool) -> None:
    assert run(pool, "frozen", 2).returns[1].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("elements", [6, 7])
def test_native_collectives_give_what_the_named_ones_give(pool: Pool, elements: int) -> None:
    native = run(pool, "reduced", 2, workers=2, algorithm="native", values=True, elements=elements)
    named = run(pool, "reduced", 2, workers=2, algorithm="ring", values=True, elements=elements)
    for ours, theirs in zip(native.returns, named.returns, strict=True):
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]
    rows = [row for row in native.trace if row.op == "collective"]
    assert len(rows) == 16
    assert {row.outcome for row in rows} == {"native"}
    assert not any(row.op == "send" for row in native.trace)


def test_native_collectives_without_values(pool: Pool) -> None:
    outcome = run(pool, "reduced", 3, workers=3, algorithm="native", values=False, elements=9)
    assert outcome.returns == ([None] * 7,) * 3


def test_a_native_collective_that_a_member_never_joins(pool: Pool) -> None:
    with pytest.raises(DeadlockError, match="3 ranks wait") as caught:
        run(pool, "native_deadlock", 3)
    assert str(caught.value).count("Collective") == 2


def test_native_streams_may_be_first_used_in_any_order(pool: Pool) -> None:
    outcome = run(pool, "crossed_streams", 2)
    assert sorted(row.lane for row in outcome.trace if row.op == "collective") == ["a", "a", "b", "b"]


def test_computes_run_beside_transfers(pool: Pool) -> None:
    """The first compute ends when the transfers are over, and not before."""
    outcome = run(pool, "overlapping", 2)
    assert outcome.returns == ([True, True, 3],) * 2
    for rank in (0, 1):
        rows = [row for row in outcome.trace if row.rank == rank]
        receive = next(row for row in rows if row.op == "recv")
        first = next(row for row in rows if row.op == "compute")
        assert first.t_start <= receive.t_end <= first.t_end


def test_a_long_compute_is_no_deadlock(pool: Pool) -> None:
    assert run(pool, "long_computes", 3, workers=3, seconds=0.15).returns == (0, 1, 2)


@pytest.mark.parametrize("values", [True, False])
def test_atomic_updates_of_shared_memory_are_all_counted(pool: Pool, values: bool) -> None:
    outcome = run(pool, "counted", 2, workers=2, rounds=20, atomic=True, values=values)
    for version, torn, weights in outcome.returns:
        assert (version, torn) == (40, False)
        assert weights is None if not values else weights.tolist() == [40.0] * 8


def test_plain_updates_count_what_they_lose(pool: Pool) -> None:
    outcome = run(pool, "counted", 2, workers=2, rounds=20, atomic=False, values=True)
    version, _, weights = outcome.returns[0]
    assert version == 40
    lost = [row for row in outcome.trace if row.op == "update" and row.outcome == "lost"]
    assert lost or all(weight == 40 for weight in weights)
    # The least is 2: one writes its first update when the other has made all but its last, and the other its last,
    # which it computed from that first one, when all are made.
    assert all(2 <= weight <= 40 for weight in weights)


def test_the_lock_keeps_updates_apart(pool: Pool) -> None:
    outcome = run(pool, "locked", 2, workers=2, rounds=8)
    assert outcome.returns[0].tolist() == [32.0] * 4
    assert not any(row.outcome == "lost" for row in outcome.trace)
    assert sum(row.op == "locked" for row in outcome.trace) == 32


def test_locks_taken_crosswise_deadlock(pool: Pool) -> None:
    with pytest.raises(DeadlockError) as caught:
        run(pool, "lock_deadlock", 2)
    assert str(caught.value).count("Locked") == 2
