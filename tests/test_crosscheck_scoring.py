"""The check can fail: a profile that is wrong in one thing is rejected by what that touches, and the right one is not.

What stands for the real runs is simulated with the right profile, with draws that no prediction has.
"""

from dataclasses import replace

import pytest

from calibration.checking import predicting
from calibration.checking.bounds import BOUNDS, LOOPBACK, OVERSUBSCRIBED, SHAPED, Bounds
from calibration.checking.floor import floor_of, floor_of_case
from calibration.checking.predicting import predict
from calibration.checking.scoring import score
from tests.crosscheck_setup import case, figures, pretended, profile, scenario
from tests.effort import run_here

pytestmark = pytest.mark.xdist_group("scoring")  # what they share is made once

RUNS, REPLICAS = 12, 20
DEMANDS = replace(BOUNDS, staleness=replace(BOUNDS.staleness, gradients=200))
"""Runs are shorter here than those that cross-checks are made for."""
SERVER = {"kind": "downpour", "workers": 3, "servers": 1}
NOISE = {"kind": "lognormal", "sigma": 0.5}


SLOW = {"flops": "20 MFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"}


def server(**cluster):
    """Its link is what limits it."""
    return scenario(SERVER, network="shaped", steps=40, **cluster)


def unequal(speeds):
    """Its workers are what limits them."""
    return scenario(SERVER, steps=70, width=32, device=SLOW, noise=NOISE, speeds=speeds)


CASES = [
    case("handling", scenario({"kind": "allreduce", "workers": 2}, steps=20)),
    case("compute", scenario({"kind": "allreduce", "workers": 2}, compute="real", width=512, steps=15)),
    case("ring", scenario({"kind": "allreduce", "workers": 4}, network="shaped", steps=15)),
    case("server", server()),
    case("unequal", unequal({0: 0.5})),
]


@pytest.fixture(scope="module")
def measured():
    return pretended(CASES, profile(), RUNS)


@pytest.fixture(scope="module")
def right():
    return predicted(profile())


def predicted(guess, cases=CASES, replicas=REPLICAS):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "run_cases", run_here)
        found = predict(cases, guess, replicas, 1)
    assert not found.failures
    return found.runs


def judged(measured, predicted, cases=CASES):
    return score(cases, measured.runs, predicted, DEMANDS, {})


def changed(right, other):
    """The cases with this one in place of that of its name, and their predictions."""
    cases = [other if one.name == other.name else one for one in CASES]
    return {**right, **predicted(profile(), [other])}, cases


def missed(found):
    """What is missed: (case or group, what)."""
    entries = [(entry["case"], entry) for entry in found["cases"]]
    entries += [*found["groups"].items(), ("all", found["total"])]
    return {(name, check["what"]) for name, entry in entries for check in entry["checks"] if not check["passed"]}


def test_the_right_profile_is_accepted(measured, right):
    found = judged(measured, right)
    assert missed(found) == set()
    assert found["accepted"]
    assert found["total"]["runs"] == RUNS * len(CASES) >= BOUNDS.coverage_runs
    assert [entry["group"] for entry in found["cases"]] == [LOOPBACK, LOOPBACK, SHAPED, SHAPED, OVERSUBSCRIBED]


def test_noise_off_is_rejected(measured):
    found = judged(measured, predicted(profile(doubt=0.0, jitter=0.0, drift=0.0), replicas=4))  # which are alike
    assert not found["accepted"]
    assert ("all", "single runs outside of the intervals") in missed(found)


@pytest.mark.slow
def test_too_much_doubt_is_rejected(measured):
    found = judged(measured, predicted(profile(doubt=0.5)))
    assert not found["accepted"]
    assert ("all", "single runs inside of the intervals") in missed(found)


def test_one_link_twice_as_fast_is_rejected(measured, right):
    faster = case("server", server(links={"host3<->switch": {"bandwidth": "200 Mbit/s"}}))
    found = judged(measured, *changed(right, faster))
    assert not found["accepted"]
    assert {name for name, _ in missed(found)} >= {"server", SHAPED}
    assert not {name for name, _ in missed(found)} & {"handling", "compute", "ring", "unequal", LOOPBACK}


@pytest.mark.slow
def test_contention_off_is_rejected(measured):
    found = judged(measured, predicted(profile(contention=1.0)))
    assert not found["accepted"]
    assert ("compute", "error") in missed(found)
    assert not {name for name, _ in missed(found)} & {"handling", "ring", "server", "unequal", SHAPED}


def test_speeds_swapped_are_rejected(measured, right):
    found = judged(measured, *changed(right, case("unequal", unequal({2: 0.5}))))
    assert not found["accepted"]
    assert ("unequal", "staleness: mean of a worker") in missed(found)
    assert not {name for name, _ in missed(found)} & {"handling", "compute", "ring", "server", LOOPBACK, SHAPED}


def test_messages_that_cost_more_are_rejected(measured):
    found = judged(measured, predicted(profile(post=300e-6), CASES[:1]), CASES[:1])
    assert ("handling", "error") in missed(found)


