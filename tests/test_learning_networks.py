"""Networks: gradients against autograd, costs against torch's counter, cuts that change no bit."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from parasim.errors import ProgramError, ScenarioError
from parasim.learning.build import make_learner, pin_threads
from parasim.workload import build_data, build_model

CNN = ("cnn", {"channels": 3}, "digits", {})
MLP = ("mlp", {"width": 20, "depth": 4}, "digits", {})
DEEP_CNN = ("cnn", {"channels": 2, "convolutions": 4}, "digits", {})
CASES = [
    MLP,
    CNN,
    DEEP_CNN,
    ("mlp", {"width": 9, "depth": 3, "activation": "relu"}, "regression", {"inputs": 7, "outputs": 3}),
    ("mlp", {"width": 9, "depth": 2, "activation": "linear"}, "classification", {"inputs": 7, "classes": 3}),
    ("mlp", {"depth": 1}, "regression", {"inputs": 7, "outputs": 3}),
    ("cnn", {"channels": 2, "activation": "tanh"}, "classification", {"inputs": 49, "classes": 3}),
]
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "linear": torch.nn.Identity}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def torch_network(learner, options):
    """The same network out of torch's modules."""
    activation = ACTIVATIONS[options.get("activation", "relu" if "channels" in options else "tanh")]
    modules = []
    if "channels" in options:
        side = round(learner.model.layers[0].input_elements ** 0.5)
        channels = options["channels"]
        modules += [torch.nn.Unflatten(1, (1, side, side)), torch.nn.Conv2d(1, channels, 3, padding=1, bias=False)]
        modules += [activation(), torch.nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)]
        for _ in range(2, options.get("convolutions", 2)):
            modules += [activation(), torch.nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)]
        modules += [activation(), torch.nn.Flatten()]
        layers = learner.model.layers[-1:]
    else:
        layers = learner.model.layers
    for layer in layers:
        modules += [torch.nn.Linear(layer.input_elements, layer.output_elements, bias=False), activation()]
    return torch.nn.Sequential(*modules[:-1]).double()


def set_weights(network, flat):
    """Write flat parameters into the modules."""
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(flat, network.parameters())


def torch_loss(learner, network, ids):
    outputs, targets = network(learner.data.inputs[ids]), learner.data.targets[ids]
    if learner.data.spec.kind == "classification":
        return torch.nn.functional.cross_entropy(outputs, targets)
    return 0.5 * torch.nn.functional.mse_loss(outputs, targets, reduction="sum") / len(ids)


def whole_pass(learner, parameters, ids):
    """Loss and gradient of the whole model."""
    whole = learner.model.whole
    loss, saved = learner.forward(whole, parameters, learner.inputs(ids), ids)
    inputs, gradient = learner.backward(whole, saved, None)
    assert inputs is None
    return loss, gradient


