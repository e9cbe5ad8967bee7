"""Fits of computes on synthetic timings whose truth is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from calibration.fitting.curves import fit_blocks, fit_contention, fit_drift, fit_kernels, fit_peaks
from calibration.fitting.modes import two_modes
from calibration.probes.record import Observation
from parasim.cluster.curves import Curves
from parasim.errors import CalibrationError
from parasim.program.ops import Kernel, Piece

FLOPS, BANDWIDTH = 1e11, 1e10


def seen(kind: str, seconds: float, number: int, **parameters: float | str) -> Observation:
    return Observation("p", kind, {"flops": 0.0, "nbytes": 0.0, **parameters}, seconds, number, 0.0)


def timings(
    kind: str,
    truth: Callable[[float], float],
    flops: Sequence[float],
    *,
    rounds: int = 6,
    noise: float = 0.02,
    drift: float = 0.0,
    seed: int = 0,
    shapes: int = 1,
) -> list[Observation]:
    """Timings of a kind: `truth` of the roofline's seconds, with noise of each timing and a drift of each round."""
    rng = np.random.default_rng(seed)
    common = np.exp(rng.normal(0.0, drift, rounds))
    return [
        seen(
            kind,
            truth(work / FLOPS) * float(common[number]) * math.exp(rng.normal(0.0, noise)),
            number,
            flops=work,
            shape=str(shape),
        )
        for number in range(rounds)
        for work in flops
        for shape in range(shapes)
    ]


def blocks(truth: Callable[[float], float], sizes: Sequence[float], signature: str = "b/forward", **more: float):
    rng = np.random.default_rng(int(more.get("seed", 0)))
    return [
        seen("block", truth(size) * math.exp(rng.normal(0.0, 0.01)), number, signature=signature, size=size, cores=1.0)
        for number in range(6)
        for size in sizes
    ]


def launch_and_rate(size: float) -> float:
    return 1e-5 + 2.0 * size


WORK = [float(10**k) for k in range(4, 11)]


# peaks and curves ----------------------------------------------------------------------------------------------------
def test_peaks_are_work_over_time() -> None:
    observations = [seen("flops", 1e-2 * factor, n, flops=1e9) for n, factor in enumerate((0.98, 1.0, 1.02))]
    observations += [seen("stream", 1e-1 * factor, n, nbytes=1e9) for n, factor in enumerate((0.9, 1.0, 1.1))]
    flops, bandwidth = fit_peaks(observations)
    assert (flops.value, flops.unit, flops.count) == (pytest.approx(1e11), "FLOP/s", 3)
    assert (bandwidth.value, bandwidth.unit) == (pytest.approx(1e10), "bytes/s")
    assert flops.low < flops.value < flops.high
    assert bandwidth.high / bandwidth.low > flops.high / flops.low


def test_a_curve_finds_launch_and_rate() -> None:
    fitted = fit_kernels(timings("linear/forward", launch_and_rate, WORK), FLOPS, BANDWIDTH)
    curves = Curves.of(fitted.tables, {})
    for work in np.geomspace(1e4, 1e10, 31):
        kernel = Kernel("f", pieces=(Piece("linear/forward", "", float(work)),))
        assert curves.seconds(kernel, FLOPS, BANDWIDTH) == pytest.approx(launch_and_rate(work / FLOPS), rel=0.35)
    for size, number in zip(*_table(fitted, "linear/forward"), strict=True):
        assert number.value == pytest.approx(launch_and_rate(size), rel=0.03)
        assert number.unit == "seconds"


def _table(fitted, kind):
    return fitted.tables[kind].sizes, fitted.tables[kind].seconds


