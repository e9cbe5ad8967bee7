"""Seconds to a target: kept with a run's figures, judged beside the prediction; paced real runs that learn."""

import pytest

import parasim
from calibration.checking.bounds import BOUNDS
from calibration.checking.cases import read_cases
from calibration.checking.executed import as_executed
from calibration.checking.figures import RunFigures, figures_of
from calibration.checking.predicting import replica
from calibration.checking.scoring import score
from parasim.learning.build import pin_threads
from parasim.report.crosscheck_files import write_crosscheck
from parasim.report.crosscheck_table import crosscheck_table
from parasim.scenario import from_document
from tests.crosscheck_setup import CORES, case, figures, pretended, profile, scenario
from tests.golden import ROOT
from tests.schemes_real import executed, learning

SLOW = {"flops": "10 MFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"}
"""Gradients of the small network take some 30 ms by the model, and a tenth of that really or less."""


def trained(kind="allreduce", *, target=None, compute="paced", steps=8, **options):
    """A small network that learns digits; all cases of it differ in the scheme alone."""
    document = learning(kind, 4, steps, **options).document
    run = {**document["run"], "evaluate": {"every": "1 step"}, "target": target or {"loss": 2.2}}
    cluster = {**document["cluster"], "device": SLOW}
    return from_document({**document, "cluster": cluster, "run": run, "execute": {"compute": compute}})


KINDS = {
    "ring": ("allreduce", {"workers": 2}),
    "server": ("parameter_server", {"workers": 2, "servers": 1}),
    "gossip": ("dpsgd", {"workers": 3, "graph": "ring"}),
    "local": ("local_sgd", {"workers": 2, "period": 2}),
}
CASES = [case(name, trained(kind, **options)) for name, (kind, options) in KINDS.items()]
PLAIN = case("plain", scenario({"kind": "allreduce", "workers": 2}))


def judged(real, simulated, cases=CASES):
    """The score of runs that reached their target after so many seconds, by the name of the case."""
    sides = [
        {name: [figures(1.0, reached=seconds) for seconds in runs] for name, runs in side.items()}
        for side in (real, simulated)
    ]
    return score(cases, *sides, BOUNDS, {})


REAL = {"ring": [2.0, 1.9, 2.4], "server": [4.0, 4.0], "gossip": [8.0, 8.0], "local": [1.0, 1.0]}
GUESS = {"ring": [2.2, 9.0], "server": [3.0], "gossip": [8.4], "local": [2.5]}


def test_errors_their_median_and_the_ranking_by_hand():
    found = judged(REAL, GUESS)
    by_name = {entry["case"]: entry["target"] for entry in found["cases"]}
    assert by_name["ring"] == {
        "figure": "loss",
        "value": 2.2,
        "measured": 2.0,
        "predicted": 2.2,
        "error": pytest.approx(0.1),
    }
    errors = [by_name[name]["error"] for name in ("server", "gossip", "local")]
    assert errors == pytest.approx([-0.25, 0.05, 1.5])
    assert found["targets"]["median_absolute_error"] == pytest.approx((0.1 + 0.25) / 2)
    # six pairs, of which ring and local are ordered the other way round
    assert found["targets"]["ranking"] == {"tau": pytest.approx((5 - 1) / 6), "pairs": 6, "sets": 1}
    assert (found["targets"]["cases"], found["targets"]["compared"], found["targets"]["one_sided"]) == (4, 4, 0)


def test_a_target_that_one_side_does_not_reach_has_no_error_and_is_counted():
    found = judged({**REAL, "ring": [None, 2.0, None], "gossip": [None]}, {**GUESS, "gossip": [None]})
    ring, _, gossip, _ = (entry["target"] for entry in found["cases"])
    assert (ring["measured"], ring["predicted"], ring["error"]) == (None, 2.2, None)
    assert (gossip["measured"], gossip["predicted"], gossip["error"]) == (None, None, None)
    assert (found["targets"]["cases"], found["targets"]["compared"], found["targets"]["one_sided"]) == (4, 2, 1)
    assert found["targets"]["median_absolute_error"] == pytest.approx((0.25 + 1.5) / 2)
    assert found["targets"]["ranking"]["pairs"] == 1
    one_of_three = judged({**REAL, "ring": [None, 2.0, 2.4]}, GUESS)["cases"][0]["target"]
    assert one_of_three["measured"] == 2.4
    nobody = judged({"ring": [None]}, {"ring": [1.0]}, CASES[:1])["targets"]
    assert nobody["median_absolute_error"] is None
    assert nobody["ranking"] == {"tau": None, "pairs": 0, "sets": 0}


