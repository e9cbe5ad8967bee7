"""The same scenario in both runtimes: equal payload, equal weights, and replay of what was not determined."""

import math
import multiprocessing
import time

import numpy as np
import pytest

import parasim
from parasim.metrics.staleness import staleness_of
from parasim.scenario import from_document

pytestmark = pytest.mark.real

SCHEMES = {
    "sequential": {"kind": "sequential", "workers": 1},
    "ring": {"kind": "allreduce", "workers": 3, "bucket_bytes": 20000},
    "double tree": {"kind": "allreduce", "workers": 3, "algorithm": "double_tree", "overlap": False},
    "downpour": {"kind": "downpour", "workers": 2, "servers": 2},
    "downpour, serial": {
        "kind": "downpour",
        "workers": 2,
        "servers": 1,
        "service": "serial",
        "n_push": 2,
        "n_fetch": 3,
    },
    "adpsgd": {"kind": "adpsgd", "workers": 4},
    "gpipe": {"kind": "gpipe", "workers": 3, "micro_batches": 4},
    "gpipe, recomputing": {"kind": "gpipe", "workers": 2, "micro_batches": 2, "recompute": True},
}


def scenario(scheme, *, steps=6, width=48, dtype="float32", optimizer=None, **execute):
    return from_document(
        {
            "name": "both",
            "workload": {
                "model": {"kind": "mlp", "width": width, "depth": 4},
                "batch_size": 16,
                "data": {"kind": "digits"},
                "dtype": dtype,
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": 4},
                "device": {"flops": "5 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"},
                "link": {"bandwidth": "10 Gbit/s", "latency": "20 us"},
            },
            "scheme": scheme,
            "optimizer": optimizer or {"kind": "sgd", "lr": 0.1, "momentum": 0.5},
            "run": {"steps": steps, "seed": 3, "learn": True},
            **({"execute": execute} if execute else {}),
        }
    )


def execute(*arguments, **options):
    from calibration import execute

    return execute(*arguments, **options)


def weights(result):
    return list(result.returns)


@pytest.mark.parametrize("name", SCHEMES)
def test_payload_bytes_and_messages_are_equal(name, pool):
    case = scenario(SCHEMES[name])
    real, simulated = execute(case, pool=pool), parasim.simulate(case)
    assert (real.summary["clock"], simulated.summary["clock"]) == ("real", "simulated")
    for figure in (
        "bytes_sent_per_worker_per_step",
        "messages_sent_per_worker_per_step",
        "bytes_received_per_worker_per_step",
        "control_messages_per_worker_per_step",
        "steps",
        "updates",
    ):
        assert real.summary[figure] == pytest.approx(simulated.summary[figure], rel=1e-12), figure
    assert real.summary.keys() == simulated.summary.keys() - {"fast_paths"}  # a real run has none
    assert math.fsum(real.summary["shares"].values()) == pytest.approx(1.0, abs=1e-9)


def test_what_all_take_while_they_work_is_the_sum_of_their_own_rates(pool):
    # an answering lane of AD-PSGD outlasts its worker's own program
    case = scenario(SCHEMES["adpsgd"])
    for result in (execute(case, pool=pool), parasim.simulate(case)):
        ends = dict.fromkeys(range(case.scheme.options.workers), 0.0)
        for row in result.trace:
            if row.label == "step":
                ends[row.rank] = max(ends[row.rank], row.t_end)
        samples = case.run.steps * case.workload.batch_size
        after = result.summary["seconds"] - max(ends.values())
        rate = math.fsum(samples / (end + after) for end in ends.values())
        assert result.summary["samples_per_second_while_all_work"] == pytest.approx(rate, rel=1e-9)
        assert result.summary["samples_per_second"] < rate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sequential", "ring", "double tree", "gpipe", "gpipe, recomputing"])
def test_synchronous_schemes_give_the_same_bits(name, dtype, pool):
    case = scenario(SCHEMES[name], dtype=dtype)
    real, simulated = execute(case, pool=pool), parasim.simulate(case)
    for one, other in zip(weights(real), weights(simulated), strict=True):
        assert one.dtype == other.dtype == np.dtype(dtype)
        assert one.tobytes() == other.tobytes()
    assert real.summary["loss"] == simulated.summary["loss"]


