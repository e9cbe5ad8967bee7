"""Tensor parallelism equals sequential SGD; what it sends grows with the mini-batch, not with the weights (S22)."""

import json

import pytest
import torch

from parasim import closed_form, simulate
from parasim.learning.build import pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from tests.golden import golden_path
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, weights
from tests.shards_setup import TEXT, TRANSFORMER, whole_of

SPLITS = pytest.mark.parametrize("split", ["outputs", "pairs"])
FREE = {"memory_bandwidth": 1e18}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


@SPLITS
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("name", EXACT_MODELS)
def test_it_equals_sequential_in_every_bit(name, workers, split):
    """After every number of steps: the workers' shards, put together, are the serial parameters."""
    model, steps = EXACT_MODELS[name]
    for step in range(1, steps + 1):
        settings = {"model": model, "steps": step, "data": EXACT_DATA, "dtype": "float64", "learn": True}
        case = make("tensor_parallel", workers, split=split, **settings)
        found, whole = simulate(case), run("sequential", 1, **settings)
        assert torch.equal(whole_of(case, found.returns, split), weights(whole, range(1)))
        assert found.summary["loss"] == whole.summary["loss"]


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize(
    ("model", "data", "split"),
    [
        (TRANSFORMER, TEXT, "pairs"),
        ({"kind": "lenet5"}, {"kind": "digits"}, "outputs"),
        ({"kind": "lenet5"}, {"kind": "digits"}, "pairs"),
        ({"kind": "cnn", "channels": 4}, {"kind": "digits"}, "outputs"),
        ({"kind": "cnn", "channels": 4}, {"kind": "digits"}, "pairs"),
    ],
)
def test_attention_and_convolutions_equal_sequential_to_rounding(model, data, split, workers):
    """In float64, after four steps with momentum: sums in another order, and nothing else, differ."""
    momentum = {"kind": "sgd", "lr": 0.1, "momentum": 0.5}
    settings = {
        "model": model, "data": data, "dtype": "float64", "learn": True, "optimizer": momentum, "batch": 4,
    }  # fmt: skip
    case = make("tensor_parallel", workers, split=split, **settings)
    found, whole = simulate(case), run("sequential", 1, **settings)
    together = whole_of(case, found.returns, split)
    torch.testing.assert_close(together, weights(whole, range(1)), rtol=1e-12, atol=1e-12)
    assert found.summary["loss"]["last"] == pytest.approx(whole.summary["loss"]["last"], rel=1e-12)
    assert found.summary["loss"]["last"] != found.summary["loss"]["first"]


@SPLITS
@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_time_bytes_and_messages_of_the_survey(workers, split):
    """``6bLn^2c/N + 2L((N-1) alpha + 4bn (N-1)/N beta)``, and what the optimiser takes; 8 L b n (N-1)/N bytes."""
    settings = {"split": split, **FREE}
    batch, depth, width, alpha, beta, c = 16, 4, 32, 1e-5, 1e-8, 1e-9
    seconds, nbytes, messages = steady("tensor_parallel", workers, **settings)
    others = (workers - 1) / workers
    exchange = (workers - 1) * 2 * alpha + 4 * batch * width * others * beta  # two links of the star
    update = 2 * depth * width**2 / workers * c
    additions = depth * batch * width * others * c
    plain = 6 * batch * depth * width**2 * c / workers + 2 * depth * exchange
    assert seconds == pytest.approx(plain + update + additions, rel=1e-9)
    assert nbytes == pytest.approx(8 * depth * batch * width * others, rel=1e-12)
    assert messages == 2 * depth * (workers - 1)
    form = closed_form(make("tensor_parallel", workers, **settings))
    assert form.exact
    assert form.seconds_per_step == pytest.approx(seconds, rel=1e-9)
    assert form.bytes_sent_per_worker_per_step == pytest.approx(nbytes, rel=1e-12)
    assert form.messages_sent_per_worker_per_step == messages


