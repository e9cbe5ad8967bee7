"""The statistical model of updates to a target: its closed form, its fit, and what runs say with it."""

import math

import pytest

import parasim
from parasim.cli import main
from parasim.errors import ProgramError, ScenarioError
from parasim.scenario import from_document
from parasim.study.modelled import fitted_text, reached
from parasim.theory.steps import Reached, Steps, fit_steps
from tests.schemes_setup import make


def test_updates_and_samples_are_mccandlishs_hyperbola():
    """(S / S_min - 1)(E / E_min - 1) = 1 for every batch; at B_crit both are twice the least."""
    model = Steps(1000.0, 256.0)
    for batch in (1, 32, 256, 10_000):
        s, e = model.updates(batch) / 1000, model.samples(batch) / (1000 * 256)
        assert (s - 1) * (e - 1) == pytest.approx(1, rel=1e-9)
    assert model.updates(256) == 2000
    assert Steps(1000.0, 256.0, 0.1).updates(256, 5) == 3000


def test_the_fit_finds_the_model_that_made_the_runs():
    model = Steps(700.0, 130.0, 0.25)
    points = [(16, 0), (64, 0), (512, 0), (16, 3), (64, 7)]
    found, worst = fit_steps([Reached(batch, late, model.updates(batch, late)) for batch, late in points])
    assert found == pytest.approx(model, rel=1e-5)
    assert worst < 1e-5
    plain, _ = fit_steps([Reached(batch, 0, Steps(50.0, 10.0).updates(batch)) for batch in (4, 40)])
    assert plain == pytest.approx((50, 10, 0), rel=1e-5)


@pytest.mark.parametrize("batches", [[16], [16, 16, 16]])
def test_one_batch_size_does_not_tell_the_model(batches):
    with pytest.raises(ProgramError, match="do not tell S_min and B_crit"):
        fit_steps([Reached(batch, 0, 100) for batch in batches])


def with_model(kind, hosts, **options):
    document = dict(make(kind, hosts, steps=20, batch=8, **options).document)
    model = {"least_steps": 1000, "critical_batch": 96, "staleness_penalty": 0.5}
    document["run"] = {**document["run"], "steps_model": model}
    return parasim.simulate(from_document(document)).summary


def test_a_synchronous_step_is_an_update_with_the_batch_of_all_workers():
    figures = with_model("allreduce", 4)
    found = figures["modelled"]
    assert (found["batch"], found["staleness"]) == (32, 0)
    assert found["updates"] == found["steps"] == 1000 * (1 + 96 / 32)
    assert found["seconds"] == pytest.approx(found["updates"] * figures["seconds_per_step"], rel=1e-12)
    assert "modelled, not measured" in found["note"]


def test_an_asynchronous_server_makes_an_update_of_each_workers_batch_and_pays_for_staleness():
    figures = with_model("downpour", 4)
    found, late = figures["modelled"], figures["staleness"]["mean"]
    assert found["batch"] == pytest.approx(8, rel=1e-12)
    assert found["staleness"] == late > 1
    assert found["updates"] == pytest.approx(1000 * (1 + 96 / 8) * (1 + 0.5 * late))
    assert found["seconds"] == pytest.approx(figures["seconds"] / 60 * found["updates"], rel=1e-12)
    assert found["steps"] == pytest.approx(found["updates"] / 3)


def test_runs_without_updates_are_not_modelled():
    assert reached({"target": None, "updates": 3}) is None
    assert reached({"updates": 3}) is None
    with pytest.raises(ScenarioError, match="0 of 1 runs reached a target"):
        fitted_text([{"updates": 3}])


FILE = """
workload: {model: {kind: mlp, depth: 1}, batch_size: 8, data: {kind: classification, samples: 512}}
cluster:
  topology: {kind: star, hosts: 2}
  device: {flops: 1 GFLOP/s, memory: 1 GB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s, latency: 10 us}
scheme: {kind: allreduce}
optimizer: {kind: sgd, lr: 0.1, schedule: {kind: constant, scaling: sqrt, reference_batch: 32}}
run: {steps: 300, learn: true, evaluate: {every: 10 steps}, target: {loss: 0.45, stop: true}}
variants: {small: {}, large: {workload.batch_size: 32}, larger: {workload.batch_size: 128}}
"""


def test_run_writes_the_model_that_its_runs_tell(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(FILE)
    assert main(["run", str(tmp_path / "small.yaml"), "--fit-steps", str(tmp_path / "model.yaml")]) == 0
    written = (tmp_path / "model.yaml").read_text()
    assert written.startswith("# Fitted to 3 runs to loss 0.45")
    assert "Modelled, not measured" in written
    assert written in capsys.readouterr().out
    again = FILE.replace("target: {loss: 0.45, stop: true}", written.splitlines()[1]).replace(
        "learn: true, evaluate: {every: 10 steps}", "learn: false"
    )
    (tmp_path / "large.yaml").write_text(again)
    assert main(["run", str(tmp_path / "large.yaml"), "--variant", "large"]) == 0
    assert "MODELLED, not measured: large [large]: " in capsys.readouterr().out
    scenario = parasim.load(tmp_path / "large.yaml", variant="large")
    assert math.isfinite(scenario.run.steps_model.least_steps)


def test_fitting_asks_for_runs_that_reach_the_target(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(FILE.replace("loss: 0.45", "loss: 1.0e-9").replace("steps: 300", "steps: 20"))
    assert main(["run", str(tmp_path / "small.yaml"), "--fit-steps", str(tmp_path / "model.yaml")]) == 2
    error = capsys.readouterr().err
    assert "--fit-steps: 0 of 3 runs reached a target" in error
    assert error.count("\n") == 1
