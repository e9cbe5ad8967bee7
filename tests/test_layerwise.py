"""LARS and LAMB: written out by layers, invariant to the scale of gradients, the same in both runtimes."""

import pytest
import torch

import parasim
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.learning.layerwise import Lamb, Lars
from parasim.learning.tensors import TorchTensors
from parasim.program.layout import Panels, panels
from parasim.scenario import from_document
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import make, weights

XP = TorchTensors("float64")
PANELS = Panels(((0, 12), (12, 15), (15, 20)))


def gradients(count=4):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(20, dtype=torch.float64, generator=generator) for _ in range(count)]


def start():
    """Weights whose third array is zero, as biases are."""
    weights = torch.linspace(-1, 2, 20, dtype=torch.float64)
    weights[15:] = 0
    return weights


def trajectory(rule, grads, scale=1.0):
    w, slots = start(), tuple(torch.zeros(20, dtype=torch.float64) for _ in rule.slots)
    for step, gradient in enumerate(grads):
        rule.update(XP, w, gradient, slots, step, scale)
    return w


def test_lars_is_the_papers_equation_layer_by_layer():
    rule = Lars(0.5, 0.9, 0.01, 0.02, PANELS)
    w, v = start(), torch.zeros(20, dtype=torch.float64)
    for gradient in gradients():
        for start_, stop in PANELS.ranges:
            layer, g = slice(start_, stop), gradient[start_:stop] / 4
            both = w[layer].norm() * g.norm() > 0
            rate = 0.02 * w[layer].norm() / (g.norm() + 0.01 * w[layer].norm()) if both else 1.0
            v[layer] = 0.9 * v[layer] + rate * 0.5 * (g + 0.01 * w[layer])
        w -= v
    assert torch.allclose(trajectory(rule, gradients(), 0.25), w, rtol=1e-13)


def test_lamb_is_adams_direction_with_the_layers_length():
    rule = Lamb(0.1, 0.8, 0.9, 1e-6, 0.01, PANELS)
    w, m, s = start(), *torch.zeros(2, 20, dtype=torch.float64)
    for step, gradient in enumerate(gradients()):
        m, s = 0.8 * m + 0.2 * gradient, 0.9 * s + 0.1 * gradient**2
        u = m / (1 - 0.8 ** (step + 1)) / ((s / (1 - 0.9 ** (step + 1))).sqrt() + 1e-6) + 0.01 * w
        for start_, stop in PANELS.ranges:
            layer = slice(start_, stop)
            both = w[layer].norm() * u[layer].norm() > 0
            w[layer] -= 0.1 * (w[layer].norm() / u[layer].norm() if both else 1.0) * u[layer]
    assert torch.allclose(trajectory(rule, gradients()), w, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 0.125, 3.0, 1e5])
def test_the_step_of_lars_does_not_depend_on_the_scale_of_gradients(factor):
    """With delta 0; of arrays that are not zero."""
    rule, nonzero = Lars(0.5, 0.9, 0.0, 0.02, Panels(((0, 12), (12, 15)))), slice(0, 15)
    plain, scaled = (trajectory(rule, [factor_ * g for g in gradients()]) for factor_ in (1.0, factor))
    assert torch.allclose(plain[nonzero], scaled[nonzero], rtol=1e-12, atol=0)
    decayed = Lars(0.5, 0.9, 0.1, 0.02, Panels(((0, 12), (12, 15))))
    one, other = (trajectory(decayed, [factor_ * g for g in gradients()]) for factor_ in (1.0, factor))
    assert not torch.allclose(one[nonzero], other[nonzero], rtol=1e-12, atol=0)


