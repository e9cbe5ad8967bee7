"""Synthetic gradients: the oracle, models against autograd, exact linear models, order and time (SCHEMES S32)."""

import pytest
import torch

from parasim import closed_form
from parasim.errors import ProgramError
from parasim.learning.build import make_learner, pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.metrics.memory import course_of, tensors_of
from parasim.program.tensors import CountingTensors, Shape
from parasim.schemes.synthetic import GradientModel
from tests.decoupled_setup import FREE, LEARNING, UNIT, golden, passes
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import initial_weights, make, run, steady, updates_of, weights

KINDS = ({}, {"labels": True}, {"layers": 2, "hidden": 8, "labels": True, "late": 0})


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def final(kind, modules, **settings):
    return weights(run(kind, modules, **{**LEARNING, **settings}), range(modules))


# what is computed ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", [{"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adam", "lr": 0.01}])
@pytest.mark.parametrize("modules", [1, 2, 4])
def test_with_an_oracle_it_is_back_propagation_in_every_bit(modules, rule):
    found = final("dni", modules, gradients="oracle", steps=6, optimizer=rule)
    assert torch.equal(found, final("sequential", 1, steps=6, optimizer=rule))


@pytest.mark.parametrize("options", KINDS)
def test_the_first_update_moves_the_last_module_alone(options):
    """Models start with a zero output layer."""
    scenario, modules = make("dni", 3, **{**LEARNING, **options}), 3
    start, moved = initial_weights(scenario), final("dni", modules, steps=1, **options)
    last = scenario.scheme.parts(scenario.workload.model)[-1]
    assert torch.equal(moved[: last.offset], start[: last.offset])
    first = final("sequential", 1, steps=1)
    assert torch.equal(moved[last.offset :], first[last.offset :])
    assert not torch.equal(final("dni", modules, steps=4, **options)[: last.offset], start[: last.offset])


def autograd(model, theta, h, labels, target):
    """The mean over samples of ``|prediction - true gradient|^2 / 2``, and the prediction."""
    theta = theta.clone().requires_grad_()
    pieces, place = [], 0
    for rows, columns in model.shapes:
        pieces.append(theta[place : place + rows * columns].view(rows, columns))
        place += rows * columns
    x = h @ pieces.pop(0) + (labels @ pieces.pop(0) if model.labels else 0)
    for piece in pieces:
        x = torch.relu(x) @ piece
    samples = len(h)
    loss = ((x - samples * target) ** 2).sum() / 2 / samples
    return x.detach() / samples, torch.autograd.grad(loss, theta)[0]


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_models_of_gradients_equal_autograd(layers, labels):
    xp, model, samples = TorchTensors("float64"), GradientModel(5, labels, layers, 4), 6
    draw = torch.Generator().manual_seed(layers)
    theta, h, y, target = (
        torch.randn(size, generator=draw, dtype=torch.float64)
        for size in ((model.elements,), (samples, 5), (samples, labels or 1), (samples, 5))
    )
    given = [h.flatten(), *([y.flatten()] if labels else [])]
    prediction, slope = autograd(model, theta, h, y, target)
    found = torch.zeros_like(theta)
    model.gradient(xp, found, theta, target.flatten(), *given, samples=samples)
    torch.testing.assert_close(model.predict(xp, theta, *given, samples=samples).view(samples, 5), prediction)
    torch.testing.assert_close(found, slope)


def test_prices_of_models_are_their_multiplications():
    """``2 b n m`` FLOP for each matrix; of a training step thrice, less what nobody needs of the inputs."""
    model, samples = GradientModel(20, 10, 1, 30), 8
    given = (Shape(samples * 20, 4), Shape(samples * 10, 4))
    forward, training = CountingTensors(), CountingTensors()
    model.predict(forward, Shape(model.elements, 4), *given, samples=samples)
    theta = Shape(model.elements, 4)
    model.gradient(training, theta, theta, Shape(samples * 20, 4), *given, samples=samples)
    products = 2 * samples * model.elements
    assert products <= forward.flops < 1.1 * products
    assert training.flops == pytest.approx(products * 2 + 2 * samples * 30 * 20, rel=0.1)