# by hand --------------------------------------------------------------------------------------------------------------
def test_verdicts_by_hand():
    real, simulated = [figures(1.00), figures(1.02), figures(1.04)], [figures(1.10), figures(1.08), figures(1.12)]
    demands = replace(BOUNDS, groups={LOOPBACK: Bounds(each=0.06, half_widths=2.0, mean_absolute=0.06)})
    found = score(CASES[:1], {"handling": real}, {"handling": simulated}, demands, {})
    (entry,) = found["cases"]
    assert entry["error"] == pytest.approx(1.10 / 1.02 - 1)
    assert entry["half_width"] == pytest.approx(0.02 / 1.02)
    assert [check["bound"] for check in entry["checks"]] == [0, pytest.approx(0.06)]
    assert entry["inside"] == 0
    assert not entry["accepted"]
    wide = score(CASES[:1], {"handling": [figures(0.96), *real]}, {"handling": simulated}, demands, {})
    assert wide["cases"][0]["checks"][1]["bound"] == pytest.approx(0.04 / 1.01 * 2)
    assert wide["cases"][0]["checks"][1]["passed"] == (1.10 / 1.01 - 1 <= 0.04 / 1.01 * 2)


def test_traffic_must_be_equal_by_rank():
    one, other = figures(1.0, sent=(10, 20)), figures(1.0, sent=(20, 10))
    found = score(CASES[:1], {"handling": [one, one]}, {"handling": [other, other]}, BOUNDS, {})
    (entry,) = found["cases"]
    assert not entry["accepted"]
    assert entry["traffic_differences"] == ["bytes_sent by rank: real [10, 20], simulated [20, 10]"]


def test_traffic_that_timing_decides_may_differ_a_little():
    """The slow worker of three, one of them a backup, pushes now and then: 8 % of the busiest rank's, or 20 %."""
    backup = case("handling", scenario({"kind": "backup_workers", "workers": 3, "backups": 1}))
    real = [figures(1.0, sent=(50, 98)), figures(1.0, sent=(50, 102))]
    for sent, passed in (((42, 100), True), ((30, 100), False)):
        found = score([backup], {"handling": real}, {"handling": [figures(1.0, sent=sent)] * 2}, BOUNDS, {})
        check = found["cases"][0]["checks"][0]
        assert check["what"] == "bytes and messages of a rank"
        assert (check["value"], check["passed"]) == (pytest.approx((50 - sent[0]) / 100), passed)


def test_a_case_that_did_not_run_is_rejected_with_its_reason():
    runs = {"handling": [figures(1.0), figures(1.0)]}
    found = score(CASES[:2], runs, runs, BOUNDS, {"compute": "rank 1 was killed"})
    assert not found["accepted"]
    assert [entry["failure"] for entry in found["cases"]] == [None, "rank 1 was killed"]
    assert found["total"]["cases"] == 1
    nothing = score(CASES[:1], {}, {}, BOUNDS, {"handling": "no route"})
    assert not nothing["accepted"]
    assert nothing["total"] is None


def test_few_runs_are_not_judged_by_their_coverage():
    real = {"handling": [figures(value) for value in (0.97, 1.0, 1.03)]}
    exact = {"handling": [figures(value) for value in (0.9999, 1.0, 1.0001)]}
    found = score(CASES[:1], real, exact, BOUNDS, {})
    assert found["total"]["coverage"] == pytest.approx(1 / 3)
    assert found["total"]["checks"] == []


def test_groups():
    assert case("many", scenario({"kind": "allreduce", "workers": 3})).group == OVERSUBSCRIBED
    assert case("one", scenario({"kind": "sequential", "workers": 1})).group == LOOPBACK
    assert not case("sync", scenario({"kind": "allreduce", "workers": 3})).asynchronous
    assert case("server", scenario(SERVER)).asynchronous


def test_the_floor_is_what_single_runs_predict():
    runs = [figures(1.0), figures(1.0), figures(1.1)]
    floor = floor_of_case(CASES[0], runs)
    assert floor["errors"] == pytest.approx([1 / 1.05 - 1, 1 / 1.05 - 1, 0.1])
    assert floor["mean_absolute_error"] == pytest.approx((2 * (1 - 1 / 1.05) + 0.1) / 3)
    assert floor_of_case(CASES[0], runs[:1]) is None
    whole = floor_of(CASES[:2], {"handling": runs, "compute": runs})
    assert whole["mean_absolute_error"] == pytest.approx(floor["mean_absolute_error"])
    assert whole["worst_error"] == pytest.approx(floor["mean_absolute_error"])
    assert whole["tau"] is None


@pytest.mark.slow
def test_drift_of_the_machine_is_in_the_intervals():
    """Replicas of a profile with drift spread as it says."""
    calm, drifting = (profile(doubt=0.0, jitter=0.0, drift=drift) for drift in (0.0, 0.1))
    runs = [predict(CASES[:1], guess, 40, 1).runs["handling"] for guess in (calm, drifting)]
    still, moving = ([run.seconds_per_step for run in found] for found in runs)
    assert max(still) == pytest.approx(min(still))
    assert 1.2 < max(moving) / min(moving) < 2.0
