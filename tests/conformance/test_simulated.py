"""The contract of every operation, in virtual time."""

import re

import pytest

from tests.conformance.cases import CASES
from tests.conformance.stage import simulated


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    case = CASES[name]
    if case.error is None:
        case.check(simulated(case))
    else:
        with pytest.raises(case.error, match=case.match):
            simulated(case)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.error is None])
def test_runs_are_repeated_exactly(name):
    first, second = simulated(CASES[name]), simulated(CASES[name])
    assert first.rows == second.rows


def test_an_error_names_rank_and_program():
    case = CASES["a mistake in a program"]
    with pytest.raises(ValueError, match="a mistake") as caught:
        simulated(case)
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"in rank 1 \(worker 1\), program main#0, at .*lanes\.py:\d+", note)