def test_panels_are_the_arrays_of_a_part_and_never_a_piece_of_one():
    model = make("allreduce", 2, model={"kind": "mlp", "width": 8, "depth": 2}, data={"kind": "digits"}).workload.model
    assert panels(model.whole).ranges == ((0, 512), (512, 592))
    assert panels(model.part(1, 2)).ranges == ((0, 80),)
    assert panels(model.whole, (512, 592)).ranges == ((0, 80),)
    cnn = make("allreduce", 2, model={"kind": "lenet5"}, data={"kind": "digits"}).workload.model
    assert panels(cnn.whole).ranges[:3] == ((0, 150), (150, 156), (156, 2556))  # 6 filters of 5 x 5, biases, 16 of 6
    with pytest.raises(ValueError, match="cut an array"):
        panels(model.whole, (0, 100))


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_layers_are_the_same_however_the_model_is_cut(rule):
    """A pipeline, whose stages update their own layers, moves the weights as one worker does."""
    pin_threads()
    options = {"steps": 4, "optimizer": {"kind": rule, "lr": 0.5 if rule == "lars" else 0.01}}
    one = weights(parasim.simulate(learning("sequential", 1, **options)), range(1))
    cut = weights(parasim.simulate(learning("layerwise", 3, **options)), range(3))
    assert torch.equal(one, cut)


def test_replicas_and_a_server_agree_with_one_worker_at_the_same_batch():
    pin_threads()
    options = {"steps": 4, "optimizer": {"kind": "lars", "lr": 1.0, "trust": 0.02}}
    one = weights(parasim.simulate(learning("allreduce", 2, **options)), range(1))
    server = weights(parasim.simulate(learning("parameter_server", 3, **options)), range(2, 3))
    assert torch.allclose(one, server, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "hosts", "options", "remedy"),
    [
        ("zero", 4, {}, "replicas: 4"),
        ("parameter_server", 4, {"servers": 2}, "servers: 1"),
        ("downpour", 4, {"servers": 2}, "servers: 1"),
        ("backup_workers", 6, {"servers": 2, "backups": 1}, "servers: 1"),
        ("tensor_parallel", 2, {}, "allreduce"),
        ("grid", 2, {"groups": 2}, "allreduce"),
        ("hogwild", 1, {"workers": 2}, "sgd, adagrad or adam"),
        ("eamsgd", 3, {}, "momentum: 0"),
        ("dni", 2, {}, "gradients: oracle"),
    ],
)
def test_who_can_not_know_the_norms_of_layers_is_told_what_to_do(kind, hosts, options, remedy):
    for rule in ("lars", "lamb"):
        with pytest.raises(ScenarioError, match=remedy) as error:
            make(kind, hosts, optimizer={"kind": rule}, **options)
        assert str(error.value).startswith(f"document: optimizer.kind: {rule} needs norms of whole layers")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["allreduce", "downpour", "gpipe", "adpsgd", "easgd", "sgp", "pipedream", "bmuf"])
def test_who_holds_whole_layers_updates_them(kind):
    workers = {"pipedream": 4}.get(kind, 0)
    parasim.simulate(make(kind, 4, steps=1, optimizer={"kind": "lars"}, workers=workers))


@pytest.mark.real
def test_lars_with_warm_up_and_a_growing_batch_is_the_same_in_both_runtimes(pool):
    case = learning("allreduce", 2, 8, {"kind": "lars", "lr": 2.0, "trust": 0.02, "schedule": {
        "kind": "polynomial", "by": "samples", "warmup": 64, "scaling": "linear", "reference_batch": 32}})  # fmt: skip
    document = {**case.document}
    document["workload"] = {**document["workload"], "batch_growth": {"by": "samples", "at": [96, 200]}}
    case = from_document(document)
    assert case.workload.batches.sizes == (16, 32, 64)
    real = same_in_both(case, pool)
    assert real.summary["samples_per_second"] * real.summary["seconds"] == pytest.approx(2 * (3 + 2 * 2 + 3 * 4) * 16)


@pytest.mark.real
def test_lamb_at_a_server_is_the_same_in_both_runtimes(pool):
    rule = {"kind": "lamb", "lr": 0.02, "schedule": {"kind": "step", "at": [2, 4], "warmup": 1}}
    same_in_both(learning("parameter_server", 3, 6, rule), pool)
