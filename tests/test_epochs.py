"""Runs as long as some passes over the data; sweeps of runs with a target."""

import pytest

from parasim import load, simulate
from parasim.cli import main
from parasim.errors import ScenarioError

FILE = """
name: digits
workload:
  model: {kind: mlp, width: 8, depth: 2}
  batch_size: 16
  data: {kind: classification, samples: 1024, spread: 0.5}
cluster:
  topology: {kind: star, hosts: 4}
  device: {flops: 5 GFLOP/s, memory: 1 GiB, memory_bandwidth: 5 GB/s}
  link: {bandwidth: 1 Gbit/s, latency: 50 us}
scheme: {kind: allreduce, workers: 4}
optimizer: {kind: sgd, lr: 0.1}
run: {epochs: 2, learn: true}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], 32),
        (["run.epochs=0.1"], 2),  # 1.6 steps
        (["workload.batch_size=10", "run.epochs=1"], 26),
        (["scheme={kind: gpipe, workers: 2}"], 128),  # one pipeline
        (["workload.batch_growth={by: epochs, at: [1], factor: 4}"], 16 + 4),
        (["run.steps=7"], 7),  # in the place of epochs
        (["run.steps=7", "run.epochs=1"], 16),
    ],
)
def test_epochs_are_the_least_steps_that_take_their_samples(file, overrides, steps):
    assert load(file, overrides).run.steps == steps


def test_a_run_takes_the_samples_of_its_epochs(file):
    summary = simulate(load(file, ["run.learn=false"])).summary
    assert summary["samples_per_second"] * summary["seconds"] == pytest.approx(2 * 1024)


@pytest.mark.parametrize(
    ("run", "overrides", "what"),
    [
        ("{epochs: 2, steps: 3}", [], r"run.epochs: steps are given too: leave one of the two out"),
        ("{learn: true}", [], r"run.steps: is missing: write steps: 100 \(of each worker\), or epochs: 2"),
        ("{epochs: 0}", [], r"0 must be greater than 0"),
        ("{epochs: 1.0e+12}", [], r"are more than 1000000000 steps, the limit"),
        ("{epochs: 1}", ["workload.data=null"], r"epochs are passes over the data, and there are none"),
    ],
)
def test_what_is_wrong_with_epochs_is_said_in_a_line(tmp_path, run, overrides, what):
    path = tmp_path / "file.yaml"
    path.write_text(FILE.replace("{epochs: 2, learn: true}", run))
    with pytest.raises(ScenarioError, match=what) as error:
        load(path, overrides)
    assert "\n" not in str(error.value)


def test_a_sweep_of_runs_with_a_target_tells_who_is_first(file, tmp_path, capsys):
    """Points in the order of the grid, then by seconds to the target; curves of them are drawn."""
    words = ["scheme.workers=1,4", "run.evaluate={every: 64 samples}", "run.target={accuracy: 0.8}"]
    assert main(["sweep", str(file), *words, "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    table = capsys.readouterr().out
    assert table.index("time per") < table.index("to the target")
    assert "accuracy 0.8" in table
    assert {"learning.png", "learning.svg", "sweep.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}
    heading, *rows = (tmp_path / "out" / "sweep.csv").read_text().splitlines()
    assert "target_seconds" in heading
    assert len(rows) == 2
