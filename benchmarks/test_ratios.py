"""``pytest -n 0 benchmarks``: are fast paths as much faster than plain simulation as they were? Ratios, not seconds."""

import pytest

from benchmarks.ratios import CASES, compare


@pytest.mark.parametrize("name", CASES)
def test_fast_paths_are_as_fast_as_they_were(name):
    case = CASES[name]
    found = compare(case.make(case.workers), repeat=3)
    assert found.fast_makespan == pytest.approx(found.plain_makespan, rel=1e-9)
    assert found.events_per_operation <= case.events
    assert found.times >= case.times
