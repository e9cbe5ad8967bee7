"""Intervals of numbers that many cases determine together: nine of ten hold the truth, with few rounds too."""

import math

import numpy as np
import pytest

from calibration.fitting.messages import spread_number
from calibration.fitting.resampling import counted, moves

CASES, NUMBERS, SETS, DRAWS = 40, 3, 120, 200
TRUTH = np.array([1.0, -2.0, 0.5])


def timed(generator, rounds, common, own, misfit):
    """Logarithms of times by case and round, that a model of three numbers explains but for a misfit; its slopes."""
    slopes = generator.uniform(0.0, 1.0, (CASES, NUMBERS))
    means = slopes @ TRUTH + generator.normal(0, misfit, CASES)
    whole = generator.normal(0, common, rounds)
    values = means[:, None] + whole + generator.normal(0, own, (CASES, rounds))
    return slopes, [dict(enumerate(row)) for row in values], values.mean(axis=1)


def found(slopes, tables, target, generator):
    """The numbers, and what they may be as well."""
    step = np.linalg.pinv(slopes)
    numbers = step @ target
    return numbers, numbers + moves(tables, [0] * CASES, target - slopes @ numbers, NUMBERS, DRAWS, generator) @ step.T


@pytest.mark.parametrize("rounds", [2, 4])
@pytest.mark.parametrize(("common", "own", "misfit"), [(0.0, 0.1, 0.0), (0.0, 0.02, 0.1), (0.05, 0.05, 0.05)], ids=str)
def test_nine_of_ten_intervals_hold_the_truth(rounds, common, own, misfit):
    inside = 0
    for seed in range(SETS):
        generator = np.random.default_rng([seed, rounds])
        _, draws = found(*timed(generator, rounds, common, own, misfit), generator)
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        inside += int(((low <= TRUTH) & (high >= TRUTH)).sum())
    share = inside / (SETS * NUMBERS)
    error = math.sqrt(0.9 * 0.1 / SETS)  # the numbers of a set are not independent
    assert abs(share - 0.9) < 4 * error


def test_two_halves_of_the_rounds_agree_nine_times_of_ten_where_the_model_is_right():
    apart = 0
    for seed in range(SETS):
        generator = np.random.default_rng([seed, 5])
        slopes, tables, _ = timed(generator, 8, 0.0, 0.1, 0.0)
        halves = []
        for first in (0, 1):
            own = [{number: one for number, one in table.items() if number % 2 == first} for table in tables]
            target = np.array([np.mean(list(table.values())) for table in own])
            numbers, draws = found(slopes, own, target, generator)
            halves.append((numbers, np.quantile(draws, 0.95, axis=0) - numbers))
        (one, up), (other, also) = halves
        apart += int((abs(one - other) > np.hypot(up, also)).sum())
    assert abs(apart / (SETS * NUMBERS) - 0.1) < 4 * math.sqrt(0.9 * 0.1 / SETS)


def test_what_cases_of_a_kind_have_in_common_is_drawn_together():
    """Half of the cases are slow in two of four rounds: that moves their numbers, not those of the others."""
    tables = [dict(enumerate([0.0, 0.2, 0.0, 0.2] if case % 2 else [0.0] * 4)) for case in range(8)]
    moved = moves(tables, [case % 2 for case in range(8)], np.zeros(8), 2, 4000, np.random.default_rng(1))
    assert moved[:, 1] == pytest.approx(moved[:, 3])
    assert moved[:, 0] == pytest.approx(moved[:, 2])
    # half of it is common to all, as the median over all cases is half-way; Student's t of three degrees is 2.353
    error = np.std([0.0, 0.1, 0.0, 0.1], ddof=1) / 2 * 2.353 / 1.645
    assert moved[:, 1].std() == pytest.approx(error * math.sqrt(2), rel=0.05)
    assert abs(np.corrcoef(moved[:, 0], moved[:, 1])[0, 1] - 0.5) < 0.06


def test_one_round_tells_no_more_than_the_residuals():
    residuals = np.array([0.1, -0.1])
    moved = moves([{0: 1.0}, {0: 2.0}], [0, 1], residuals, 1, 100, np.random.default_rng(0))
    assert {*np.round(abs(moved), 12).ravel()} == {round(0.1 * math.sqrt(2), 12)}


def test_what_is_far_off_counts_for_the_scale_at_most():
    residuals = np.array([0.0, 0.01, 10.0])
    assert residuals * counted(residuals, 0.1) ** 2 == pytest.approx([0.0, 0.01 / math.sqrt(1.01), 0.1], rel=1e-3)


def test_a_machine_that_is_slow_in_one_round_of_six_is_so_for_one_run_in_six():
    rng = np.random.default_rng(5)
    calm, slow = (
        [{turn: common * (turn == 4) + rng.normal(0, 0.02) for turn in range(6)} for _ in range(40)]
        for common in (0.0, 0.5)
    )
    residuals = rng.normal(0, 0.05, 40)
    assert spread_number(residuals, calm, 0).value == pytest.approx(math.hypot(0.05, 0.02), rel=0.2)
    expected = math.sqrt(0.05**2 + 0.02**2 + 0.5**2 / 6)  # the variance of (0, 0, 0, 0, 0.5, 0)
    assert spread_number(residuals, slow, 0).value == pytest.approx(expected, rel=0.1)


def test_the_spread_is_told_where_rounds_were_left_out():
    rng = np.random.default_rng(6)
    tables = [{turn: rng.normal(0, 0.1) for turn in range(2 + case % 3)} for case in range(30)]
    assert spread_number(np.zeros(30), tables, 0).value == pytest.approx(0.1, rel=0.2)
