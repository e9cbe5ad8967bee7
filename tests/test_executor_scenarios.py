"""Scenarios on real processes: the same weights, bytes and messages as in virtual time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import calibration
from calibration.executor.launch import run_cast
from calibration.executor.pool import Pool
from parasim.errors import ScenarioError
from parasim.scenario import load
from parasim.study.simulate import simulate
from parasim.trace.record import Record

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
SCENARIO = HERE / "real_scenario.yaml"
TRAFFIC = ("workers", "steps", "bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "updates", "loss")


@pytest.mark.parametrize("algorithm", ["ring", "native"])
def test_a_synchronous_scheme_gives_the_simulated_weights(pool: Pool, algorithm: str) -> None:
    scenario = load(SCENARIO, [f"scheme.algorithm={algorithm}"])
    measured = calibration.execute(scenario, pool=pool)
    simulated = simulate(scenario)
    assert measured.summary["clock"] == "real"
    assert {key: measured.summary[key] for key in TRAFFIC} == {key: simulated.summary[key] for key in TRAFFIC}
    assert sum(measured.summary["shares"].values()) == pytest.approx(1.0)
    for ours, theirs in zip(measured.returns, simulated.returns, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("scheme", ["{kind: downpour, workers: 2, servers: 1}", "{kind: adpsgd, workers: 3}"])
def test_an_asynchronous_scheme_gives_the_weights_of_its_replayed_record(
    pool: Pool, tmp_path: Path, scheme: str
) -> None:
    scenario = load(SCENARIO, [f"scheme={scheme}", "cluster.topology.hosts=3"])
    measured = calibration.execute(scenario, pool=pool, record=tmp_path / "record.json")
    record = Record.load(tmp_path / "record.json")
    assert record.ranks == measured.record.ranks
    replayed = simulate(scenario, replay=record)
    assert replayed.summary["staleness"] == measured.summary["staleness"]
    assert replayed.summary["loss"] == measured.summary["loss"]
    for ours, theirs in zip(measured.returns, replayed.returns, strict=True):
        assert ours is None or np.array_equal(ours, theirs)


def test_slow_workers_stay_slow_in_paced_runs(pool: Pool) -> None:
    """Speeds travel to the ranks: a worker of half speed takes twice as long for each compute, on any machine."""
    overrides = ["cluster.speeds={1: 0.5}", "execute.compute=paced", "run.learn=false", "workload.batch_size=512"]
    overrides += ["cluster.noise={kind: none}"]
    scenario = load(SCENARIO, [*overrides, "scheme={kind: allreduce, workers: 2}", "cluster.device.flops=100 MFLOP/s"])
    modelled = min(row.t_end - row.t_start for row in simulate(scenario).trace if row.label == "backward")
    rows = [row for row in calibration.execute(scenario, pool=pool).trace if row.label == "backward"]
    for rank in (0, 1):
        taken = [row.t_end - row.t_start for row in rows if row.rank == rank]
        assert taken == pytest.approx([(1 + rank) * modelled] * 3, rel=1e-9)


def test_paced_computes_take_the_modelled_time(pool: Pool) -> None:
    scenario = load(SCENARIO, ["run.learn=false", "execute.compute=paced", "cluster.device.flops=20 MFLOP/s"])
    measured = calibration.execute(scenario, pool=pool)
    simulated = simulate(scenario)
    assert measured.summary["loss"] == {"first": None, "last": None} or measured.summary["loss"] is None

    def computes(rows) -> list[tuple[int, str, int, float]]:
        found = [(row.rank, row.label, row.step, row.t_end - row.t_start) for row in rows if row.op == "compute"]
        return sorted(found, key=lambda key: key[:3])

    ours, theirs = computes(measured.trace), computes(simulated.trace)
    assert [key[:3] for key in ours] == [key[:3] for key in theirs]
    assert [real for *_, real in ours] == pytest.approx([modelled for *_, modelled in theirs], rel=1e-9)


def test_real_computing_needs_data(pool: Pool) -> None:
    scenario = load(SCENARIO, ["run.learn=false", "workload={model: {kind: mlp, width: 16, depth: 2}, batch_size: 8}"])
    with pytest.raises(ScenarioError, match="needs data"):
        calibration.execute(scenario, pool=pool)


@pytest.mark.parametrize("words", [(), ("scheme={kind: gpipe, workers: 2}", "optimizer={kind: adam}")])
def test_a_rank_imports_nothing_that_its_nursery_has_not(pool: Pool, words: tuple[str, ...]) -> None:
    """To import the schemes takes a rank four times as long as a small run."""
    document = load(SCENARIO, words).document
    calibration.execute(load(SCENARIO, ["run.steps=1"]), pool=pool)  # imports what its data need
    (late,) = run_cast("tests.real_starts:imports", {"document": document}, 1, pool=pool).returns
    assert [name for name in late.split() if name.split(".")[0] in {"parasim", "pydantic", "sklearn", "numpy"}] == []


def test_importing_calibration_imports_no_torch() -> None:
    code = "import sys, calibration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, check=False).returncode == 0


WORLD = """
import json, sys
import calibration
from parasim.errors import DeadlockError, ScenarioError
from parasim.scenario import load
from calibration.executor.torchrun import take_part_in_world

path = sys.argv[1]


def say(value):  # in one write: the ranks share a pipe
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()


for _ in range(2):
    result = calibration.execute(load(path))
    if result is not None:
        say([result.summary["clock"], [values.tolist() for values in result.returns]])
try:
    calibration.execute(load(path, ["scheme.workers=3", "cluster.topology.hosts=3"]))
except ScenarioError as error:
    say(str(error))
try:
    take_part_in_world("tests.real_programs:facing", {"sends_first": True}, 2)
except DeadlockError as error:
    say(str(error).splitlines()[1:])
"""


def test_torchrun_gives_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "world.py"
    script.write_text(WORLD)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(SCENARIO)],
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    results = [line for line in lines if line[0] == "real"]
    weights = [values.tolist() for values in simulate(load(SCENARIO)).returns]
    assert results == [["real", weights]] * 2
    assert lines.count("the scheme has 3 actors, torchrun started 2 processes; start 3") == 2
    tables = [line for line in lines if isinstance(line, list) and line[0].startswith("rank")]
    assert sorted(len(table) for table in tables) == [2, 3]  # rank 0 has the table of all
