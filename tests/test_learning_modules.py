"""Operators on torch: against torch's own modules, against the counts of the description, and cut into stages."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from parasim.errors import ProgramError, ScenarioError
from parasim.learning.build import make_learner, pin_threads
from parasim.learning.chains import UnitChain, chain_of
from parasim.learning.data import load_data
from parasim.learning.learner import TorchLearner
from parasim.program.model import Model
from parasim.workload import operators as op
from parasim.workload.zoo.ends import chain
from tests.torch_networks import SelfAttention, network

GPT = ("gpt", {"layers": 2, "hidden": 16, "heads": 4, "tied": False}, "characters", {"sequence": 12})
LENET = ("lenet5", {}, "digits", {})
LSTM = ("lstm", {"layers": 2, "hidden": 8}, "characters", {"sequence": 9})
RESNET = ("resnet20", {}, "images", {"size": 8, "classes": 4, "samples": 64})
PROJECTED = ("resnet20", {"shortcut": "B"}, "images", {"size": 8, "channels": 1, "samples": 64})
CASES = {"lenet5": LENET, "resnet20": RESNET, "resnet20 B": PROJECTED, "gpt": GPT, "lstm": LSTM}
WITHOUT_BATCH_NORM = {name: case for name, case in CASES.items() if "resnet" not in name}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def causal_attention(part):
    """Torch's own attention, which looks back only."""

    def forward(x):
        heads = (*x.shape[:2], part.heads, -1)
        joint = nn.functional.linear(x, part.in_proj_weight, part.in_proj_bias)
        q, k, v = (each.view(heads).transpose(1, 2) for each in joint.chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return part.out_proj(mixed.transpose(1, 2).flatten(2))

    return forward


def torch_network(described, parameters, causal):
    """The network out of torch's modules, with these parameters."""
    whole = network(described).to(parameters.dtype)
    for part in whole.modules():
        if causal and isinstance(part, SelfAttention):
            part.forward = causal_attention(part)
    with torch.no_grad():
        nn.utils.vector_to_parameters(parameters, whole.parameters())
    return whole


def described_by(learner):
    """The network that a learner trains."""
    return learner._network


def whole_pass(learner, parameters, ids):
    whole = learner.model.whole
    loss, saved = learner.forward(whole, parameters, learner.inputs(ids), ids)
    inputs, gradient = learner.backward(whole, saved, None)
    assert inputs is None
    return loss, gradient


def perturbed(learner):
    """Initial weights and a little noise, so that no scale is one and no bias zero."""
    parameters = learner.initial(learner.model.whole)
    noise = torch.randn(parameters.shape, generator=torch.Generator().manual_seed(0), dtype=parameters.dtype)
    return parameters + 0.05 * noise


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_equal_those_of_torchs_modules(name):
    learner = make_learner(*CASES[name], seed=1, dtype="float64")
    parameters = perturbed(learner)
    module = torch_network(described_by(learner), parameters, causal=True)
    ids = learner.samples(3, 0, 6, 6)
    inputs, targets = learner.data.inputs[ids], learner.data.targets[ids]
    outputs = module(inputs.view(6, *learner.data.spec.input_shape))
    expected = nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    expected.backward()
    wanted = nn.utils.parameters_to_vector([p.grad for p in module.parameters()])
    loss, gradient = whole_pass(learner, parameters, ids)
    torch.testing.assert_close(loss[0], expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-11)
    assert float(wanted.norm()) > 0.01


IMAGE, SEQUENCE = (4, 9, 7), (6, 8)
PIECES = {
    "groups": (IMAGE, (op.Conv(6, (3, 2), (2, 1), (1, 0), groups=2, bias=False), op.Activate("sigmoid"))),
    "pools": (IMAGE, (op.Pool("max", (3, 3), (2, 2), (1, 1)), op.Pool("average", (2, 2), (1, 1), (1, 1)))),
    "global pool": (IMAGE, (op.GlobalPool(3, 2), op.Flatten(), op.Linear(5, bias=False))),
    "branches": (
        IMAGE,
        (op.Concatenate(((op.Conv(2, (1, 1)),), (op.Conv(3, (3, 3), padding=(1, 1)), op.BatchNorm()))),),
    ),
    "subsample": (IMAGE, (op.Residual((op.Conv(6, (1, 1), (2, 2)),), (op.Subsample(6, 2),)), op.Activate("relu"))),
    "attention": (SEQUENCE, (op.Residual((op.LayerNorm(), op.Attention(2))), op.Activate("gelu"))),
    "segments": (SEQUENCE, (op.Segments(2), op.Positions(9), op.Select("first"), op.Activate("tanh"))),
    "lstm": (SEQUENCE, (op.LSTM(5), op.Select("last"), op.Linear(3), op.Activate("gelu_tanh"))),
}


@pytest.mark.parametrize("name", PIECES)
def test_every_operator_agrees_with_torchs_modules(name):
    shape, operators = PIECES[name]
    described = chain("pieces", shape, [("first", ()), ("second", operators)])
    model = Model("pieces", described.layers(), 8)
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(model.whole.parameters, generator=generator, dtype=torch.float64)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    module = torch_network(described, parameters, causal=False)
    leaf = x.clone().requires_grad_()
    expected = module(leaf)
    seed = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad(expected, [leaf, *module.parameters()], seed)
    units = chain_of(described, None, None)
    part = model.part(1, 2)
    outputs, kept = units.forward(part, parameters, x.view(3, -1))
    flow, gradients = units.backward(part, kept, seed.view(3, -1))
    torch.testing.assert_close(outputs, expected.detach().view(3, -1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flow, wanted[0].reshape(3, -1), rtol=1e-10, atol=1e-12)
    assert len(gradients) == len(wanted) - 1
    for ours, theirs in zip(gradients, wanted[1:], strict=True):
        torch.testing.assert_close(ours, theirs.reshape(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "gpt"])
def test_counts_of_the_description_are_those_of_the_work(name):
    batch = 4
    learner = make_learner(*CASES[name], seed=0, dtype="float32")
    whole = learner.model.whole
    parameters, ids = learner.initial(whole), learner.samples(0, 0, batch, batch)
    module = network(described_by(learner))
    assert whole.parameters == sum(p.numel() for p in module.parameters()) == parameters.numel()
    inputs = learner.inputs(ids)
    with FlopCounterMode(display=False) as forward:
        _, saved = learner.forward(whole, parameters, inputs, ids)
    with FlopCounterMode(display=False) as backward:
        learner.backward(whole, saved, None)
    assert forward.get_total_flops() == batch * whole.forward_flops
    assert backward.get_total_flops() == batch * whole.backward_flops
    with FlopCounterMode(display=False) as theirs:
        module(inputs.view(batch, *learner.data.spec.input_shape)).sum().backward()
    assert theirs.get_total_flops() == batch * (whole.forward_flops + whole.backward_flops)


def cut_pass(learner, parameters, ids, parts):
    """Loss and gradient by parts; what a part was given is overwritten before its backward pass."""
    flow, tape = learner.inputs(ids), []
    for part in parts:
        local = torch.cat([parameters.new_zeros(1), parameters[part.offset : part.offset + part.parameters]])[1:]
        entering = flow
        flow, saved = learner.forward(part, local, entering, ids)
        local.zero_()
        entering.zero_()
        tape.append((part, saved))
    loss, gradient = flow, None
    result = torch.empty_like(parameters)
    for part, saved in reversed(tape):
        gradient, piece = learner.backward(part, saved, gradient)
        result[part.offset : part.offset + part.parameters] = piece
    assert gradient is None
    return loss, result


def test_a_cut_behind_a_view_gives_the_same_bits():
    """With one sample, a chosen token is contiguous but starts anywhere; arithmetic must not depend on that."""
    links = [("choose", (op.Select("last"),)), ("wide", (op.Linear(33),)), ("narrow", (op.Linear(3),))]
    described = chain("view", (5, 7), links)
    model = Model("view", described.layers(), 4)
    units, generator = chain_of(described, None, None), torch.Generator().manual_seed(4)
    x = torch.randn(1, 35, generator=generator)
    parameters, seed = torch.randn(model.whole.parameters, generator=generator), torch.ones(1, 3)
    outputs, kept = units.forward(model.whole, parameters, x)
    _, gradients = units.backward(model.whole, kept, seed)
    flow, tape = x, []
    for part in model.each():
        flow, kept = units.forward(part, parameters[part.offset : part.offset + part.parameters], flow)
        tape.append((part, kept))
    assert torch.equal(flow, outputs)
    pieces, flow = [], seed
    for part, kept in reversed(tape):
        flow, found = units.backward(part, kept, flow)
        pieces = found + pieces
    for ours, theirs in zip(pieces, gradients, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_every_cut_gives_the_same_bits(name, dtype):
    learner = make_learner(*CASES[name], seed=2, dtype=dtype)
    parameters, ids = learner.initial(learner.model.whole), learner.samples(1, 2, 8, 8)
    loss, gradient = whole_pass(learner, parameters, ids)
    for stages in {2, 3, 4, len(learner.model.layers)}:
        parts = learner.model.stages(stages)
        assert torch.equal(torch.cat([learner.initial(part) for part in parts]), parameters)
        cut_loss, cut_gradient = cut_pass(learner, parameters, ids, parts)
        assert torch.equal(cut_loss, loss)
        assert torch.equal(cut_gradient, gradient)


def test_stages_without_parameters():
    links = [("halve", (op.Pool("average", (2, 2), (2, 2)),)), ("flat", (op.Flatten(),)), ("out", (op.Linear(10),))]
    described = chain("bare", (1, 8, 8), links)
    data = load_data("digits", {}, torch.float64)
    learner = TorchLearner(described, Model("bare", described.layers(), 8), data, 0, "float64")
    parameters, ids = learner.initial(learner.model.whole), learner.samples(0, 0, 4, 4)
    loss, gradient = whole_pass(learner, parameters, ids)
    assert gradient.numel() == 16 * 10 + 10
    cut_loss, cut_gradient = cut_pass(learner, parameters, ids, learner.model.each())
    assert torch.equal(cut_loss, loss)
    assert torch.equal(cut_gradient, gradient)


def test_backward_twice_gives_the_same():
    learner = make_learner(*RESNET, seed=2, dtype="float32")
    whole, ids = learner.model.whole, learner.samples(0, 0, 4, 4)
    _, saved = learner.forward(whole, learner.initial(whole), learner.inputs(ids), ids)
    assert torch.equal(learner.backward(whole, saved, None)[1], learner.backward(whole, saved, None)[1])


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_add_up_to_the_mini_batch_but_for_batch_norm(name):
    """A batch's statistics are those of its micro-batch: the gradients of a network with BatchNorm are others."""
    learner = make_learner(*CASES[name], seed=0, dtype="float64")
    parameters = learner.initial(learner.model.whole)
    _, whole = whole_pass(learner, parameters, learner.samples(0, 0, 8, 8))
    pieces = [whole_pass(learner, parameters, learner.samples(0, 4 * m, 4 * m + 4, 8))[1] for m in range(2)]
    distance = float((sum(pieces) / 2 - whole).norm() / whole.norm())
    if name in WITHOUT_BATCH_NORM:
        assert distance < 1e-12
    else:
        assert distance > 0.05


def test_batch_norm_refuses_a_batch_of_one_value_per_channel():
    described = chain("one", (3,), [("norm", (op.BatchNorm(),))])
    model = Model("one", described.layers(), 8)
    with pytest.raises(ProgramError, match="two samples or more"):
        UnitChain(list(described.blocks)).forward(model.whole, torch.ones(6), torch.ones(1, 3))


def test_initial_weights_are_standard_and_keyed_by_unit_and_parameter():
    values = {}
    for name, case in CASES.items():
        learner = make_learner(*case, seed=3, dtype="float64")
        for unit, part in zip(described_by(learner).blocks, learner.model.each(), strict=True):
            parameters = unit.cost.parameters
            pieces = learner.initial(part).split([parameter.elements for parameter in parameters])
            values |= {
                (name, unit.name, p.name): piece.view(p.shape) for p, piece in zip(parameters, pieces, strict=True)
            }

    def deviation(*key):
        return float(values[key].std())

    assert deviation("resnet20", "layer3.1", "0.body.0.weight") == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert deviation("gpt", "embedding", "0.weight") == pytest.approx(0.02, rel=0.1)
    assert deviation("gpt", "block0", "1.body.1.weight") == pytest.approx(0.02, rel=0.1)
    linear = values["lenet5", "c5", "1.weight"]
    bound = (6 / sum(linear.shape)) ** 0.5
    assert 0.99 * bound < float(linear.abs().max()) <= bound
    recurrent = values["lstm", "lstm0", "0.weight_hh_l0"]
    assert 0.9 * 8**-0.5 < float(recurrent.abs().max()) <= 8**-0.5
    assert bool((values["resnet20", "conv1", "1.weight"] == 1).all())
    for key in (("resnet20", "conv1", "1.bias"), ("lenet5", "c1", "0.bias"), ("lstm", "lstm0", "0.bias_hh_l0")):
        assert not bool(values[key].any())
    first, second = (values["gpt", f"block{number}", "1.body.1.weight"] for number in range(2))
    assert not torch.equal(first, second)  # another unit, other draws
    assert not torch.equal(values["lstm", "lstm0", "0.weight_ih_l0"], values["lstm", "lstm0", "0.weight_hh_l0"])
    wider = make_learner("lenet5", {}, "images", {"size": 8, "channels": 1, "classes": 7, "samples": 8}, 3, "float64")
    assert torch.equal(wider.initial(wider.model.each()[2])[: linear.numel()].view(linear.shape), linear)


def test_tied_weights_are_refused():
    with pytest.raises(ScenarioError, match="tied: false"):
        make_learner("gpt", {"layers": 1, "hidden": 8, "heads": 2}, "characters", {}, 0, "float32")


@pytest.mark.parametrize("name", ["lenet5", "gpt"])
def test_evaluation_is_the_mean_over_all_held_out_samples(name):
    """More of them than are evaluated at once."""
    learner = make_learner(*CASES[name], seed=1, dtype="float64")
    data, parameters = learner.data, perturbed(learner)
    assert data.spec.held_out > 250
    module = torch_network(described_by(learner), parameters, causal=True)
    outputs = module(data.held_out_inputs.view(-1, *data.spec.input_shape)).detach().flatten(0, -2)
    targets = data.held_out_targets.flatten()
    assert learner.loss(parameters) == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-12)
    assert learner.accuracy(parameters) == pytest.approx(float((outputs.argmax(1) == targets).double().mean()))
