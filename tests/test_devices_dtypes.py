"""Types of numbers: what they change in bytes, times and memory, and where they can be learned in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import calibration
from calibration.executor.pool import Pool
from calibration.executor.setup import from_scenario
from parasim import simulate
from parasim.errors import ScenarioError
from parasim.scenario import load
from parasim.schemes import SCHEMES
from tests.schemes_setup import make

SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
SCENARIO = Path(__file__).parent / "real_scenario.yaml"

OPTIONS: dict[str, dict[str, Any]] = {
    "sequential": {"workers": 1},
    "hierarchical_sgd": {"groups": 3},
    "grid": {"groups": 3},
    "three_d": {"pipeline": 3},
    "fdg_data": {"modules": 3},
    "interleaved_1f1b": {"workers": 2},
    **{kind: {"hosts": 1} for kind in ("hogwild", "hogbatch", "asysvrg")},
}
"""Of schemes that do not run with three workers on a host each."""


def summary(kind: str, dtype: str, **settings: Any) -> Any:
    return simulate(make(kind, dtype=dtype, **settings)).summary


@pytest.mark.parametrize(("dtype", "size"), SIZES.items())
def test_bytes_on_the_wire_are_elements_times_their_size(dtype: str, size: int) -> None:
    """Four layers of 32 x 32 without biases: a ring of 4 sends 2 * 3/4 of them, a server gets them all."""
    parameters = 4 * 32 * 32
    ring = summary("allreduce", dtype, algorithm="ring", workers=4)
    assert ring["bytes_sent_per_worker_per_step"] == 2 * 3 / 4 * parameters * size
    server = summary("downpour", dtype, hosts=3, workers=2, servers=1)
    assert server["bytes_sent_per_worker_per_step"] == parameters * size


@pytest.mark.parametrize("kind", SCHEMES)
def test_memory_bound_runs_scale_with_the_size_of_a_number(kind: str) -> None:
    """FLOP cost nothing, latencies neither: every time and every byte is one of elements times their size."""
    settings: dict[str, Any] = {"flops": 1e18, "latency": 0.0, "workers": 3, "steps": 5, **OPTIONS.get(kind, {})}
    single = summary(kind, "float32", **settings)
    for dtype in ("float64", "float16", "bfloat16"):
        this, ratio = summary(kind, dtype, **settings), SIZES[dtype] / SIZES["float32"]
        assert this["seconds"] == pytest.approx(ratio * single["seconds"], rel=1e-6), dtype
        for figure in ("bytes_sent_per_worker_per_step", "memory_bytes_per_worker"):
            assert this[figure] == pytest.approx(ratio * single[figure], rel=1e-12), dtype


def test_a_type_changes_no_time_of_what_only_computes() -> None:
    """Plain numbers are the peak of whatever type the workload has."""
    seconds = {summary("sequential", dtype, workers=1, memory_bandwidth=1e18)["seconds"] for dtype in SIZES}
    assert max(seconds) == pytest.approx(min(seconds), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_learning_needs_a_type_that_can_be_trained_in(dtype: str) -> None:
    with pytest.raises(ScenarioError) as error:
        make("sequential", workers=1, dtype=dtype, learn=True, data={"kind": "digits"})
    assert str(error.value) == (
        f"document: run.learn: can't train in {dtype}: write workload: {{dtype: float32}} or {{dtype: float64}}, "
        "or learn: false"
    )
    scenario = make("sequential", workers=1, dtype=dtype, data={"kind": "digits"})
    with pytest.raises(ScenarioError) as error:
        from_scenario(scenario.document, "here.yaml", "real")
    assert str(error.value) == (
        f"here.yaml: execute.compute: 'real' trains the network, and can't in {dtype}: write workload: "
        "{dtype: float32} or {dtype: float64}, or execute: {compute: paced}"
    )


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(
        ScenarioError, match=r"workload.dtype: 'float61' is none of float32, float64, float16, bfloat16"
    ):
        make("sequential", dtype="float61")


@pytest.mark.real
def test_paced_ranks_send_the_bytes_of_the_type(pool: Pool) -> None:
    half = load(SCENARIO, ["run.learn=false", "execute.compute=paced", "workload.dtype=bfloat16"])
    measured, simulated = calibration.execute(half, pool=pool).summary, simulate(half).summary
    single = simulate(load(SCENARIO, ["run.learn=false"])).summary
    sent = "bytes_sent_per_worker_per_step"
    assert measured[sent] == simulated[sent] == single[sent] / 2