def cut_pass(learner, parameters, ids, parts):
    """Loss and gradient by parts; parameters, inputs and gradients live in vectors that start anywhere."""
    flow, tape = learner.inputs(ids), []
    for part in parts:
        local = parameters[part.offset : part.offset + part.parameters]
        flow, saved = learner.forward(part, local, flow, ids)
        tape.append((part, saved))
    loss, gradient = flow, None
    result = torch.empty_like(parameters)
    for part, saved in reversed(tape):
        gradient, piece = learner.backward(part, saved, gradient)
        result[part.offset : part.offset + part.parameters] = piece
        if gradient is not None:
            gradient = torch.cat([torch.zeros(1, dtype=gradient.dtype), gradient])[1:]
    assert gradient is None
    return loss, result


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_loss_and_gradient_equal_autograd(case):
    learner = make_learner(*case, seed=1, dtype="float64")
    network = torch_network(learner, case[1])
    parameters = learner.initial(learner.model.whole)
    set_weights(network, parameters)
    ids = learner.samples(3, 0, 12, 12)
    expected = torch_loss(learner, network, ids)
    expected.backward()
    wanted = torch.nn.utils.parameters_to_vector([p.grad for p in network.parameters()])
    loss, gradient = whole_pass(learner, parameters, ids)
    torch.testing.assert_close(loss[0], expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", [MLP, CNN, DEEP_CNN], ids=["mlp", "cnn", "deep cnn"])
def test_costs_equal_those_torch_counts(case):
    batch = 6
    learner = make_learner(*case, seed=0, dtype="float64")
    whole = build_model(*case[:2], build_data(*case[2:]), 8).whole
    network = torch_network(learner, case[1])
    assert whole.parameters == sum(p.numel() for p in network.parameters())
    ids = learner.samples(0, 0, batch, batch)
    with FlopCounterMode(display=False) as forward:
        loss = torch_loss(learner, network, ids)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert forward.get_total_flops() == batch * whole.forward_flops
    assert backward.get_total_flops() == batch * whole.backward_flops
    with FlopCounterMode(display=False) as ours:
        _, saved = learner.forward(whole, learner.initial(whole), learner.inputs(ids), ids)
        learner.backward(whole, saved, None)
    assert ours.get_total_flops() == batch * (whole.forward_flops + whole.backward_flops)
    kept = [*saved.kept.inputs, saved.residual]
    assert sum(tensor.numel() for tensor in kept) == batch * whole.stored_elements


def test_cost_of_the_survey_network_equals_what_torch_counts():
    model = build_model("mlp", {"width": 16, "depth": 3}, None, 4)
    modules = [torch.nn.Linear(16, 16, bias=False) for _ in range(3)]
    x = torch.ones(5, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        torch.nn.Sequential(*modules)(x).sum().backward()
    assert counter.get_total_flops() == 5 * (model.whole.forward_flops + model.whole.backward_flops)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_cut_gives_the_same_bits(case, dtype):
    learner = make_learner(*case, seed=2, dtype=dtype)
    whole = learner.model.whole
    parameters = learner.initial(whole)
    ids = learner.samples(1, 3, 14, 20)
    loss, gradient = whole_pass(learner, parameters, ids)
    for stages in range(1, len(learner.model.layers) + 1):
        parts = learner.model.stages(stages)
        assert torch.equal(torch.cat([learner.initial(part) for part in parts]), parameters)
        cut_loss, cut_gradient = cut_pass(learner, parameters, ids, parts)
        assert torch.equal(cut_loss, loss)
        assert torch.equal(cut_gradient, gradient)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_parameters_and_inputs_may_change_before_backward(case):
    learner = make_learner(*case, seed=2, dtype="float64")
    parameters = learner.initial(learner.model.whole)
    ids = learner.samples(0, 0, 8, 8)
    _, expected = whole_pass(learner, parameters, ids)
    tape, flow = [], learner.inputs(ids)
    for part in learner.model.each():
        local = parameters[part.offset : part.offset + part.parameters].clone()
        entering = flow
        flow, saved = learner.forward(part, local, entering, ids)
        leaving = flow.clone()
        local.fill_(float("nan"))
        entering.fill_(float("nan"))
        tape.append((part, saved))
        assert torch.equal(flow, leaving)
    gradient, pieces = None, []
    for part, saved in reversed(tape):
        gradient, piece = learner.backward(part, saved, gradient)
        pieces.insert(0, piece)
    assert torch.equal(torch.cat(pieces), expected)


def test_backward_twice_gives_the_same():
    learner = make_learner(*MLP, seed=2, dtype="float32")
    whole, ids = learner.model.whole, learner.samples(0, 0, 8, 8)
    _, saved = learner.forward(whole, learner.initial(whole), learner.inputs(ids), ids)
    assert torch.equal(learner.backward(whole, saved, None)[1], learner.backward(whole, saved, None)[1])


def test_initial_weights_are_keyed_by_seed_and_layer():
    first, again, other = (make_learner(*MLP, seed=seed, dtype="float32") for seed in (1, 1, 2))
    whole = first.model.whole
    assert torch.equal(first.initial(whole), again.initial(whole))
    assert not torch.equal(first.initial(whole), other.initial(whole))
    second, third = first.model.each()[1:3]  # equal shapes, different names
    assert not torch.equal(first.initial(second), first.initial(third))
    deeper = make_learner("mlp", {"width": 20, "depth": 5}, "digits", {}, 1, "float32")
    assert torch.equal(deeper.initial(deeper.model.each()[1]), first.initial(second))


def test_initial_weights_keep_the_bounds():
    glorot = make_learner("mlp", {"width": 200}, "digits", {}, 0, "float64")
    he = make_learner("mlp", {"width": 200, "activation": "relu"}, "digits", {}, 0, "float64")
    exact = make_learner("mlp", {"width": 200, "initial": "exact"}, "digits", {}, 0, "float64")
    for learner, bound in ((glorot, (6 / 264) ** 0.5), (he, (6 / 64) ** 0.5)):
        weights = learner.initial(learner.model.each()[0])
        assert 0.99 * bound < float(weights.abs().max()) <= bound
        assert abs(float(weights.mean())) < 0.02 * bound
    assert set(exact.initial(exact.model.whole).tolist()) == {-1.0, 0.0, 1.0}


def test_misuse_is_named():
    learner = make_learner(*MLP, seed=0, dtype="float32")
    first, *_, last = learner.model.each()
    ids = learner.samples(0, 0, 2, 2)
    _, saved = learner.forward(first, learner.initial(first), learner.inputs(ids), ids)
    with pytest.raises(ProgramError, match="backward of linear0 was given no gradient"):
        learner.backward(first, saved, None)
    with pytest.raises(ProgramError, match="backward of linear3 was given a gradient"):
        learner.backward(last, saved, torch.zeros(20))
    other = build_model("mlp", {"width": 21, "depth": 4}, build_data("digits", {}), 4)
    with pytest.raises(ProgramError, match="build both from the same options"):
        learner.initial(other.whole)
    with pytest.raises(ScenarioError, match="'float16'; use one of float32, float64"):
        make_learner(*MLP, seed=0, dtype="float16")
    with pytest.raises(ScenarioError, match="costs but no network"):
        make_learner("layers", {"layers": [{"output_elements": 10}]}, "digits", {}, 0, "float32")
