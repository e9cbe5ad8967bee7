"""Intervals cover what they say, distances and ranks are those of the books."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, kendalltau

from calibration.checking.bounds import BOUNDS
from calibration.checking.ranking import tau
from calibration.checking.staleness import staleness_score
from calibration.checking.statistics import distance, mean_interval, median_interval, pooled, relative_error, spread
from parasim.study.replicas import LEVEL, interval_of
from tests.crosscheck_setup import figures


@pytest.mark.parametrize(("size", "place"), [(5, 0), (8, 1), (11, 2), (20, 5)])
def test_the_median_lies_between_two_of_the_values(size, place):
    """Published ranks for 90 %: the smallest and largest of 5, the second of 8, the third of 11, the sixth of 20."""
    interval = median_interval([*range(size)][::-1])
    assert (interval.low, interval.high) == (place, size - 1 - place)
    assert interval.level == pytest.approx(1 - 2 * binom.cdf(place, size, 0.5))
    assert interval.level >= LEVEL
    assert 1 - 2 * binom.cdf(place + 1, size, 0.5) < LEVEL


def test_few_values_say_what_their_interval_is_worth():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0, pytest.approx(0.75))
    assert median_interval([2.0]) == (2.0, 2.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_intervals_of_means_cover_them():
    assert mean_interval([2.0]) == (2.0, 2.0, 0.0)
    assert mean_interval([1.0, 3.0]).high == pytest.approx(2.0 + 6.313752)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    draws = np.random.default_rng(1).normal(1.0, 0.3, size=(4000, 5))
    found = [mean_interval(list(row)) for row in draws]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in found])
    assert covered == pytest.approx(LEVEL, abs=4 * math.sqrt(LEVEL * (1 - LEVEL) / 4000))


def test_intervals_of_medians_cover_them():
    draws = np.random.default_rng(1).lognormal(size=(4000, 9))
    found = [median_interval(list(row)) for row in draws]
    level = found[0].level
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in found])
    assert covered == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 4000))


def test_one_more_value_lies_in_the_interval_of_replicas():
    draws = np.random.default_rng(2).gamma(2.0, size=(4000, 33))
    inside = 0
    for row in draws:
        found = interval_of(list(row[:-1]))
        inside += found["low"] <= row[-1] <= found["high"]
    assert inside / 4000 == pytest.approx(LEVEL, abs=4 * math.sqrt(LEVEL * (1 - LEVEL) / 4000))


def test_few_replicas_span_all_they_have():
    assert interval_of([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_errors():
    assert relative_error(1.1, 1.0) == pytest.approx(0.1)
    assert relative_error(0.0, 0.0) == 0.0
    assert relative_error(0.1, 0.0) == math.inf
    assert spread([0.1, -0.2, 0.04]) == (3, pytest.approx(0.34 / 3), pytest.approx(-0.02), -0.2)


def test_distance_of_histograms():
    assert distance({0: 5, 1: 5}, {0: 50, 1: 50}) == 0.0
    assert distance({0: 10}, {1: 10}) == 1.0
    assert distance({0: 5, 1: 3, 2: 2}, {0: 2, 1: 6, 2: 2}) == pytest.approx(0.3)
    assert distance({}, {}) == 0.0
    assert distance({0: 1}, {}) == 1.0


def test_staleness_is_compared_by_worker_and_together():
    real = [figures(1.0, staleness={0: {1: 10}, 1: {3: 10}}), figures(1.0, staleness={0: {1: 10}, 1: {3: 10}})]
    swapped = [figures(1.0, staleness={0: {3: 10}, 1: {1: 10}})]
    found = staleness_score(real, swapped)
    assert (found["mean_error"], found["variance_error"], found["distance"]) == (0.0, 0.0, 0.0)
    assert found["worst_mean_error"] == pytest.approx(2.0)
    assert found["per_worker"]["1"]["mean_error"] == pytest.approx(1 / 3 - 1)
    assert found["per_worker"]["0"]["distance"] == 1.0
    assert pooled(run.staleness for run in real)[1].histogram == {3: 20}


def test_no_staleness_at_all_is_off_by_what_one_gradient_would_be():
    found = staleness_score([figures(1.0, staleness={0: {0: 100}})], [figures(1.0, staleness={0: {0: 199, 1: 1}})])
    assert found["mean_error"] == pytest.approx(0.005 / 0.01)


def half_width(values):
    """Of Student's interval of three values, relative to their mean."""
    return 2.919986 * np.std(values, ddof=1) / math.sqrt(3) / np.mean(values)


