"""Training: exact equality of split and whole mini-batches, determinism, and that networks learn."""

import pytest
import torch

from parasim.errors import ProgramError
from parasim.learning.build import make_learner, make_optimizer, pin_threads

# as many steps as 53 bits can hold: layers multiply the bits of a number
EXACT = [
    ("mlp", {"depth": 1, "initial": "exact"}, 6),
    ("mlp", {"depth": 2, "width": 8, "activation": "linear", "initial": "exact"}, 2),
    ("mlp", {"depth": 2, "width": 8, "activation": "relu", "initial": "exact"}, 2),
    ("cnn", {"channels": 1, "activation": "linear", "initial": "exact"}, 1),
]
INTEGERS = {"inputs": 16, "outputs": 4, "integers": True}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def gradient(learner, weights, ids):
    whole = learner.model.whole
    _, saved = learner.forward(whole, weights, learner.inputs(ids), ids)
    return learner.backward(whole, saved, None)[1]


def train(learner, rule, steps, batch, workers=1, order=1):
    """Synchronous SGD: the mini-batch is split among workers, whose gradients are added up in some order."""
    weights = learner.initial(learner.model.whole)
    slots = tuple(torch.zeros_like(weights) for _ in rule.slots)
    share = batch // workers
    for step in range(steps):
        total = torch.zeros_like(weights)
        for i in range(workers)[::order]:
            total += gradient(learner, weights, learner.samples(step, i * share, (i + 1) * share, batch))
        rule.update(learner.tensors, weights, total, slots, step, 1.0 / workers)
    return weights


@pytest.mark.parametrize(("model", "options", "steps"), EXACT)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_split_and_whole_mini_batch_agree_in_every_bit(model, options, steps, momentum):
    rule = make_optimizer("sgd", {"lr": 0.125, "momentum": momentum})
    learner = make_learner(model, options, "regression", INTEGERS, 4, "float64")
    whole = train(learner, rule, steps, 16)
    assert not torch.equal(whole, learner.initial(learner.model.whole))
    for workers in (2, 4, 16):
        for order in (1, -1):
            assert torch.equal(train(learner, rule, steps, 16, workers, order), whole)


def test_quadratic_is_exact_with_integers():
    rule = make_optimizer("sgd", {"lr": 0.125})
    options = {"dimension": 8, "integers": True, "noise": 2.0}
    learner = make_learner("quadratic", {}, "quadratic", options, 0, "float64")
    whole = train(learner, rule, 6, 8)
    assert torch.equal(train(learner, rule, 6, 8, workers=4, order=-1), whole)
    diagonal = torch.diagonal(learner.data.hessian)
    assert torch.equal(torch.log2(diagonal), torch.log2(diagonal).round())
    assert bool(learner.data.inputs.any())


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_accumulated_micro_batches_equal_the_mini_batch_to_rounding(model):
    learner = make_learner(model, {}, "digits", {}, 0, "float32")
    weights = learner.initial(learner.model.whole)
    whole = gradient(learner, weights, learner.samples(0, 0, 32, 32))
    pieces = [gradient(learner, weights, learner.samples(0, m * 8, m * 8 + 8, 32)) for m in range(4)]
    torch.testing.assert_close(sum(pieces) / 4, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_same_bits(model, dtype):
    rule = make_optimizer("adam", {})
    first, second = (train(make_learner(model, {}, "digits", {}, 7, dtype), rule, 5, 16) for _ in range(2))
    assert torch.equal(first, second)
    other = train(make_learner(model, {}, "digits", {}, 8, dtype), rule, 5, 16)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("model", "options", "lr"), [("mlp", {"width": 64}, 0.5), ("mlp", {"width": 48, "depth": 3}, 0.5), ("cnn", {}, 0.2)]
)
def test_digits_are_learnt_with_plain_sgd(model, options, lr):
    learner = make_learner(model, options, "digits", {}, 0, "float32")
    start = learner.initial(learner.model.whole)
    weights = train(learner, make_optimizer("sgd", {"lr": lr}), 250, 32)
    assert learner.accuracy(start) < 0.3
    assert learner.accuracy(weights) > 0.92
    assert learner.loss(weights) < 0.3 < 2.0 < learner.loss(start)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}), ("adagrad", {"lr": 0.1}), ("adam", {"lr": 0.01})],
)
def test_other_rules_learn_too(optimizer, options):
    learner = make_learner("mlp", {"width": 32}, "classification", {}, 0, "float32")
    weights = train(learner, make_optimizer(optimizer, options), 150, 32)
    assert learner.accuracy(weights) > 0.95


def test_regression_reaches_the_noise():
    learner = make_learner("mlp", {"depth": 1}, "regression", {"noise": 0.1, "outputs": 4}, 0, "float64")
    weights = train(learner, make_optimizer("sgd", {"lr": 0.1}), 400, 64)
    assert learner.loss(weights) == pytest.approx(4 * 0.5 * 0.1**2, rel=0.25)
    with pytest.raises(ProgramError, match="data regression have no classes"):
        learner.accuracy(weights)


def test_quadratic_converges_at_the_rate_of_theory():
    learner = make_learner("quadratic", {}, "quadratic", {"dimension": 4, "condition": 8.0}, 0, "float64")
    weights = train(learner, make_optimizer("sgd", {"lr": 0.5}), 30, 1)
    h, optimum = learner.data.hessian, learner.data.optimum
    contraction = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.5 * h, 30)
    torch.testing.assert_close(weights, optimum - contraction @ optimum, rtol=1e-10, atol=1e-12)
