"""Pipe-SGD is SGD with a delay of one; gradient accumulation is SGD of the whole mini-batch: both exactly."""

import pytest
import torch

from parasim.learning.build import make_learner, pin_threads
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, updates_of, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, RULES, closed_form, meets, ratio


def exact(kind, hosts, model="two layers", steps=2, **settings):
    pin_threads()
    model, _ = EXACT_MODELS[model]
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


# Pipe-SGD ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_pipe_sgd_is_sgd_with_a_delay_of_one(steps):
    """Gradient t is taken after the update with gradient t - 2, so at w(t-1) where w counts updates."""
    pin_threads()
    options = {"model": EXACT_MODELS["one layer"][0], "data": EXACT_DATA, "dtype": "float64", "batch": 4}
    result = exact("pipe_sgd", 4, "one layer", steps, batch=4)
    expected = delayed_by_one(make("pipe_sgd", 4, **options), steps, 16, 0.125)
    for rank in range(4):
        assert torch.equal(weights(result, range(rank, rank + 1)), expected)


def delayed_by_one(scenario, steps, batch, rate):
    """The recursion written out: gradient t at what there is after t - 1 updates (at the start for t = 0 and 1)."""
    work = scenario.workload
    learner = make_learner(work.model_kind, work.model_options, work.data_kind, work.data_options, 0, work.dtype)
    whole = learner.model.whole
    iterates, gradients = [learner.initial(whole)], []
    for step in range(steps):
        samples = learner.samples(step, 0, batch, batch)
        _, saved = learner.forward(whole, iterates[max(0, step - 1)], learner.inputs(samples), samples)
        gradients.append(learner.backward(whole, saved, None)[1])
        iterates.append(iterates[-1] - rate * gradients[-1])
    return iterates[-1]


def test_every_gradient_but_the_first_is_one_update_old():
    result = run("pipe_sgd", 3, steps=5)
    for rank in range(3):
        assert [(read, applied) for _, read, applied in updates_of(result, rank)] == [(0, 0)] + [
            (version - 1, version) for version in range(1, 5)
        ]
    assert result.summary["bytes_sent_per_worker_per_step"] == pytest.approx(2 * 4 * 4096 * 2 / 3, rel=1e-3)


@pytest.mark.parametrize("bandwidth", [1e7, 1e8, 1e10])
@pytest.mark.parametrize("rule", RULES)
def test_closed_form_of_pipe_sgd_is_the_longer_of_two(rule, bandwidth):
    """Exact with a core for additions; with one, they take at most their own time more."""
    options = {"model": LAYERS, "bandwidth": bandwidth, "optimizer": rule}
    meets("pipe_sgd", 4, steps=3, cores=2, **options)
    assert 1 - 1e-9 < ratio("pipe_sgd", 4, steps=3, **options) < 1.1


# accumulation --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("micros", [1, 2, 4])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_accumulation_is_sequential_sgd_of_the_whole_batch(micros, workers):
    whole = weights(exact("sequential", 1, batch=16), range(1))
    result = exact("accumulation", workers, batch=16 // workers, micro_batches=micros)
    for rank in range(workers):
        assert torch.equal(weights(result, range(rank, rank + 1)), whole)


def test_accumulation_moves_the_bytes_of_one_exchange():
    """Per sample an m-th of those of an exchange per micro-batch (SCHEMES S4.3), and an m-th of the activations."""
    accumulated = run("accumulation", 4, batch=64, micro_batches=4).summary
    at_once, often = (run("allreduce", 4, batch=batch, overlap=False).summary for batch in (64, 16))
    assert accumulated["bytes_sent_per_worker_per_step"] == at_once["bytes_sent_per_worker_per_step"]
    per_sample = [s["bytes_sent_per_worker_per_step"] / batch for s, batch in ((accumulated, 64), (often, 16))]
    assert per_sample[0] == per_sample[1] / 4
    assert accumulated["memory_bytes_per_worker"] == often["memory_bytes_per_worker"]
    assert accumulated["memory_bytes_per_worker"] < at_once["memory_bytes_per_worker"]


@pytest.mark.parametrize("micros", [1, 4])
@pytest.mark.parametrize("algorithm", ["ring", "rabenseifner"])
def test_closed_form_of_accumulation_is_exact(algorithm, micros):
    meets("accumulation", 4, model=LAYERS, micro_batches=micros, algorithm=algorithm, optimizer=RULES[1])
    assert closed_form(make("accumulation", 4, algorithm="native")) is None


def test_micro_batches_must_be_equal():
    with pytest.raises(ValueError, match="batch_size 16 is no multiple of micro_batches 3"):
        make("accumulation", 4, micro_batches=3)


def test_scenarios_have_their_expected_outcomes():
    seconds, losses = golden("schemes_pipe_sgd"), golden("schemes_pipe_sgd", "loss")
    assert seconds["delay 1"] < 0.7 * seconds["synchronous"]
    assert losses["delay 1"]["last"] == pytest.approx(losses["synchronous"]["last"], rel=0.25)
    losses, memory = (golden("schemes_accumulation", figure) for figure in ("loss", "memory_bytes_per_worker"))
    sent = golden("schemes_accumulation", "bytes_sent_per_worker_per_step")
    assert losses["accumulated"]["last"] == pytest.approx(losses["at once"]["last"], rel=1e-4)
    assert memory["accumulated"] == memory["an exchange per micro-batch"] < 0.8 * memory["at once"]
    assert sent["accumulated"] == sent["at once"] == sent["an exchange per micro-batch"]


@pytest.mark.real
@pytest.mark.parametrize(("kind", "options"), [("pipe_sgd", {"workers": 2}), ("accumulation", {"workers": 2})])
def test_real_runs_give_the_same_bits(kind, options, pool):
    same_in_both(learning(kind, **options), pool)