def test_a_linear_model_that_knows_the_labels_becomes_exact_on_a_linear_network():
    """With the squared loss the gradient is linear in outputs and labels: ``(h W' - y) W / b``."""
    xp, model, samples = TorchTensors("float64"), GradientModel(4, 3, 0, 1), 64
    draw = torch.Generator().manual_seed(1)
    h, y, w = (torch.randn(s, generator=draw, dtype=torch.float64) for s in ((samples, 4), (samples, 3), (3, 4)))
    target, theta = (h @ w.T - y) @ w / samples, torch.zeros(model.elements, dtype=torch.float64)
    errors = []
    for _ in range(600):
        slope = torch.zeros_like(theta)
        model.gradient(xp, slope, theta, target.flatten(), h.flatten(), y.flatten(), samples=samples)
        theta -= 0.4 * slope
        found = model.predict(xp, theta, h.flatten(), y.flatten(), samples=samples)
        errors.append(float((found - target.flatten()).norm()))
    assert errors[-1] < 1e-12 < 1e-3 < errors[0]
    blind = GradientModel(4, 0, 0, 1)
    assert blind.elements == 16


def test_labels_are_ones_for_the_class_or_the_targets_themselves():
    learner = make_learner("mlp", {"width": 8}, "digits", {}, 0, "float64")
    samples = learner.samples(0, 0, 5, 5)
    found = learner.labels(samples).view(5, 10)
    assert torch.equal(found.argmax(1), learner.data.targets[samples])
    assert torch.equal(found.sum(1), torch.ones(5, dtype=torch.float64))
    learner = make_learner("mlp", {"width": 8}, "regression", {"inputs": 4, "outputs": 3}, 0, "float64")
    samples = learner.samples(0, 0, 5, 5)
    assert torch.equal(learner.labels(samples).view(5, 3), learner.data.targets[samples])
    learner = make_learner("quadratic", {}, "quadratic", {}, 0, "float64")
    with pytest.raises(ProgramError, match="have no labels"):
        learner.labels(learner.samples(0, 0, 2, 2))


# order, memory and time ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("gradients", ["synthetic", "oracle"])
def test_nothing_is_stale(gradients):
    result = run("dni", 3, steps=6, gradients=gradients)
    for k in range(3):
        assert updates_of(result, k) == [(-1, j, j) for j in range(6)]
        assert [(row.label, row.step) for row in passes(result, k)] == [
            (label, j) for j in range(6) for label in ("forward", "backward")
        ]


@pytest.mark.parametrize("options", KINDS)
def test_what_is_said_to_be_held_equals_the_tensors_note_by_note(options):
    trace = run("dni", 3, **{**LEARNING, **options, "steps": 5}).trace
    for rank in range(3):
        assert course_of(trace, rank) == tensors_of(trace, rank)


def test_modules_compute_at_once_on_fast_links():
    """``T = max_k (F_k + B_k)`` where models cost nothing beside: three times as fast with three modules."""
    form = closed_form(make("dni", 3, model=UNIT, batch=1, **FREE)).seconds_per_step
    assert form == pytest.approx(12, rel=1e-6)
    assert steady("dni", 3, steps=12, model=UNIT, batch=1, **FREE)[0] == pytest.approx(form, rel=1e-6)
    locked = steady("dni", 3, steps=12, model=UNIT, batch=1, gradients="oracle", **FREE)[0]
    assert locked == pytest.approx(36, rel=1e-6)


@pytest.mark.parametrize("gradients", ["synthetic", "oracle"])
@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize("modules", [1, 2, 3])
def test_closed_form_bounds_the_time(modules, bandwidth, gradients):
    model = {"kind": "mlp", "width": 32, "depth": 6}
    options = {"model": model, "bandwidth": bandwidth, "gradients": gradients, "labels": True, "layers": 1}
    form, met = closed_form(make("dni", modules, **options)), steady("dni", modules, steps=12, **options)
    assert form.exact == (modules == 1)
    assert 1 - 1e-9 < met[0] / form.seconds_per_step < (1.6 if modules > 1 else 1 + 1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))


def test_outcomes_that_the_scenario_expects():
    last = {variant: loss["last"] for variant, loss in golden("dni", "loss").items()}
    seconds = golden("dni", "seconds_per_step")
    assert last["oracle"] < last["cDNI of 2"] < last["DNI of 2"] < last["DNI"] < 1
    assert last["cDNI of 2"] < last["cDNI"] < last["DNI"]
    assert 0.6 < seconds["DNI"] / seconds["oracle"] < 0.75
    assert seconds["DNI"] < seconds["cDNI"] < 0.8 * seconds["oracle"]


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("options", [{"labels": True, "layers": 1}, {"gradients": "oracle"}])
def test_real_runs_equal_simulated_ones(pool, options):
    same_in_both(learning("dni", 3, **options), pool)