def test_single_bad_timings_do_not_move_a_curve() -> None:
    good = timings("add_", launch_and_rate, WORK, rounds=7)
    bad = [
        seen(
            o.kind,
            o.seconds * (50.0 if o.round == 3 and o.parameters["flops"] == 1e6 else 1.0),
            o.round,
            **o.parameters,
        )
        for o in good
    ]
    clean, disturbed = (fit_kernels(some, FLOPS, BANDWIDTH).tables["add_"].seconds for some in (good, bad))
    for first, second in zip(clean, disturbed, strict=True):
        assert second.value == pytest.approx(first.value, rel=0.02)


def test_wider_kinds_take_all_of_their_direction_together() -> None:
    observations = timings("linear/forward", launch_and_rate, WORK)
    observations += timings("conv/forward", lambda x: 4.0 * launch_and_rate(x), WORK, seed=1)
    observations += timings("add_", lambda x: 1e-6 + x, WORK, seed=2)
    observations += timings("loss/forward", lambda x: 1e-6 + x, WORK, seed=3)
    fitted = fit_kernels(observations, FLOPS, BANDWIDTH)
    assert set(fitted.tables) == {"linear/forward", "conv/forward", "forward", "add_", "loss/forward", "kernel"}
    for _, one in zip(*_table(fitted, "forward"), strict=True):
        assert one.high / one.low > 1.5  # a block may be of either kind
    for k, one in enumerate(fitted.tables["forward"].seconds):
        assert fitted.tables["linear/forward"].seconds[k].value < one.value
        assert one.value < fitted.tables["conv/forward"].seconds[k].value


def test_exact_blocks_and_peaks_are_no_curves() -> None:
    plain = timings("add_", launch_and_rate, WORK)
    exact = [seen("block", 1.0, n, signature="add_/update", size=8.0, cores=1.0) for n in range(3)]
    assert fit_kernels([*plain, *exact, seen("flops", 1.0, 0, flops=1e9)], FLOPS, BANDWIDTH) == fit_kernels(
        plain, FLOPS, BANDWIDTH
    )


def test_the_same_timings_give_the_same_fit() -> None:
    observations = timings("add_", launch_and_rate, WORK)
    assert fit_kernels(observations, FLOPS, BANDWIDTH) == fit_kernels(observations, FLOPS, BANDWIDTH)


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_intervals_cover_the_truth_as_often_as_they_say(drift: float) -> None:
    """A drift between rounds is common to all sizes of a round, so it must be in the interval of each."""
    inside = total = 0
    for seed in range(60):
        observations = timings("add_", launch_and_rate, WORK[::2], drift=drift, seed=seed)
        table = fit_kernels(observations, FLOPS, BANDWIDTH).tables["add_"]
        for size, number in zip(table.sizes, table.seconds, strict=True):
            inside += number.low <= launch_and_rate(size) <= number.high
            total += 1
    assert 0.8 <= inside / total <= 0.98


def test_a_curve_that_falls_is_flagged() -> None:
    fitted = fit_kernels(timings("add_", lambda x: 1e-3 if x < 1e-4 else 1e-4, WORK), FLOPS, BANDWIDTH)
    assert any("add_ takes 0.00" in flag and "at the larger" in flag for flag in fitted.flags)
    assert fit_kernels(timings("add_", launch_and_rate, WORK), FLOPS, BANDWIDTH).flags == ()