def test_bytes_grow_with_the_batch_and_not_with_the_square_of_the_width():
    """Traffic of tensor to that of data parallelism is b : n (SCHEMES 0.3)."""
    for batch, width in ((8, 32), (16, 32), (16, 64)):
        settings = {"model": {"kind": "mlp", "width": width, "depth": 4}, "batch": batch}
        tensor = run("tensor_parallel", 4, **settings).summary["bytes_sent_per_worker_per_step"]
        data = run("allreduce", 4, **settings).summary["bytes_sent_per_worker_per_step"]
        assert tensor / data == pytest.approx(batch / width, rel=1e-12)


@pytest.mark.parametrize("workers", [2, 4])
def test_the_closed_form_of_a_transformer_counts_its_bytes_and_messages(workers):
    """4 all-reduces of b s h a block, one more before the output layer, whose columns are gathered."""
    settings = {"model": TRANSFORMER, "data": TEXT, "batch": 4, "split": "pairs", "vocabulary_multiple": 0}
    form = closed_form(make("tensor_parallel", workers, **settings))
    seconds, nbytes, messages = steady("tensor_parallel", workers, **settings)
    assert messages == form.messages_sent_per_worker_per_step == (workers - 1) * (2 * (4 * 2 + 1) + 1)
    assert nbytes == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert seconds == pytest.approx(form.seconds_per_step, rel=2e-3)


@SPLITS
@pytest.mark.parametrize("workers", [2, 4])
def test_weights_gradient_and_momentum_are_divided_by_the_workers(workers, split):
    """Activations are not: by outputs every worker keeps all inputs of its columns, in pairs half of them."""
    rule = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
    result = run("tensor_parallel", workers, split=split, optimizer=rule)
    parameters, activation = 4 * 4 * 32 * 32, 4 * 16 * 32
    stored = {"outputs": 4, "pairs": 2 + 2 / workers}[split] + 1  # inputs of four layers, and the residual
    for memory in memory_of(result.trace).values():
        held = memory.peak_bytes_of
        assert [held[name] for name in ("weights", "gradient", "optimizer state")] == [parameters // workers] * 3
        assert held["activations"] == stored * activation


@SPLITS
def test_what_is_said_to_be_held_equals_the_tensors_note_by_note(split):
    momentum = {"kind": "sgd", "lr": 0.1, "momentum": 0.5}
    settings = {"data": {"kind": "digits"}, "learn": True, "optimizer": momentum, "steps": 2}
    trace = run("tensor_parallel", 2, split=split, **settings).trace
    for rank in range(2):
        assert course_of(trace, rank) == tensors_of(trace, rank)
        assert max(held.total for held in course_of(trace, rank)) == memory_of(trace)[rank].peak_bytes


def test_the_scenario_shows_where_it_pays():
    found = json.loads(golden_path("scenarios/schemes/tensor_parallel.yaml").read_text())
    rate = {name: summary["samples_per_second"] for name, summary in found.items()}
    assert rate["pairs inside a node"] > 2.5 * rate["one worker"]
    assert rate["pairs between nodes"] < 0.5 * rate["pairs inside a node"]
    losses = {round(summary["loss"]["last"], 3) for summary in found.values()}
    assert len(losses) == 1
    held = {name: summary["memory_bytes_per_worker"] for name, summary in found.items()}
    assert held["pairs inside a node"] < 0.5 * held["one worker"]


@pytest.mark.real
@SPLITS
def test_real_runs_give_the_same_bits_bytes_and_messages(split, pool):
    same_in_both(learning("tensor_parallel", workers=3, split=split), pool)


@pytest.mark.real
def test_a_real_transformer_split_by_heads_that_recomputes_equals_the_simulated_one(pool):
    settings = {"model": TRANSFORMER, "data": TEXT, "batch": 4, "learn": True}
    same_in_both(make("tensor_parallel", 2, split="pairs", recompute=True, **settings), pool)
