"""Update rules against torch.optim, their exactness and their cost."""

import pytest
import torch

from parasim.errors import ScenarioError
from parasim.learning.build import make_optimizer, pin_threads
from parasim.learning.optimizers import OPTIMIZERS, Adagrad, Adam, Sgd
from parasim.learning.tensors import TorchTensors
from parasim.program.tensors import CountingTensors, Shape

XP = TorchTensors("float64")
N = 33


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def gradients(count):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(N, dtype=torch.float64, generator=generator) for _ in range(count)]


def trajectory(rule, grads, scale=1.0):
    """Weights after updates with these gradients, each scaled."""
    weights = torch.linspace(-1, 1, N, dtype=torch.float64)
    slots = tuple(torch.zeros(N, dtype=torch.float64) for _ in rule.slots)
    for step, gradient in enumerate(grads):
        rule.update(XP, weights, gradient, slots, step, scale)
    return weights


def reference(optimizer, options, grads, scale=1.0):
    weights = torch.linspace(-1, 1, N, dtype=torch.float64).requires_grad_()
    rule = optimizer([weights], **options)
    for gradient in grads:
        weights.grad = gradient * scale
        rule.step()
    return weights.detach()


CASES = [
    (Sgd(0.1), torch.optim.SGD, {"lr": 0.1}),
    (Sgd(0.1, weight_decay=0.01), torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    (Sgd(0.1, momentum=0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (Sgd(0.1, 0.9, weight_decay=0.02), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02}),
    (Sgd(0.1, 0.9, nesterov=True), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (
        Sgd(0.1, 0.8, True, 0.03),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.03},
    ),
    (Adagrad(0.05), torch.optim.Adagrad, {"lr": 0.05}),
    (Adagrad(0.05, eps=1e-3), torch.optim.Adagrad, {"lr": 0.05, "eps": 1e-3}),
    (Adam(), torch.optim.Adam, {}),
    (Adam(0.02, 0.8, 0.95, 1e-4), torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4}),
]


@pytest.mark.parametrize(("rule", "optimizer", "options"), CASES, ids=[repr(case[0]) for case in CASES])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_equals_torch(rule, optimizer, options, scale):
    grads = gradients(12)
    ours, theirs = trajectory(rule, grads, scale), reference(optimizer, options, grads, scale)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("rule", "optimizer", "options"), CASES, ids=[repr(case[0]) for case in CASES])
def test_a_shard_is_updated_as_the_whole_and_the_gradient_is_left_alone(rule, optimizer, options):
    grads = gradients(3)
    before = [gradient.clone() for gradient in grads]
    whole = trajectory(rule, grads)
    assert all(torch.equal(gradient, copy) for gradient, copy in zip(grads, before, strict=True))
    weights = torch.linspace(-1, 1, N, dtype=torch.float64)
    slots = tuple(torch.zeros(N, dtype=torch.float64) for _ in rule.slots)
    for step, gradient in enumerate(grads):
        for start, stop in ((0, 5), (5, 22), (22, N)):
            views = tuple(slot[start:stop] for slot in slots)
            rule.update(XP, weights[start:stop], gradient[start:stop], views, step, 1.0)
    assert torch.equal(weights, whole)


def test_plain_sgd_is_exact_with_powers_of_two():
    weights = torch.arange(8, dtype=torch.float64)
    Sgd(0.25).update(XP, weights, torch.full((8,), 3.0, dtype=torch.float64), (), 0, 0.5)
    assert weights.tolist() == [i - 0.375 for i in range(8)]


def test_cost_of_plain_sgd_is_one_scaled_addition():
    xp = CountingTensors(4)
    Sgd(0.1).update(xp, Shape(100, 4), Shape(100, 4), (), 0, 1.0)
    assert (xp.flops, xp.nbytes) == (200.0, 1200.0)


@pytest.mark.parametrize("rule", [Sgd(0.1, 0.9, True, 0.1), Adagrad(), Adam()])
def test_cost_is_counted_on_shapes_and_does_not_depend_on_the_step(rule):
    costs = []
    for step in (0, 1, 1000):
        xp = CountingTensors(4)
        rule.update(xp, Shape(10, 4), Shape(10, 4), tuple(Shape(10, 4) for _ in rule.slots), step, 0.5)
        costs.append((xp.flops, xp.nbytes))
    assert costs[0] == costs[1] == costs[2]
    assert costs[0][0] >= 40.0


def test_made_by_kind():
    assert make_optimizer("sgd", {"lr": 0.5, "momentum": 0.9}) == Sgd(0.5, 0.9)
    assert {kind: type(make_optimizer(kind, {})) for kind in OPTIMIZERS} == OPTIMIZERS


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("sdg", {}, ["did you mean 'sgd'", "adagrad, adam, lamb, lars, sgd"]),
        ("sgd", {"rate": 1}, ["'rate'", "lr"]),
        ("sgd", {"momentum": 1.0}, ["momentum", "less than 1"]),
        ("sgd", {"lr": 0}, ["lr", "greater than 0"]),
        ("sgd", {"nesterov": True}, ["nesterov", "momentum"]),
    ],
)
def test_errors_name_what_is_known(kind, options, words):
    with pytest.raises(ScenarioError) as error:
        make_optimizer(kind, options)
    for word in words:
        assert word in str(error.value)
