"""Small versions of the benchmarks of ratios, scale and learning: makespans and counts, never seconds."""

import json

import pytest

import parasim
from benchmarks import growth, learning, ratios, scale
from benchmarks.cases import ring
from benchmarks.peers.cases import CASES as PEERS
from benchmarks.ratios import CASES, compare
from benchmarks.scale import FAMILIES, Family, Point, report, slope
from parasim.scenario import from_document


@pytest.mark.parametrize("name", CASES)
def test_fast_paths_give_the_same_in_no_more_events(name):
    case = CASES[name]
    found = compare(case.make(case.small))
    assert found.fast_makespan == pytest.approx(found.plain_makespan, rel=1e-9)
    assert found.fast_events <= found.plain_events
    assert found.events_per_operation <= case.small_events


def test_every_workload_of_the_peers_has_a_smaller_version():
    like = [name for case in CASES.values() for name in case.like]
    assert sorted(like) == sorted(PEERS)


def test_the_ratios_of_a_ring_are_those_of_its_closed_form(monkeypatch, capsys):
    found = compare(ring(4, 2).document)
    assert found.operations == 4 * 2 * (6 + 1)
    assert found.fast_makespan == pytest.approx(ring(4, 2).least, rel=1e-9)
    monkeypatch.setattr(ratios, "CASES", {"tiny": ratios.Ratios(lambda n: ring(n, 1).document, 8, 1, 1, 4, 1)})
    assert ratios.main(["--small", "--repeat", "1"]) == 0
    assert capsys.readouterr().out.split()[:4] == ["tiny", "4", "workers", "28"]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_scenarios_of_their_size(name):
    family = FAMILIES[name]
    scenario = from_document(family.make(1000 if family.size == "steps" else 64))
    assert scenario.scheme.options.workers == (8 if family.size == "steps" else 64)
    assert scenario.run.trace == "aggregate"


@pytest.mark.parametrize("name", ["hierarchy", "ring"])
def test_collectives_at_coupled_fidelity_cost_no_events(name):
    assert parasim.simulate(from_document(FAMILIES[name].make(64))).summary["events"] == 0


def test_equal_steps_cost_no_events():
    few, many = (parasim.simulate(from_document(FAMILIES["steps"].make(n))).summary for n in (10, 40))
    assert many["seconds"] == pytest.approx(4 * few["seconds"], rel=1e-9)
    assert many["events"] == few["events"] == 0


def test_growth_is_drawn(tmp_path, capsys):
    assert growth.main(["--small", "--repeat", "1", "--out", str(tmp_path / "growth")]) == 0
    said = capsys.readouterr().out
    assert "asynchronous, one by one: seconds grow as operations to the power of" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.png", "growth.svg"]
    assert growth.exponent(growth.Curve("c", "n", (1.0, 10.0, 100.0), (3.0, 300.0, 30000.0))) == pytest.approx(2)


def test_growth_is_fitted_and_judged(monkeypatch, capsys):
    points = [Point(n, 1.0, n, n, 3.0 * n**1.5, 2**20) for n in (10, 100, 1000)]
    assert slope(points, lambda p: p.seconds, lambda p: p.size) == pytest.approx(1.5)
    assert slope(points[:1], lambda p: p.seconds, lambda p: p.size) is None
    family = Family("workers", (10, 100, 1000), lambda n: ring(n, 1).document, peak_bytes=2**21, growth=1.1)
    text = report("grows", family, points)
    assert "to the power of 1.50, events 1.00" in text
    assert "at most 2 MiB: reached" in text
    assert "at most 1.1 as exponent: missed" in text
    assert "stopped at the limit with 1,000 workers: missed" in report("grows", family, points[:2])
    monkeypatch.setitem(FAMILIES, "tiny", Family("workers", (4,), lambda n: ring(n, 1).document))
    assert scale.main(["tiny", "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["tiny"]
    assert (point["size"], point["operations"]) == (4, 28)
    assert point["makespan"] == pytest.approx(ring(4, 1).least, rel=1e-9)


def test_a_profile_knows_whose_functions_are_whose():
    assert learning.owner("~", "<built-in method torch.mm>") == "torch"
    assert learning.owner("/lib/torch/_tensor.py", "__rsub__") == "torch"
    assert learning.owner("/src/parasim/runtime/actor.py", "run") == "parasim/runtime"
    assert learning.owner("/src/parasim/units.py", "parse") == "parasim"
    assert learning.owner("~", "<built-in method builtins.max>") == "other"


def test_a_learning_run_is_profiled(capsys):
    seconds, _ = learning.profile(from_document(learning.document(2, 1, width=16)))
    assert seconds["torch"] > 0
    assert seconds["parasim/simulation"] > 0
    assert learning.main(["--workers", "2", "--steps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["torch"] > 0


@pytest.mark.parametrize("main", [ratios.main, scale.main])
def test_unknown_names_are_refused(main, capsys):
    with pytest.raises(SystemExit):
        main(["rings"])
    assert "rings" in capsys.readouterr().err
