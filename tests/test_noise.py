"""Laws of noise: mean one, the stated spread, keyed by what a kernel is for."""

import math

import numpy as np
import pytest
from scipy import stats

from parasim.errors import ScenarioError
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.noise import (
    CROWDED,
    LAWS,
    Crowding,
    Gamma,
    LogNormal,
    Mixture,
    NoiseLaw,
    NoNoise,
    ParetoTail,
    Resampled,
)

NOISY = [LogNormal(0.3), Crowding(0.3, 0.8), Gamma(4.0), Mixture(0.1, 5.0), ParetoTail(0.1, 3.0)]
NOISY.append(Resampled((1.0, 2.0, 4.0, 1.0)))


def sample(law: NoiseLaw, count: int = 20_000) -> np.ndarray:
    draws = Draws(7, "worker", 0)
    return np.array([law.factor(draws, Kernel("forward", step=step), 0) for step in range(count)])


@pytest.mark.parametrize("law", NOISY, ids=lambda law: type(law).__name__)
def test_mean_is_one(law: NoiseLaw) -> None:
    factors = sample(law)
    assert factors.min() > 0
    assert abs(factors.mean() - 1.0) < 4.0 * factors.std() / math.sqrt(len(factors))
    assert factors.std() > 0.1


def test_no_noise_is_one() -> None:
    assert NoNoise().factor(Draws(0), Kernel("forward"), 0) == 1.0


def test_lognormal_has_its_distribution() -> None:
    assert stats.kstest(sample(LogNormal(0.3)), stats.lognorm(0.3, scale=math.exp(-0.045)).cdf).pvalue > 1e-3


def test_crowding_has_a_spread_of_its_own_where_all_cores_are_busy() -> None:
    law, draws = Crowding(0.1, 0.8), Draws(7, "worker", 0)
    calm, crowded = (
        [law.factor(draws, Kernel("handling", kind, step=step), 0) for step in range(4000)]
        for kind in ("handling", CROWDED)
    )
    assert np.log(calm).std() == pytest.approx(0.1, rel=0.05)
    assert np.log(crowded).std() == pytest.approx(0.8, rel=0.05)
    assert np.argsort(calm).tolist() == np.argsort(crowded).tolist()  # the same draws


def test_gamma_has_its_distribution() -> None:
    assert stats.kstest(sample(Gamma(4.0)), stats.gamma(4.0, scale=0.25).cdf).pvalue > 1e-3


def test_mixture_slows_some_down_by_the_factor() -> None:
    fast, slow = sorted(set(sample(Mixture(0.1, 5.0)).tolist()))
    assert slow / fast == pytest.approx(5.0)
    assert np.mean(sample(Mixture(0.1, 5.0)) == slow) == pytest.approx(0.1, abs=0.01)


def test_pareto_tail_has_its_exponent() -> None:
    factors = sample(ParetoTail(0.2, 3.0))
    slow = factors[factors > factors.min()] / factors.min()
    assert len(slow) / len(factors) == pytest.approx(0.2, abs=0.01)
    assert stats.kstest(slow, stats.pareto(3.0).cdf).pvalue > 1e-3


def test_resampled_draws_the_measured_factors_alike() -> None:
    values, counts = np.unique(sample(Resampled((4.0, 1.0, 2.0, 1.0))), return_counts=True)
    assert values == pytest.approx([0.5, 1.0, 2.0])
    assert counts / counts.sum() == pytest.approx([0.5, 0.25, 0.25], abs=0.015)


def test_the_same_kernel_meets_the_same_noise_and_another_one_other_noise() -> None:
    law = LogNormal(0.5)
    kernel = Kernel("forward", layer="0", step=3, micro=1)
    draws = Draws(1, "worker", 2)
    factor = law.factor(draws, kernel, 10)
    assert law.factor(Draws(1, "worker", 2), kernel, 11) == factor
    others = [
        law.factor(draws, Kernel("forward", layer="0", step=4, micro=1), 10),
        law.factor(draws, Kernel("forward", layer="0", step=3, micro=2), 10),
        law.factor(draws, Kernel("forward", layer="1", step=3, micro=1), 10),
        law.factor(draws, Kernel("backward", layer="0", step=3, micro=1), 10),
        law.factor(Draws(1, "worker", 3), kernel, 10),
        law.factor(Draws(2, "worker", 2), kernel, 10),
    ]
    assert len({factor, *others}) == 7


def test_kernels_of_no_step_are_told_apart_by_the_count() -> None:
    law, draws, kernel = LogNormal(0.5), Draws(1), Kernel("apply")
    assert len({law.factor(draws, kernel, count) for count in range(100)}) == 100


def test_a_stronger_law_slows_down_the_same_kernels() -> None:
    weak, strong = sample(Mixture(0.1, 2.0), 500) > 1, sample(Mixture(0.2, 2.0), 500) > 1
    assert weak.any()
    assert (strong[weak]).all()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("lognormal", {"sigma": -0.1}, "lognormal noise: sigma must be at least 0, got -0.1"),
        ("lognormal", {"sigma": math.nan}, "lognormal noise: sigma must be at least 0, got nan"),
        ("gamma", {"shape": 0.0}, "gamma noise: shape must be at least 0.01, got 0.0"),
        ("mixture", {"probability": 1.5, "slowdown": 2.0}, "mixture noise: probability must be at most 1, got 1.5"),
        ("mixture", {"probability": 0.5, "slowdown": 0.5}, "mixture noise: slowdown must be at least 1, got 0.5"),
        ("pareto", {"probability": -1.0, "exponent": 2.0}, "pareto noise: probability must be at least 0, got -1.0"),
        ("pareto", {"probability": 0.5, "exponent": 1.0}, "pareto noise: exponent must be greater than 1, got 1.0"),
        ("pareto", {"probability": 0.5, "exponent": math.inf}, "pareto noise: exponent must be finite, got inf"),
        ("resampled", {"factors": ()}, "resampled noise: factors must be one or more measured numbers, got none"),
        ("resampled", {"factors": (1.0, 0.0)}, "resampled noise: factors must be greater than 0, got 0.0"),
    ],
)
def test_bad_parameters_are_named(name: str, parameters: dict, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        LAWS[name](**parameters)


def test_a_law_stands_under_the_name_it_has_in_files() -> None:
    assert sorted(LAWS) == ["crowding", "gamma", "lognormal", "mixture", "none", "pareto", "resampled"]
    assert all(LAWS[kind].kind == kind for kind in LAWS)


@pytest.mark.parametrize(
    "law", [Gamma(0.01), Gamma(1e9), LogNormal(10.0), Mixture(1.0, 1e9), ParetoTail(1.0, 1.0001), Resampled((1e9,) * 9)]
)
def test_extreme_parameters_give_finite_factors(law: NoiseLaw) -> None:
    assert np.isfinite(sample(law, 500)).all()