def test_a_clock_of_two_speeds_is_flagged() -> None:
    observations = [
        seen(o.kind, o.seconds * (1.4 if o.round in (1, 4) else 1.0), o.round, **o.parameters)
        for o in timings("add_", launch_and_rate, WORK)
    ]
    (flag,) = fit_kernels(observations, FLOPS, BANDWIDTH).flags
    slower, share = re.search(r"take ([\d.]+) times as long in (\d+)% of the timings", flag).groups()
    assert (float(slower), int(share)) == (pytest.approx(1.4, rel=0.02), 33)
    assert "fix its frequency" in flag


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (timings("add_", launch_and_rate, [1e6]), "add_ was measured at one size only"),
        (timings("add_", launch_and_rate, WORK, rounds=1), "add_ was measured in 1 round"),
        ([*timings("add_", launch_and_rate, WORK), seen("add_", 0.0, 2, flops=1e5)], "add_ took 0.0 s in round 2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(observations: list[Observation], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        fit_kernels(observations, FLOPS, BANDWIDTH)


def test_missing_peaks_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no timing of kind 'flops'"):
        fit_peaks([])


# blocks --------------------------------------------------------------------------------------------------------------
def test_blocks_are_measured_sizes_in_order() -> None:
    fitted = fit_blocks(blocks(lambda n: 1e-4 + 1e-5 * n, (64, 1, 16)))
    table = fitted.tables["b/forward"]
    assert table.sizes == (1, 16, 64)
    assert [number.value for number in table.seconds] == pytest.approx([1.1e-4, 2.6e-4, 7.4e-4], rel=0.02)
    assert fitted.flags == ()


def test_only_one_core_alone_makes_a_block() -> None:
    two = [seen("block", 1.0, n, signature="b/forward", size=8.0, cores=2.0) for n in range(3)]
    assert fit_blocks(two).tables == {}


def test_a_block_that_would_start_in_less_than_no_time_is_flagged() -> None:
    (flag,) = fit_blocks(blocks(lambda n: 1e-5 * n**1.5, (16, 64))).flags
    assert "b/forward would need -" in flag
    assert "calibrate at the sizes that you use" in flag


# contention and drift ------------------------------------------------------------------------------------------------
def test_contention_is_the_median_ratio_to_one_core() -> None:
    rng = np.random.default_rng(0)
    observations = [
        seen("block", alone * factor * math.exp(rng.normal(0, 0.01)), n, signature=name, size=1.0, cores=cores)
        for name, alone in (("a", 1.0), ("b", 5.0), ("c", 0.1))
        for cores, factor in ((1.0, 1.0), (2.0, 1.1), (4.0, 1.5))
        for n in range(5)
    ]
    table = fit_contention(observations)
    assert [number.value for number in table] == pytest.approx([1.0, 1.1, 1.3, 1.5], rel=0.01)
    assert (table[0].low, table[0].high) == (1.0, 1.0)
    assert all(number.low < number.value < number.high for number in table[1:])


def test_contention_without_timings_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no block was timed"):
        fit_contention([])
    with pytest.raises(CalibrationError, match="on 1 and on 2 cores"):
        fit_contention([seen("block", 1.0, n, signature="a", size=1.0, cores=2.0) for n in range(3)])


def test_drift_is_what_a_timing_is_off_by_in_one_round() -> None:
    found = [
        fit_drift(timings("add_", launch_and_rate, WORK, rounds=12, drift=0.05, seed=seed)).value for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(0.05, rel=0.2)
    assert fit_drift(timings("add_", launch_and_rate, WORK, rounds=12)).value < 0.02
    apart = [timings("add_", launch_and_rate, [work], noise=0.05, seed=k) for k, work in enumerate(WORK * 4)]
    assert fit_drift([one for own in apart for one in own]).value == pytest.approx(0.05, rel=0.3)  # not in common
    with pytest.raises(CalibrationError, match="2 rounds tell no drift"):
        fit_drift(timings("add_", launch_and_rate, WORK, rounds=2))


# modes ---------------------------------------------------------------------------------------------------------------
def test_two_modes_are_found_and_one_is_not_split() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert two_modes(rng.normal(0.0, 0.05, 200)) is None
        assert two_modes(rng.exponential(0.3, 200)) is None
        assert two_modes([*rng.normal(0.0, 0.05, 195), *rng.normal(2.0, 0.05, 5)]) is None
        found = two_modes([*rng.normal(0.0, 0.02, 150), *rng.normal(0.3, 0.02, 50)])
        assert found is not None
        assert (found.gap, found.share) == (pytest.approx(0.3, rel=0.1), 0.25)
    assert two_modes([0.0, 1.0] * 3) is None
