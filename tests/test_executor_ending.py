"""The verdict on the end of a run, without processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration.executor.ending import Coordinator, Order, State, balanced

STUCK = State(events=5, unfinished=1, tasks=1)
SERVING = State(events=5, tasks=1)
DONE = State(events=5)


def test_all_finished_without_daemons_needs_no_wave() -> None:
    coordinator = Coordinator([True, True])
    assert coordinator.report(0, 0, DONE) is None
    assert coordinator.report(1, 0, DONE) == Order("done")


def test_a_deadlock_needs_two_equal_waves() -> None:
    coordinator = Coordinator([True, True])
    assert coordinator.report(0, 0, STUCK) is None
    assert coordinator.report(1, 0, STUCK) == Order("ask", 1)
    assert coordinator.report(0, 1, STUCK) is None
    assert coordinator.report(1, 1, STUCK) == Order("ask", 2)
    assert coordinator.report(0, 2, STUCK) is None
    assert coordinator.report(1, 2, STUCK) == Order("stuck")


def test_anything_that_happened_between_two_waves_asks_for_another() -> None:
    coordinator = Coordinator([True])
    assert coordinator.report(0, 0, STUCK) == Order("ask", 1)
    for wave in range(1, 6):
        assert coordinator.report(0, wave, replace(STUCK, events=wave)) == Order("ask", wave + 1)
    assert coordinator.report(0, 6, replace(STUCK, events=5)) == Order("stuck")


def test_daemons_are_closed_and_must_then_end() -> None:
    coordinator = Coordinator([True, False])
    assert coordinator.report(0, 0, DONE) == Order("ask", 1, final=True)
    for wave in (1, 2):
        coordinator.report(0, wave, DONE)
        last = coordinator.report(1, wave, SERVING)
    assert last == Order("close", 3, final=True)
    assert coordinator.report(0, 3, DONE) is None
    assert coordinator.report(1, 3, replace(DONE, closed=1)) == Order("done")


def test_daemons_that_nothing_closes_are_a_deadlock() -> None:
    coordinator = Coordinator([True, False])
    order = coordinator.report(0, 0, DONE)
    kinds = []
    while order is not None and order.kind != "stuck":
        kinds.append(order.kind)
        coordinator.report(0, order.wave, DONE)
        order = coordinator.report(1, order.wave, SERVING)
    assert order == Order("stuck")
    assert kinds == ["ask", "ask", "close", "ask"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([replace(DONE, announced=2), replace(DONE, heard=2)], True),
        ([replace(DONE, announced=2), replace(DONE, heard=1)], False),
        ([replace(DONE, delivered=1), replace(DONE, accepted=2)], False),
        # one member has not begun: it can't end; all have: it will
        ([replace(DONE, collectives={"g/main": [1, 1, 2]}), DONE], True),
        ([replace(DONE, collectives={"g/main": [1, 1, 2]}), replace(DONE, collectives={"g/main": [0, 0, 2]})], True),
        ([replace(DONE, collectives={"g/main": [1, 1, 2]}), replace(DONE, collectives={"g/main": [1, 0, 2]})], False),
        # a lock that somebody holds, or that is about to be given
        ([replace(DONE, locks={"w": [0, 1]}), replace(DONE, locks={"w": [1, 0]})], True),
        ([replace(DONE, locks={"w": [0, 1]}), replace(DONE, locks={"w": [0, 0]})], False),
    ],
)
def test_what_is_under_way(states: list[State], expected: bool) -> None:
    assert balanced(states) is expected