@pytest.mark.parametrize(
    "name", ["ring", "double tree", "gpipe"], ids=lambda name: f"{name} in the real runtime equals sequential"
)
def test_real_runs_equal_sequential_sgd_exactly(name, pool):
    """The recipe of SCHEMES 0.5: float64, integers, powers of two; sums are exact in any order."""

    def exact(scheme, batch):
        return from_document(
            {
                "workload": {
                    "model": {"kind": "mlp", "width": 4, "depth": 3, "activation": "linear", "initial": "exact"},
                    "batch_size": batch,
                    "data": {"kind": "regression", "integers": True},
                    "dtype": "float64",
                },
                "cluster": {
                    "topology": {"kind": "star", "hosts": 4},
                    "device": {"flops": "5 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"},
                    "link": {"bandwidth": "10 Gbit/s", "latency": "20 us"},
                },
                "scheme": scheme,
                "optimizer": {"kind": "sgd", "lr": 2.0**-8},
                "run": {"steps": 1, "seed": 1, "learn": True},
            }
        )

    scheme = {**SCHEMES[name], "workers": 3 if name == "gpipe" else 4}
    parallel = weights(execute(exact(scheme, 8), pool=pool))
    alone = parasim.simulate(exact({"kind": "sequential", "workers": 1}, 8 if name == "gpipe" else 32))
    (expected,) = weights(alone)
    found = [np.concatenate(parallel)] if name == "gpipe" else parallel
    assert not np.array_equal(expected, np.zeros_like(expected))
    for vector in found:
        assert vector.tobytes() == expected.tobytes()


def staleness_figures(result):
    table = staleness_of(result.trace)
    return table.overall.as_dict(), {rank: s.as_dict() for rank, s in table.per_worker.items()}


def versions(result):
    """What was applied, in the order of each copy: rank of the copy, whose gradient, versions."""
    applied = [row for row in result.trace.rows if row.label == "applied"]
    return sorted((row.rank, row.version_applied, row.peer, row.version_read) for row in applied)


def burn(until):
    while time.monotonic() < until:
        sum(range(1000))


@pytest.mark.parametrize("attempts", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["downpour", "adpsgd"])
def test_recorded_runs_are_replayed_exactly(name, attempts, pool, tmp_path):
    """Every time, half of them on loaded cores: weights, versions and staleness of the real run."""
    case = scenario(SCHEMES[name], steps=10, width=32, optimizer={"kind": "sgd", "lr": 0.1})
    orders = set()
    for attempt in range(attempts):
        loads = []
        if attempt % 2:
            loads = [multiprocessing.Process(target=burn, args=(time.monotonic() + 30,)) for _ in range(2)]
        for load in loads:
            load.start()
        try:
            path = tmp_path / f"{attempt}.json.gz"
            real = execute(case, pool=pool, record=path)
        finally:
            for load in loads:
                load.kill()
                load.join()
        again = parasim.simulate(case, replay=parasim.Record.load(path))
        for one, other in zip(weights(real), weights(again), strict=True):
            assert one.tobytes() == other.tobytes(), attempt
        assert versions(real) == versions(again)
        assert staleness_figures(real) == staleness_figures(again)
        orders.add(tuple(versions(real)))
    assert attempts == 2 or len(orders) > 1  # they were not all the same run


def test_the_record_of_another_run_is_refused(pool, tmp_path):
    case = scenario(SCHEMES["downpour"], steps=2)
    execute(case, pool=pool, record=tmp_path / "r.json")
    record = parasim.Record.load(tmp_path / "r.json")
    with pytest.raises(parasim.ScenarioError, match="the record is of scheme 'downpour', the scenario has 'gpipe'"):
        parasim.simulate(scenario(SCHEMES["gpipe"]), replay=record)
    with pytest.raises(parasim.ScenarioError, match="the record is of steps 2, the scenario has 3"):
        parasim.simulate(scenario(SCHEMES["downpour"], steps=3), replay=record)
    with pytest.raises(parasim.ScenarioError, match=r"the record is of model .*48"):
        parasim.simulate(scenario(SCHEMES["downpour"], steps=2, width=24), replay=record)
