"""Synchronous schemes, and Downpour with one worker, equal sequential SGD: bit for bit where arithmetic is exact."""

import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import pin_threads
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, weights

ALGORITHMS = (
    "ring",
    "binomial",
    "recursive_doubling",
    "rabenseifner",
    "torus",
    "hierarchical",
    "hierarchical_leader",
    "double_tree",
    "naive",
    "direct",
    "native",
)
RULES = ({"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adagrad", "lr": 0.05}, {"kind": "adam", "lr": 0.01})
DEEP = {"kind": "mlp", "depth": 4, "width": 8, "activation": "relu", "initial": "exact"}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def exact(kind, hosts, model, steps, **settings):
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


def sequential(model, steps, **settings):
    result = exact("sequential", 1, model, steps, batch=16, **settings)
    return weights(result, range(1))


def rows_for(algorithm, workers):
    return next(rows for rows in (2, 3, 1) if workers % rows == 0) if algorithm.startswith("hierarchical") else 0


def digits(kind, hosts, **settings):
    return run(kind, hosts, data={"kind": "digits"}, learn=True, **settings)


# all-reduce ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [2, 4, 8])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_allreduce_equals_sequential_in_every_bit(algorithm, workers):
    model, steps = EXACT_MODELS["two layers"]
    whole = sequential(model, steps)
    rows = rows_for(algorithm, workers)
    for overlap in ({"overlap": False}, {"overlap": True}, {"bucket_bytes": 1}):  # one, one, two all-reduces a step
        share = 16 // workers
        result = exact("allreduce", workers, model, steps, batch=share, algorithm=algorithm, rows=rows, **overlap)
        for rank in range(workers):
            assert torch.equal(weights(result, range(rank, rank + 1)), whole)
    assert not torch.equal(whole, sequential(model, steps - 1))


@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_allreduce_equals_sequential_for_every_exact_model(name, momentum):
    model, steps = EXACT_MODELS[name]
    rule = {"kind": "sgd", "lr": 0.125, "momentum": momentum}
    result = exact("allreduce", 4, model, steps, batch=4, bucket_bytes=1, optimizer=rule)
    assert torch.equal(weights(result, range(1)), sequential(model, steps, optimizer=rule))


@pytest.mark.parametrize("workers", [3, 5, 6])
def test_allreduce_of_other_numbers_of_workers(workers):
    """The sum of gradients is exact still, so algorithms agree; the mean over 3 b samples is rounded, so one step."""
    model, _ = EXACT_MODELS["two layers"]
    results = [
        exact("allreduce", workers, model, 1, batch=4, algorithm=algorithm, rows=rows_for(algorithm, workers))
        for algorithm in ALGORITHMS
    ]
    first = weights(results[0], range(1))
    for result in results:
        for rank in range(workers):
            assert torch.equal(weights(result, range(rank, rank + 1)), first)
    whole = weights(exact("sequential", 1, model, 1, batch=4 * workers), range(1))
    torch.testing.assert_close(first, whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_allreduce_on_digits_to_rounding_and_replicas_in_every_bit(algorithm):
    settings = {"algorithm": algorithm, "rows": rows_for(algorithm, 6), "bucket_bytes": 4096}
    result = digits("allreduce", 6, batch=8, steps=8, **settings)
    first = weights(result, range(1))
    for rank in range(1, 6):
        assert torch.equal(weights(result, range(rank, rank + 1)), first)
    whole = weights(digits("sequential", 1, batch=48, steps=8), range(1))
    torch.testing.assert_close(first, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("bucket_bytes", "buckets"), [(1, 4), (4 * 32**2 + 1, 2), (10**9, 1)])
def test_there_is_one_allreduce_per_bucket(bucket_bytes, buckets):
    """SCHEMES S3.7: four layers of 32 by 32 in float32, of 4,096 bytes each."""
    result = run("allreduce", 4, steps=3, bucket_bytes=bucket_bytes)
    for rank in range(4):
        assert sum(row.rank == rank and row.op == "collective" for row in result.trace) == 3 * buckets


@pytest.mark.parametrize(("first", "buckets"), [(0, [2, 2]), (1, [1, 2, 1]), (3 * 4096, [3, 1]), (10**9, [4])])
def test_the_first_bucket_may_be_smaller(first, buckets):
    """DDP's leaves after 1 MiB (SCHEMES S3.4); here of four layers of 4,096 bytes each, in buckets of two."""
    case = make("allreduce", 4, steps=1, bucket_bytes=8192, first_bucket_bytes=first)
    rows = [row for row in parasim.simulate(case).trace if row.rank == 0 and row.op == "collective"]
    assert [row.nbytes / 4096 for row in sorted(rows, key=lambda row: row.t_post)] == buckets
    assert closed_form(case).messages_sent_per_worker_per_step == 6 * len(buckets)


def test_ddp_is_allreduce_with_a_first_bucket_of_a_mebibyte():
    options = make("DDP", 4).scheme.options
    assert (options.bucket_bytes, options.first_bucket_bytes) == (25 * 2**20, 2**20)
    assert make("horovod", 4).scheme.options.first_bucket_bytes == 0


# GPipe ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("micros", [1, 2, 4])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_gpipe_equals_sequential_in_every_bit(stages, micros, recompute):
    model, steps = EXACT_MODELS["relu"] if stages <= 2 else (DEEP, 1)
    result = exact("gpipe", stages, model, steps, batch=16, micro_batches=micros, recompute=recompute)
    together = weights(result, range(stages))
    assert torch.equal(together, sequential(model, steps))
    assert not torch.equal(together, sequential(model, steps, optimizer={"kind": "sgd", "lr": 0.25}))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
def test_gpipe_on_digits_to_rounding(rule, recompute):
    options = {"micro_batches": 4, "recompute": recompute, "optimizer": rule, "batch": 32, "steps": 8}
    together = weights(digits("gpipe", 4, **options), range(4))
    whole = weights(digits("sequential", 1, batch=32, steps=8, optimizer=rule), range(1))
    torch.testing.assert_close(together, whole, rtol=1e-3, atol=1e-4)


def test_gpipe_and_sequential_find_the_same_losses():
    pipeline = digits("gpipe", 4, batch=32, steps=8).summary["loss"]
    whole = digits("sequential", 1, batch=32, steps=8).summary["loss"]
    assert pipeline["first"] == pytest.approx(whole["first"], rel=1e-5)
    assert pipeline["last"] == pytest.approx(whole["last"], rel=1e-4)
    assert whole["last"] < whole["first"]


# Downpour with one worker --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
def test_downpour_with_one_worker_equals_sequential_in_every_bit(rule, servers, service):
    settings = {"batch": 32, "steps": 8, "optimizer": rule}
    result = digits("downpour", 1 + servers, workers=1, servers=servers, service=service, **settings)
    assert torch.equal(weights(result, range(1, 1 + servers)), weights(digits("sequential", 1, **settings), range(1)))
    assert result.summary["staleness"]["histogram"] == {0: 8 * servers}


def test_downpour_with_one_worker_accumulates_a_larger_batch():
    """Two gradients at one point, pushed together at half the rate, are the gradient of twice the batch."""
    model, _ = EXACT_MODELS["one layer"]
    half = {"kind": "sgd", "lr": 0.0625}
    result = exact("downpour", 2, model, 4, workers=1, batch=8, n_push=2, n_fetch=1, optimizer=half)
    assert result.summary["updates"] == 2
    assert torch.equal(weights(result, range(1, 2)), sequential(model, 2))
