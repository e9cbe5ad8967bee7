"""The contract of every operation, on real processes, and that both runtimes did the same."""

import pytest

from calibration.executor.launch import run_cast
from tests.conformance.cases import CASES
from tests.conformance.stage import Outcome, cast_of, plain, simulated, story

pytestmark = pytest.mark.real


def executed(name, pool):
    case = CASES[name]
    outcome = run_cast("tests.conformance.realstage:setup", {"name": name}, len(cast_of(case)), pool=pool)
    return Outcome([plain(value) for value in outcome.returns], list(outcome.trace)), outcome.record


def without_outcome(told):
    return {lane: [entry[:-1] for entry in entries] for lane, entries in told.items()}


@pytest.mark.parametrize("name", CASES)
def test_case(name, pool):
    case = CASES[name]
    if case.error is not None:
        with pytest.raises(case.error, match=case.match):
            executed(name, pool)
        return
    outcome, record = executed(name, pool)
    case.check(outcome)
    if case.same_rows:
        assert story(outcome.rows) == story(simulated(case).rows)
    if not case.shared:  # accesses to shared memory interleave where nobody sees it
        again = simulated(case, record)
        assert again.returns == outcome.returns
        # whether a compute ended before or after the word that cancelled it is no choice, and shows in its row alone
        assert without_outcome(story(again.rows)) == without_outcome(story(outcome.rows))
