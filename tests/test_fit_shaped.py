"""The fit of the testbed's links finds the numbers that its observations were made with."""

import math
from dataclasses import replace

import pytest

from calibration.fitting.shaped import _Case, _predicted, fit_shaped
from calibration.probes.programs import Block
from calibration.probes.record import Observation
from calibration.probes.shaped import BANDWIDTHS, HOSTS, LATENCY, LONG_SECONDS, SHAPED, blocks_of
from parasim.cluster.handling import Handling
from parasim.errors import CalibrationError

HANDLING = Handling(post=4e-5, hear=4e-5, start=4e-5, finish=1e-5, cold=1.0, cooling=0.01)
TRUTH = {"goodput": 0.93, "latency": 8e-5, "step": 2e-5, "credit": 0.6}


def observations(rounds=3, truth=TRUTH, keep=lambda block: True):
    found = []
    for bandwidth in BANDWIDTHS:
        cases = [_Case(b.pattern, HOSTS, b.nbytes, bandwidth, LATENCY) for b in blocks_of(bandwidth) if keep(b)]
        seconds = _predicted(cases, **truth, handling=HANDLING, cores=2)
        for number in range(rounds):
            wobble = math.exp(0.004 * (number - 1))
            found += [
                Observation(SHAPED, case.pattern, {"nbytes": case.nbytes, "ranks": HOSTS, "bandwidth": bandwidth,
                            "latency": LATENCY}, taken * wobble, number, 0.0)
                for case, taken in zip(cases, seconds, strict=True)
            ]  # fmt: skip
    return found


def test_numbers_are_found_again():
    found = fit_shaped(observations(), HANDLING, 2, 0, {"burst": 1})
    for name, value in TRUTH.items():
        number = getattr(found.transport, name)
        assert number.value == pytest.approx(value, rel=0.03), name
        assert number.low <= number.value <= number.high
    assert found.transport.settings == {"burst": 1}
    assert found.drift.value < 0.01
    assert not found.warnings


def test_one_long_case_that_was_disturbed_is_named_and_moves_little():
    disturbed = [
        one if (one.kind, one.parameters["nbytes"], one.parameters["bandwidth"]) != ("stream", 250_000, 12.5e6)
        else replace(one, seconds=1.3 * one.seconds)
        for one in observations()
    ]  # fmt: skip
    found = fit_shaped(disturbed, HANDLING, 2, 0, {})
    assert found.transport.goodput.value == pytest.approx(TRUTH["goodput"], rel=0.02)
    assert [warning.partition(" took")[0] for warning in found.warnings] == [
        "testbed: stream of 250000 bytes between 4 hosts at 100 Mbit/s"
    ]


def test_too_few_cases_are_refused():
    with pytest.raises(CalibrationError, match="2 cases were timed, 8 are needed"):
        fit_shaped(observations(keep=lambda b: b == Block("stream", b.nbytes, 3)), HANDLING, 2, 0, {})


def test_blocks_are_long_and_short():
    seconds = [block.nbytes / BANDWIDTHS[0] for block in blocks_of(BANDWIDTHS[0])]
    assert min(seconds) < 1e-6 < LONG_SECONDS < max(seconds)
