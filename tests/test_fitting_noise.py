"""The law of noise is recovered from factors that each law gave, with its parameters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from calibration.fitting.noise_laws import LEAST, ChosenLaw, choose_law
from parasim.errors import CalibrationError
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.noise import LAWS, Gamma, LogNormal, Mixture, NoiseLaw, NoNoise, ParetoTail, Resampled

SEEDS = range(5)


def factors(law: NoiseLaw, seed: int, count: int = 400) -> list[float]:
    draws = Draws(seed)
    return [law.factor(draws, Kernel("k", step=step), 0) for step in range(count)]


def chosen(law: NoiseLaw, scatter: float = 0.0) -> list[ChosenLaw]:
    found = []
    for seed in SEEDS:
        values = np.array(factors(law, seed))
        found.append(choose_law(values * np.exp(np.random.default_rng(seed).normal(0.0, scatter, len(values)))))
    return found


@pytest.mark.parametrize(
    ("law", "tolerance"),
    [
        (NoNoise(), 0.0),
        (LogNormal(0.3), 0.1),
        pytest.param(LogNormal(1.0), 0.1, marks=pytest.mark.slow),
        pytest.param(Gamma(1.0), 0.15, marks=pytest.mark.slow),
        (Gamma(4.0), 0.15),
        (Mixture(0.1, 3.0), 0.25),
        pytest.param(Mixture(0.3, 1.5), 0.25, marks=pytest.mark.slow),
        (ParetoTail(0.3, 3.0), 0.3),
        pytest.param(ParetoTail(0.2, 1.5), 0.3, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_law_and_its_parameters_are_recovered(law: Any, tolerance: float) -> None:
    found = chosen(law)
    assert Counter(one.kind for one in found)[law.kind] >= 4
    for name in next(one for one in found if one.kind == law.kind).parameters:
        values = [one.parameters[name] for one in found if one.kind == law.kind]
        assert np.median(values) == pytest.approx(getattr(law, name), rel=tolerance)


@pytest.mark.parametrize("law", [Mixture(0.1, 3.0), ParetoTail(0.3, 2.0)], ids=str)
def test_a_little_scatter_does_not_hide_stragglers(law: Any) -> None:
    assert Counter(one.kind for one in chosen(law, scatter=0.02))[law.kind] >= 4


def test_weak_lognormal_and_gamma_noise_are_alike_and_either_is_right() -> None:
    for one in chosen(LogNormal(0.05)):
        assert one.kind in ("lognormal", "gamma")
        drawn = factors(one.law(), 1, 4000)
        assert np.std(drawn) == pytest.approx(0.05, rel=0.15)


def test_what_follows_no_law_is_resampled() -> None:
    law = Resampled((0.5, 1.0, 2.0, 4.0))
    for one in chosen(law):
        assert one.kind == "resampled"
        again = factors(one.law(), 3, 2000)
        assert np.mean(again) == pytest.approx(1.0, abs=0.08)
        assert np.std(again) == pytest.approx(np.std(factors(law, 3, 2000)), rel=0.1)


def test_many_factors_are_resampled_by_their_quantiles() -> None:
    (one, *_) = chosen(Resampled((0.5, 1.0, 2.0, 4.0)))
    kept = one.parameters["factors"]
    assert len(kept) == 200
    assert list(kept) == sorted(kept)


def test_a_choice_tells_how_all_laws_did_and_the_units_do_not_matter() -> None:
    values = factors(LogNormal(0.3), 0)
    one = choose_law(values)
    assert set(one.criteria) == set(LAWS) - {"crowding", "resampled"}
    assert one.criteria[one.kind] == min(one.criteria.values())
    assert one.count == len(values)
    scaled = choose_law([1e-6 * value for value in values])
    assert scaled.kind == one.kind
    assert scaled.parameters["sigma"] == pytest.approx(one.parameters["sigma"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * (LEAST - 1), "29 single times are too few"),
        ([1.0] * LEAST + [0.0], "factor of noise is 0.0"),
        ([1.0] * LEAST + [float("nan")], "factor of noise is nan"),
    ],
)
def test_bad_factors_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        choose_law(values)
