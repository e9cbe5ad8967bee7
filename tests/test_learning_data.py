"""Data sets and the order of their samples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from parasim.learning.build import make_learner, pin_threads
from parasim.learning.data import load_data
from parasim.learning.dataset import Sampler
from parasim.workload import build_data


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 30), batch=st.integers(1, 40), workers=st.integers(1, 4), steps=st.integers(1, 6))
def test_workers_see_the_sequential_mini_batch_and_epochs_are_permutations(samples, batch, workers, steps):
    sampler, total = Sampler(samples, seed=3), batch * workers
    sequence = []
    for step in range(steps):
        shares = [sampler.take(step, i * batch, (i + 1) * batch, total) for i in range(workers)]
        whole = sampler.take(step, 0, total, total)
        assert torch.equal(torch.cat(shares), whole)
        sequence += whole.tolist()
    for epoch in range(len(sequence) // samples):
        assert sorted(sequence[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_order_depends_on_seed_and_epoch_only():
    first, again, other = Sampler(100, 1), Sampler(100, 1), Sampler(100, 2)
    late = again.take(50, 0, 10, 10)  # asked in another order, with epochs dropped from the cache between
    for step in range(200):
        again.take(step, 0, 10, 10)
    assert torch.equal(first.take(50, 0, 10, 10), late)
    assert torch.equal(again.take(3, 0, 10, 10), first.take(3, 0, 10, 10))
    assert not torch.equal(first.take(0, 0, 100, 100), other.take(0, 0, 100, 100))
    assert not torch.equal(first.take(0, 0, 100, 100), first.take(1, 0, 100, 100))


def test_batch_of_another_size_walks_the_same_sequence():
    sampler = Sampler(17, 0)
    by_four = torch.cat([sampler.take(step, 0, 4, 4) for step in range(15)])
    by_twelve = torch.cat([sampler.take(step, 0, 12, 12) for step in range(5)])
    assert torch.equal(by_four, by_twelve)


def test_digits_are_scikit_learns():
    data = load_data("digits", {}, torch.float32)
    images, labels = load_digits(return_X_y=True)
    assert data.held_out_targets.tolist() == labels[::5].tolist()
    np.testing.assert_array_equal(data.held_out_inputs.numpy() * 16, images[::5])
    np.testing.assert_array_equal(data.inputs[:4].numpy() * 16, images[1:5])
    assert len(data.inputs) == 1437


@pytest.mark.parametrize("kind", ["digits", "classification", "regression", "quadratic"])
def test_values_have_the_sizes_described(kind):
    spec, data = build_data(kind, {}), load_data(kind, {}, torch.float64)
    assert data.spec == spec
    assert data.inputs.shape == (spec.samples, spec.input_elements)
    assert data.inputs.dtype == torch.float64
    if kind != "quadratic":
        assert data.held_out_inputs.shape == (spec.held_out, spec.input_elements)
        assert len(data.targets) == spec.samples
        assert len(data.held_out_targets) == spec.held_out
    if spec.kind == "classification":
        assert set(data.targets.tolist()) == set(range(spec.output_elements))


@pytest.mark.parametrize("kind", ["classification", "regression", "quadratic"])
def test_synthetic_data_are_keyed_by_their_own_seed(kind):
    options = {"noise": 1.0} if kind == "quadratic" else {}
    first, again = (load_data(kind, options, torch.float32).inputs for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, load_data(kind, {**options, "seed": 1}, torch.float32).inputs)


def test_integer_regression_is_a_linear_map_of_small_integers():
    data = load_data("regression", {"integers": True}, torch.float64)
    assert set(data.inputs.flatten().tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    slopes = torch.linalg.lstsq(data.inputs, data.targets).solution
    torch.testing.assert_close(slopes, slopes.round(), rtol=0, atol=1e-12)
    assert torch.equal(data.inputs @ slopes.round(), data.targets)


def test_noise_of_regression_is_what_was_asked():
    data = load_data("regression", {"noise": 0.5, "samples": 4000}, torch.float64)
    slopes = torch.linalg.lstsq(data.inputs, data.targets).solution
    assert float((data.inputs @ slopes - data.targets).std()) == pytest.approx(0.5, rel=0.05)


def test_quadratic_has_the_spectrum_asked_and_noise_of_mean_zero():
    options = {"dimension": 8, "curvature": 4.0, "condition": 64.0, "noise": 0.5, "samples": 4001}
    data = load_data("quadratic", options, torch.float64)
    eigenvalues = np.linalg.eigvalsh(data.hessian.numpy())
    np.testing.assert_allclose(eigenvalues, np.geomspace(4.0 / 64.0, 4.0, 8), rtol=1e-9)
    np.testing.assert_allclose(data.inputs.mean(0), np.zeros(8), atol=1e-12)
    assert float(data.inputs.std()) == pytest.approx(0.5, rel=0.05)


def test_quadratic_gradient_and_loss_are_the_formulas():
    learner = make_learner("quadratic", {}, "quadratic", {"dimension": 6, "noise": 1.0}, 0, "float64")
    whole, data = learner.model.whole, learner.data
    assert torch.equal(learner.initial(whole), torch.zeros(6, dtype=torch.float64))
    w = torch.linspace(-1, 1, 6, dtype=torch.float64)
    ids = learner.samples(0, 0, 5, 5)
    _, saved = learner.forward(whole, w, learner.inputs(ids), ids)
    inputs, gradient = learner.backward(whole, saved, None)
    d = w - data.optimum
    assert inputs is None
    torch.testing.assert_close(gradient, data.hessian @ d + data.inputs[ids].mean(0), rtol=1e-12, atol=1e-12)
    assert learner.loss(w) == pytest.approx(float(0.5 * d @ data.hessian @ d), rel=1e-12)
    assert learner.loss(data.optimum) == 0.0
