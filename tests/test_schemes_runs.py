"""What all schemes have in common: determinism, common random numbers, aggregates, values that cost no time, checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parasim import SCHEMES, ScenarioError, load, simulate
from tests.schemes_setup import make, run
from tests.test_fast_paths import close

CASES = {  # scheme: hosts, options
    "sequential": (1, {}),
    "allreduce": (4, {"bucket_bytes": 4096, "algorithm": "rabenseifner"}),
    "downpour": (5, {"workers": 3, "servers": 2, "n_push": 2}),
    "ssp": (5, {"workers": 3, "servers": 2, "slack": 1}),
    "softsync": (5, {"workers": 4, "n": 2}),
    "dcasgd": (5, {"workers": 3, "servers": 2}),
    "compute_groups": (5, {"workers": 4, "groups": 2}),
    "dynsgd": (4, {"workers": 3, "local_steps": 2}),
    "agn": (4, {"workers": 3, "local_steps": 2}),
    "adag": (4, {"workers": 3, "local_steps": 2}),
    "adpsgd": (4, {}),
    "parameter_server": (4, {"servers": 0}),
    "dpsgd": (4, {}),
    "sgp": (4, {}),
    "osgp": (4, {"overlap": 2}),
    "backup_workers": (5, {}),
    "k_sync": (5, {"k": 2}),
    "k_batch_sync": (4, {"k": 4}),
    "k_async": (5, {"k": 2}),
    "k_batch_async": (5, {"k": 3}),
    "local_sgd": (4, {}),
    "bmuf": (4, {"period": 2}),
    "one_shot": (4, {}),
    "ensemble": (4, {"group_size": 2}),
    "codistillation": (4, {"group_size": 2, "period": 2, "burn_in": 1}),
    "population_based_training": (5, {"workers": 4, "ready": 2, "lrs": [0.1], "scores": [0.4, 0.1, 0.3, 0.2]}),
    "successive_halving": (4, {"lrs": [0.1], "scores": [0.4, 0.1, 0.3, 0.2], "freed": "join"}),
    "pipe_sgd": (4, {}),
    "accumulation": (4, {}),
    "easgd": (4, {}),
    "eamsgd": (4, {"order": "synchronous", "period": 1}),
    "hogwild": (1, {"workers": 3, "parts": 2, "batch": 2, "access": "plain"}),
    "hogbatch": (1, {"workers": 3, "parts": 4, "access": "locked"}),
    "asysvrg": (1, {"workers": 3, "pass_steps": 2, "reads": "inconsistent", "parts": 2}),
    "hierarchical_sgd": (4, {"period": 2}),
    "ddg": (3, {}),
    "fr": (3, {"start": "early"}),
    "fdg": (3, {"shrink": 0.5}),
    "fdg_data": (4, {"combine": "combine_then_adapt"}),
    "dni": (3, {"layers": 1, "labels": True}),
    "gpipe": (3, {"recompute": True}),
    "zero": (2, {"workers": 4}),
    "grid": (1, {"workers": 4}),
    "three_d": (4, {"tensor": 2}),
    "one_weird_trick": (1, {"workers": 2, "exchange": "in_turn"}),
    "tensor_parallel": (4, {"split": "pairs"}),
    "layerwise": (3, {}),
    "pipedream_flush": (3, {"micro_batches": 8}),
    "interleaved_1f1b": (2, {"chunks": 2}),
    "zb_h1": (3, {"micro_batches": 8}),
    "pipelined_backprop": (3, {}),
    "pipedream": (3, {"replicas": [2, 1]}),
    "pipedream_2bw": (3, {"micro_batches": 8}),
    "spectrain": (3, {}),
}
NOISE = {"kind": "lognormal", "sigma": 0.3}
EACH = pytest.mark.parametrize("kind", CASES)


def noisy(kind, **settings):
    hosts, options = CASES[kind]
    return run(kind, hosts, noise=NOISE, **options, **settings)


def digests():
    return [noisy(kind, steps=6, seed=3).trace.digest() for kind in CASES]


def test_every_scheme_is_here():
    assert set(CASES) == set(SCHEMES)


# determinism ---------------------------------------------------------------------------------------------------------
def test_same_seed_same_bytes_in_another_process():
    program = "from tests.test_schemes_runs import digests; print(*digests())"
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split() == digests()


@EACH
def test_another_seed_is_another_run(kind):
    digests = [noisy(kind, seed=seed).trace.digest() for seed in (1, 2, 1)]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("kind", ["allreduce", "downpour", "adpsgd"])
def test_another_worker_changes_nobody_elses_draws(kind):
    """Times of the passes are the drawn factors, on hosts where nothing else computes."""
    durations = []
    for workers in (3, 4):
        options = {"overlap": False} if kind == "allreduce" else {}
        result = run(kind, workers + 1, workers=workers, noise=NOISE, cores=2, **options)
        durations.append(
            {
                (row.index, row.label, row.step): row.t_end - row.t_start
                for row in result.trace
                if row.role == "worker" and row.label in ("forward", "backward")
            }
        )
    fewer, more = durations
    assert len(more) == 4 * 4 * 2
    for key, seconds in fewer.items():
        assert more[key] == pytest.approx(seconds, rel=1e-9)
    assert len({round(seconds, 12) for seconds in more.values()}) == len(more)


@pytest.mark.parametrize("kinds", [("sequential", "allreduce"), ("allreduce", "downpour"), ("downpour", "adpsgd")])
def test_schemes_meet_the_same_noise(kinds):
    """The first worker's passes take equally long in every data-parallel scheme."""
    of_kind = []
    for kind in kinds:
        options = {"overlap": False} if kind == "allreduce" else {}
        result = run(kind, 1 if kind == "sequential" else 3, noise=NOISE, cores=2, **options)
        of_kind.append(
            [row.t_end - row.t_start for row in result.trace if row.rank == 0 and row.label in ("forward", "backward")]
        )
    assert of_kind[0] == pytest.approx(of_kind[1], rel=1e-9)