def test_the_table_has_a_section_for_targets_only_where_there_are_any(tmp_path):
    about = {"profile": "bench", "machine": {}}
    cases = [*CASES, PLAIN]
    found = {**about, **judged({**REAL, "ring": [None], "plain": [None]}, {**GUESS, "plain": [None]}, cases)}
    text = crosscheck_table(found)
    assert max(map(len, text.splitlines())) <= 120
    rows = text[text.index("to the target") : text.index("to the target: median")].splitlines()
    assert [row.split()[0] for row in rows if row.startswith(tuple(KINDS))] == list(KINDS)
    (server,) = [row for row in rows if row.startswith("server")]
    assert server.split() == ["server", "loss", "2.2", "4", "s", "3", "s", "-25%"]
    assert any("not reached" in row for row in rows)
    assert not any(row.startswith("plain") for row in rows)
    assert (
        "to the target: median size of the error 25% (3 of 4 cases; 1 reached it on one side only); "
        "ranking tau (pairs) 1.00 (3)." in text
    )
    write_crosscheck(found, tmp_path, "title")
    assert "target_error" in (tmp_path / "crosscheck.csv").read_text().splitlines()[0]
    without = judged({"plain": [None]}, {"plain": [None]}, [PLAIN])
    assert without["targets"] is None
    assert without["cases"][0]["target"] is None
    assert "to the target" not in crosscheck_table({**about, **without})


def test_figures_keep_the_seconds_and_files_without_them_are_read():
    kept = figures(1.0, reached=2.5)
    assert RunFigures.from_dict(kept.as_dict()) == kept
    old = kept.as_dict()
    del old["seconds_to_target"]
    assert RunFigures.from_dict(old) == figures(1.0)


def test_the_right_profile_predicts_the_seconds_of_a_machine_like_it():
    """What stands for the real runs is simulated with draws that no prediction has."""
    cases = CASES[:2]
    right = profile(doubt=0.0, jitter=0.0, drift=0.0)
    found = score(cases, pretended(cases, right, 1).runs, pretended(cases, right, 1, first=0).runs, BOUNDS, {})
    assert found["targets"]["compared"] == 2
    assert found["targets"]["median_absolute_error"] == pytest.approx(0.0, abs=1e-9)
    expected = parasim.simulate(as_executed(cases[0].scenario, right)).summary["target"]["seconds"]
    assert found["cases"][0]["target"]["predicted"] == pytest.approx(expected)


def test_a_replica_goes_on_beyond_its_target_as_a_real_run_does():
    stopping = trained(workers=2, target={"loss": 2.2, "stop": True})
    ran = parasim.simulate(replica(stopping, profile(), 0))
    assert 0 < ran.summary["target"]["steps"] < 8
    assert ran.summary["steps"] == 8
    assert figures_of(ran).seconds_to_target == ran.summary["target"]["seconds"]
    assert replica(learning("allreduce", 2), profile(), 0).run.learn is False


def test_the_cases_are_eight_schemes_or_more_on_two_to_four_ranks():
    cases = read_cases(ROOT / "scenarios/crosscheck_targets", cores=CORES)
    assert len({one.scenario.scheme.name for one in cases}) >= 8
    assert {one.scenario.execute.network for one in cases} == {"loopback", "shaped"}
    for one in cases:
        assert 2 <= one.ranks <= 5
        assert one.scenario.scheme.options.workers in (2, 3, 4)
        assert one.scenario.run.target.accuracy == 0.95
        as_executed(one.scenario, profile())


# on real processes ---------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("name", ["ring", "server"])
def test_a_paced_run_that_learns_finds_the_target_at_the_simulated_step(pool, name):
    kind, options = KINDS[name]
    made = trained(kind, **options)
    pin_threads()
    real, simulated = executed(made, pool), parasim.simulate(made)
    assert real.summary["target"]["steps"] == simulated.summary["target"]["steps"] > 0
    losses = [[point["loss"] for point in one.summary["evaluation"]["points"]] for one in (real, simulated)]
    assert losses[0] == losses[1]
    assert figures_of(real).seconds_to_target == real.summary["target"]["seconds"]
    # Training is done within the modelled time (tests/test_executor_parts.py); on a busy machine it takes longer.
    ours, theirs = (
        {(row.rank, row.step): row.t_end - row.t_start for row in one.trace if row.label == "backward"}
        for one in (real, simulated)
    )
    assert ours.keys() == theirs.keys()
    assert len(ours) == 16
    assert min(ours[key] - theirs[key] for key in theirs) > -1e-9
