"""Profiles: numbers with intervals, draws from them."""

import math

import numpy as np
import pytest

from parasim.cluster.profile import NORMAL_90, Measured, Number, Transport, plain
from parasim.errors import CalibrationError
from tests.profiles import number, profile


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((1.0, 2.0, 3.0, 5), "within its interval"),
        ((1.0, -0.5, 3.0, 5), "at least 0"),
        ((math.nan, 0.0, 3.0, 5), "within its interval"),
        ((1.0, 0.5, math.inf, 5), "within its interval"),
        ((1.0, 0.5, 3.0, 0), "rests on one observation"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(values, words):
    with pytest.raises(CalibrationError, match=words):
        Number(*values)


@pytest.mark.parametrize("sizes", [(), (1.0,), (2.0, 1.0), (0.0, 1.0), (1.0, 1.0)])
def test_sizes_ascend_and_have_a_number_each(sizes):
    with pytest.raises(CalibrationError, match="calibrate again"):
        Measured(sizes, (number(1.0), number(2.0)))


def test_the_ends_of_an_interval_are_so_many_deviations_away():
    skewed = Number(2.0, 1.0, 8.0, 3, "seconds")
    assert skewed.at(0.0) == Number(2.0, 2.0, 2.0, 3, "seconds")
    assert skewed.at(-NORMAL_90).value == pytest.approx(1.0)
    assert skewed.at(NORMAL_90).value == pytest.approx(8.0)
    from_zero = Number(1.0, 0.0, 4.0, 3)
    assert from_zero.at(NORMAL_90).value == pytest.approx(4.0)
    assert from_zero.at(-10.0).value == 0.0


def test_nine_of_ten_draws_are_within_the_interval():
    machine = profile(kernels={}, drift={})
    generator = np.random.default_rng(1)
    draws = [machine.draw(generator) for _ in range(2000)]
    for get in (lambda p: p.flops, lambda p: p.handling["post"], lambda p: p.transports["shaped"].goodput):
        inside = np.mean([get(machine).low <= get(drawn).value <= get(machine).high for drawn in draws])
        assert abs(inside - 0.9) < 4 * math.sqrt(0.9 * 0.1 / len(draws))
    sigmas = [plain(drawn.noise["compute"])["sigma"] for drawn in draws]
    assert np.mean([0.095 <= sigma <= 0.105 for sigma in sigmas]) == pytest.approx(0.9, abs=0.03)


def test_a_draw_has_no_doubt_left_and_is_repeated_by_its_seed():
    machine = profile()
    drawn = machine.draw(np.random.default_rng(3))
    assert drawn == machine.draw(np.random.default_rng(3))
    assert drawn != machine.draw(np.random.default_rng(4))
    assert drawn.draw(np.random.default_rng(5)) == drawn


def test_a_curve_is_drawn_as_a_whole():
    one, other = (profile(drift={}).draw(np.random.default_rng(seed)).kernels["kernel"] for seed in (1, 2))
    ratios = [a.value / b.value for a, b in zip(one.seconds, other.seconds, strict=True)]
    assert ratios[0] == pytest.approx(ratios[1])
    assert ratios[0] != pytest.approx(1.0)


def test_drift_is_common_to_all_computes_of_a_run():
    exact = {"kernels": {}, "flops": number(50e9, "FLOP/s", 0.0), "memory_bandwidth": number(10e9, "bytes/s", 0.0)}
    steady = {"blocks": {"b/forward": Measured((1.0,), (number(1e-3, "seconds", 0.0),))}, "handling": {}}
    machine = profile(**exact, **steady, drift={"compute": number(0.1, spread=0.0)})
    factors = []
    for seed in range(400):
        drawn = machine.draw(np.random.default_rng(seed))
        slower = drawn.blocks["b/forward"].seconds[0].value / 1e-3
        assert 50e9 / drawn.flops.value == pytest.approx(slower)
        assert 10e9 / drawn.memory_bandwidth.value == pytest.approx(slower)
        factors.append(math.log(slower))
    assert np.std(factors) == pytest.approx(0.1, rel=4 / math.sqrt(2 * len(factors)))
    assert abs(np.mean(factors)) < 4 * 0.1 / math.sqrt(len(factors))


def test_where_there_are_curves_the_peaks_keep_their_sizes_in_step_with_them():
    machine = profile(drift={"compute": number(0.2, spread=0.0)})
    drawn = machine.draw(np.random.default_rng(7))
    slower = machine.flops.value / drawn.flops.value
    assert slower != 1.0
    for size, before in zip(drawn.kernels["kernel"].sizes, machine.kernels["kernel"].sizes, strict=True):
        assert size == pytest.approx(before * slower)


def test_drift_of_a_transport_moves_what_it_carries():
    way = Transport(number(0.9, spread=0.0), None, number(1e-3, "seconds", 0.0))
    machine = profile(transports={"shaped": way}, drift={"shaped": number(0.1, spread=0.0)})
    factors = []
    for seed in range(400):
        drawn = machine.draw(np.random.default_rng(seed)).transports["shaped"]
        assert drawn.latency.value / 1e-3 == pytest.approx(0.9 / drawn.goodput.value)
        factors.append(math.log(drawn.latency.value / 1e-3))
    assert np.std(factors) == pytest.approx(0.1, rel=0.2)
