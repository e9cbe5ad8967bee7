"""Verdicts on runs that were really made: the profile of that machine passes, one that is wrong in one thing does not.

The runs and the profile are those of README's table, of which these are cases that the profile predicts within bounds.
"""

from dataclasses import replace

import pytest

from calibration.checking.bounds import BOUNDS, OVERSUBSCRIBED, SHAPED
from calibration.checking.cases import read_cases
from calibration.checking.predicting import predict
from calibration.checking.recording import read_measurements
from calibration.checking.scoring import score
from parasim.cluster.profile_file import find_profile, load_profile
from tests.golden import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("recorded"),
]  # the right predictions are made once

NAMES = [
    "oversubscribed/ring of 4",
    "oversubscribed/halving and doubling of 8",
    "star/ring of 4 at 100 Mbit/s",
    "trees/ring across a trunk at every step",
    "trees/fat tree of 2 ports, pair",
    "unequal/gossip, one slow worker",
]
REPLICAS, JOBS = 8, 1
RECORDED = ROOT / "calibration/recorded/xeon-2-cores.json"
DEMANDS = replace(BOUNDS, coverage=(BOUNDS.coverage[0], 1.0), coverage_runs=2 * len(NAMES))
"""Intervals of six cases are judged too, but may hold all of their few runs."""


@pytest.fixture(scope="module")
def measured():
    return read_measurements(RECORDED).runs


@pytest.fixture(scope="module")
def cases():
    found = {one.name: one for one in read_cases(ROOT / "scenarios/crosscheck", cores=2)}
    return [found[name] for name in NAMES]


@pytest.fixture(scope="module")
def profile():
    return load_profile(find_profile("xeon-2-cores", ROOT))


@pytest.fixture(scope="module")
def right(cases, profile):
    return predicted(cases, profile)


def predicted(cases, profile, replicas=REPLICAS):
    found = predict(cases, profile, replicas, JOBS)
    assert not found.failures
    return found.runs


def variant(words, name):
    """A case with overrides, under the name of the one that was run."""
    file, _, which = name.partition("/")
    (found,) = read_cases(ROOT / f"scenarios/crosscheck/{file}.yaml", words, which, cores=2)
    return found


def missed(cases, measured, predictions):
    """What is missed: (case or group, what); nothing if all is accepted."""
    found = score(cases, measured, predictions, DEMANDS, {})
    entries = [(entry["case"], entry) for entry in found["cases"]]
    entries += [*found["groups"].items(), ("all", found["total"])]
    failed = {(name, check["what"]) for name, entry in entries for check in entry["checks"] if not check["passed"]}
    assert found["accepted"] == (not failed)
    return failed


def test_the_profile_of_the_machine_is_accepted(cases, measured, right):
    assert missed(cases, measured, right) == set()


def test_noise_off_is_rejected(cases, measured, profile):
    """One replica: the numbers as they are, no drift, no noise of handling."""
    found = missed(cases, measured, predicted(cases, replace(profile, noise={}), 1))
    assert ("all", "single runs outside of the intervals") in found


def test_one_link_twice_as_fast_is_rejected(cases, measured, profile, right):
    name = "trees/ring across a trunk at every step"
    faster = variant(["cluster.links={'switch a<->switch b': {bandwidth: 200 Mbit/s}}"], name)
    found = missed(cases, measured, {**right, **predicted([faster], profile, 2)})
    assert {(name, "error"), (SHAPED, "mean absolute error")} <= found
    assert {where for where, _ in found} <= {name, SHAPED, "all"}


def test_cores_without_contention_are_rejected(cases, measured, profile, right):
    """As if each message found a core that is free, and nobody slowed another down."""
    roomy = replace(profile, cores=64, contention=())
    touched = [one for one in cases if one.group == OVERSUBSCRIBED]
    found = missed(cases, measured, {**right, **predicted(touched, roomy, 2)})
    assert (OVERSUBSCRIBED, "mean absolute error") in found


def test_speeds_swapped_are_rejected(cases, measured, profile, right):
    name = "unequal/gossip, one slow worker"
    swapped = variant(["cluster.speeds={0: 0.5}"], name)
    found = missed(cases, measured, {**right, **predicted([swapped], profile, 2)})
    assert (name, "staleness: mean of a worker") in found
    assert {where for where, _ in found} <= {name, "all"}
