"""Clocks of several machines: offsets by round trips, drift by comparing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch.distributed

from calibration.executor.backend import Group
from calibration.executor.clocks import Clock, machine_identity, offset_of
from parasim.trace.rows import Row


def test_the_soonest_answer_decides_and_bounds_the_error() -> None:
    slow_back = (10.0, 110.1, 110.1, 10.9)  # 0.1 s there, 0.8 s back
    fast = (11.0, 111.02, 111.03, 11.05)  # 0.02 s each way
    offset = offset_of([slow_back, fast])
    assert offset.ahead == pytest.approx(100.0, abs=1e-9)
    assert offset.error == pytest.approx(0.02, abs=1e-9)
    assert offset.moment == pytest.approx(11.025)
    alone = offset_of([slow_back])
    assert abs(alone.ahead - 100.0) <= alone.error


def test_processes_of_one_machine_have_one_identity() -> None:
    assert machine_identity() == machine_identity()


def on_each(clocks: list[tuple[Callable[[], float], int]], body: Callable[[Group, Clock], None]) -> None:
    """Run a body per rank, each a thread with a clock and a machine of its own."""
    store, errors = torch.distributed.HashStore(), []  # type: ignore[attr-defined]

    def rank(index: int, now: Callable[[], float], identity: int) -> None:
        try:
            group = Group(store, "clocks", index, len(clocks))
            body(group, Clock(group, now, identity))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=rank, args=(index, *clock)) for index, clock in enumerate(clocks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def fast(moment: float) -> float:
    """A clock that starts elsewhere and gains 1 %."""
    return 1.01 * moment + 77.0


def test_times_of_machines_whose_clocks_start_elsewhere_and_drift_are_brought_together() -> None:
    def shifted() -> float:
        return fast(time.monotonic())

    rows: dict[int, Row] = {}
    facts: dict[int, dict[str, float] | None] = {}
    zeros: dict[int, float] = {}
    moment: list[float] = []

    def body(group: Group, clock: Clock) -> None:
        group.latest(0.0)
        time.sleep(0.2)
        if group.index == 0:
            moment.append(time.monotonic())
        group.latest(0.0)
        shown = moment[0] if group.index == 0 else fast(moment[0])
        time.sleep(0.2)
        clock.stop()
        at = shown - clock.zero
        rows[group.index] = clock.corrected(Row(group.index, "worker", 0, "main", "main#0", "log", "", "", t_post=at))
        facts[group.index], zeros[group.index] = clock.facts(), clock.zero

    on_each([(time.monotonic, 1), (shifted, 2), (shifted, 2)], body)
    assert [fact and fact["machine"] for _, fact in sorted(facts.items())] == [0, 1, 1]
    assert facts[1] is not None
    assert facts[1] == facts[2]
    assert zeros[1] == zeros[2]
    for rank in (1, 2):
        assert abs(rows[rank].t_post - rows[0].t_post) <= 3 * facts[1]["error"]
    # Between two comparisons, each off by its error at most, there are two sleeps.
    assert abs(facts[1]["drift"] - (1 / 1.01 - 1)) <= 2 * facts[1]["error"] / 0.4


def test_ranks_of_one_machine_share_its_clock_and_compare_nothing() -> None:
    zeros: list[float] = []

    def body(group: Group, clock: Clock) -> None:
        zero = clock.begin()
        assert time.monotonic() >= zero == clock.zero
        clock.stop()
        assert clock.facts() is None
        row = Row(group.index, "worker", 0, "main", "main#0", "log", "", "", t_post=1.5)
        assert clock.corrected(row) is row
        zeros.append(clock.zero)

    on_each([(time.monotonic, 7)] * 3, body)
    assert len(set(zeros)) == 1