def test_a_variance_is_known_as_well_as_runs_repeat_it():
    real = [figures(1.0, staleness={0: {0: 100 - few, 1: few}}) for few in (10, 20, 50)]  # 0.09, 0.16, 0.25
    found = staleness_score(real, real[:1])
    known = half_width([0.09, 0.16, 0.25])
    assert found["variance_half_width"] == pytest.approx(known)
    bounds = BOUNDS.staleness
    assert bounds.of_variance(found["variance_half_width"]) == pytest.approx(2 * known)
    assert bounds.of_variance(0.01) == bounds.variance
    assert found["per_worker"]["0"]["mean_half_width"] == pytest.approx(half_width([0.1, 0.2, 0.5]))
    assert bounds.of_mean(1.0) == 2.0
    assert bounds.of_mean(0.01) == bounds.mean


def test_one_run_tells_no_less_than_one_gradient():
    real = [figures(1.0, staleness={0: {0: 990, 1: 10}})]
    found = staleness_score(real, real)
    assert found["variance_half_width"] == pytest.approx(1 / (1000 * 0.01 * 0.99))
    assert found["per_worker"]["0"]["mean_half_width"] == pytest.approx(1 / 10)
    never = [figures(1.0, staleness={0: {2: 1000}})]
    assert staleness_score(never, never)["variance_half_width"] == 1.0  # of the error that one gradient makes


def test_what_one_run_of_five_had_is_not_known():
    calm = figures(1.0, staleness={0: {1: 1000}})
    real = [calm] * 4 + [figures(1.0, staleness={0: {1: 990, 2: 10}})]
    found = staleness_score(real, [calm])
    assert found["variance_error"] == pytest.approx(-1.0)
    assert BOUNDS.staleness.of_variance(found["variance_half_width"]) > 1.0
    often = [figures(1.0, staleness={0: {1: 990, 2: 10}})] * 5
    found = staleness_score(often, [calm])
    assert BOUNDS.staleness.of_variance(found["variance_half_width"]) < 1.0


def test_a_worker_that_only_one_side_has_is_an_infinite_error():
    found = staleness_score([figures(1.0, staleness={0: {1: 4}})], [figures(1.0, staleness={0: {1: 4}, 1: {2: 4}})])
    assert found["worst_mean_error"] == math.inf


def test_ranks_are_those_of_kendall():
    generator = np.random.default_rng(3)
    names = [str(place) for place in range(7)]
    measured, predicted = (dict(zip(names, map(float, generator.random(7)), strict=True)) for _ in range(2))
    found = tau(dict.fromkeys(names, "one"), measured, predicted)
    assert found.tau == pytest.approx(kendalltau([*measured.values()], [*predicted.values()]).statistic)
    assert (found.pairs, found.sets) == (21, 1)


def test_only_cases_of_one_setting_are_ranked():
    settings = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z"}
    measured = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 1.0, "e": 9.0}
    predicted = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 3.0, "e": 0.0}
    assert tau(settings, measured, predicted) == (0.0, 2, 2)
    assert tau({"a": "x", "c": "y"}, measured, predicted) == (None, 0, 0)
    assert tau(dict.fromkeys("ab", "x"), measured, {"a": 1.0, "b": 1.0}).tau == 0.0


def test_perfect_and_reversed_orders():
    names = "abcd"
    order = dict(zip(names, itertools.count(1.0), strict=False))
    back = {name: -value for name, value in order.items()}
    assert tau(dict.fromkeys(names, ""), order, order).tau == 1.0
    assert tau(dict.fromkeys(names, ""), order, back).tau == -1.0