# aggregates and values -----------------------------------------------------------------------------------------------
@EACH
def test_aggregates_give_the_figures_of_rows(kind):
    """To the last bit where both are simulated message by message; to 1e-9 where sums need no messages."""
    ways = ("rows", "all"), ("aggregate", "none"), ("aggregate", "all")
    rows, sums, fast = (noisy(kind, steps=6, trace=trace, fast_paths=way).summary for trace, way in ways)
    rows.pop("groups", None)  # sums keep no peers: who sent what to whom only rows tell
    close(fast, rows)
    for figure in ("wall_seconds", "simulation_seconds", "fast_paths"):
        del rows[figure], sums[figure]
    assert sums == rows
    assert rows["steps"] == 6
    assert rows["seconds"] > 0


@EACH
def test_values_cost_no_time(kind):
    plain, learnt = (list(noisy(kind, data={"kind": "digits"}, learn=learn).trace) for learn in (False, True))
    losses = [row for row in learnt if row.label == "loss"]
    assert losses
    plain, learnt = ([row._replace(value=None) for row in rows if row.label != "loss"] for rows in (plain, learnt))
    assert learnt == plain


# checks --------------------------------------------------------------------------------------------------------------
DOCUMENT = """\
workload: {model: {kind: mlp, width: 8, depth: 3}, batch_size: 6}
cluster:
  topology: {kind: star, hosts: 6}
  device: {flops: 1 GFLOP/s, memory: 1 GB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s}
run: {steps: 1}
scheme:
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("kind: sequential, workers: 2", "sequential SGD has 1 worker, not 2"),
        ("kind: allreduce, algorithm: torus, rows: 4", "6 workers do not fill 4 rows"),
        ("kind: allreduce, algorithm: hierarchical", "hierarchical needs rows: the number of nodes"),
        ("kind: adpsgd, workers: 1", "AD-PSGD needs 2 workers or more"),
        ("kind: adpsgd, graph: hypercube, workers: 5", "a hypercube has 2, 4, 8 ... workers, not 5"),
        ("kind: gpipe, workers: 4, micro_batches: 2", "4 stages need at least 4 layers; mlp has 3"),
        ("kind: gpipe, workers: 3, micro_batches: 4", "batch_size 6 is no multiple of micro_batches 4"),
        ("kind: downpour, servers: 0", "servers: 0 must be at least 1"),
        ("kind: downpour, n_fetch: 0", "n_fetch: 0 must be at least 1"),
        ("kind: downpour, service: parallel", "'parallel' is none of serial, concurrent"),
    ],
)
def test_what_a_scheme_cannot_run_is_refused_in_one_line(tmp_path, lines, message):
    path = tmp_path / "scenario.yaml"
    path.write_text(DOCUMENT + "".join(f"  {line}\n" for line in lines.split(", ")))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.startswith(f"{path}:")
    line = int(text.removeprefix(f"{path}:").split(":")[0])
    assert 7 <= line <= 7 + len(lines.split(", "))


def test_what_it_can_run_is_run(tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(DOCUMENT + "  kind: gpipe\n  workers: 3\n  micro_batches: 2\n")
    assert simulate(load(path)).summary["steps"] == 1


@pytest.mark.parametrize(
    ("kind", "options", "workers"),
    [("allreduce", {}, 5), ("downpour", {"servers": 2}, 3), ("adpsgd", {}, 5), ("gpipe", {"batch": 20}, 5)],
)
def test_default_number_of_workers_is_one_for_each_free_host(kind, options, workers):
    scenario = make(kind, 5, model={"kind": "mlp", "depth": 5}, **options)
    assert scenario.scheme.options.workers == workers
