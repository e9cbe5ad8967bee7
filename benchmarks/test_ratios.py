"""``pytest -n 0 benchmarks``: are fast paths as much faster than plain simulation as they were? Ratios, not seconds.

And the peers' workloads in their whole sizes: the makespans that SimGrid agrees with, and events per operation.
Seconds are pytest-benchmark's (conftest.py), for its tables and files (``--benchmark-json FILE``); none is asserted.
"""

from functools import partial

import pytest

import parasim
from benchmarks.once import operations
from benchmarks.peers.cases import CASES as WHOLE
from benchmarks.ratios import CASES, compare

MAKESPANS = {
    "r256": 2.848750, "r256_coupled": 2.848750, "r1024": 0.362143341, "r1024_coupled": 0.362143341,
    "r1024_noise": 0.429588780, "d256": 4.557604303, "ps256": 560.0158258, "ps1024": 2377.913267,
    "pss120": 12.97248084, "pss1008": 15.11906625, "r1024_fat16": 0.892823, "r1024_fat16o": 1.372353,
}  # fmt: skip
"""Seconds; those of rings in fat trees, where roundings grow, are known to one in a hundred."""
EVENTS_IN_A_TREE = 0.002
"""Per message."""


@pytest.mark.parametrize("name", CASES)
def test_fast_paths_are_as_fast_as_they_were(name, measure):
    case = CASES[name]
    found = compare(case.make(case.workers), 3, measure)
    assert found.fast_makespan == pytest.approx(found.plain_makespan, rel=1e-9)
    assert found.events_per_operation <= case.events
    assert found.times >= case.times


@pytest.mark.parametrize("name", WHOLE)
def test_whole_workloads_cost_no_more_events_than_they_did(name):
    summary = parasim.simulate(WHOLE[name].load()).summary
    in_a_tree = name.startswith("r1024_fat16")
    assert summary["seconds"] == pytest.approx(MAKESPANS[name], rel=1e-2 if in_a_tree else 1e-8)
    assert summary["events"] / operations(summary) <= (EVENTS_IN_A_TREE if in_a_tree else 0)


@pytest.mark.parametrize(("name", "times"), [("r256", 4), ("r1024", 15)])
def test_coupled_rings_are_faster_than_their_messages(name, times, measure):
    ways = [partial(parasim.simulate, WHOLE[which].load()) for which in (f"{name}_coupled", name)]
    coupled, message = measure(*ways, 11)
    assert message >= times * coupled
