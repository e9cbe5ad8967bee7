"""Values on the device they are asked for; "meta" stands for one that the CPU's tensors can't be mixed with."""

import pytest

from parasim.learning.build import make_learner, make_optimizer
from parasim.learning.tensors import TorchTensors
from parasim.program.draws import Draws

CASES = [
    ("mlp", {"width": 6, "depth": 3}, "digits", {}),
    ("cnn", {"channels": 2}, "digits", {}),
    ("mlp", {"width": 5, "depth": 2}, "regression", {"inputs": 4, "outputs": 2}),
    ("quadratic", {}, "quadratic", {"dimension": 6}),
    ("resnet20", {}, "images", {"size": 8, "samples": 8}),
    ("gpt", {"layers": 1, "hidden": 8, "heads": 2, "tied": False}, "characters", {"sequence": 8}),
    ("lstm", {"layers": 1, "hidden": 8}, "characters", {"sequence": 8}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_a_step_of_training_stays_on_its_device(case):
    learner = make_learner(*case, 0, "float32", "meta")
    rule = make_optimizer("adam", {})
    xp, flow, tape = learner.tensors, None, []
    parts = learner.model.stages(2) if len(learner.model.layers) > 1 else (learner.model.whole,)
    ids = learner.samples(0, 0, 4, 4)
    flow = learner.inputs(ids)
    for part in parts:
        parameters = learner.initial(part)
        flow, saved = learner.forward(part, parameters, flow, ids)
        tape.append((part, parameters, saved))
    assert (flow.shape, flow.device.type) == ((1,), "meta")
    upstream = None
    for part, parameters, saved in reversed(tape):
        upstream, gradient = learner.backward(part, saved, upstream)
        slots = tuple(xp.zeros_like(parameters) for _ in rule.slots)
        rule.update(xp, parameters, gradient, slots, 0, 1.0)
        assert gradient.shape == (part.parameters,)
        assert {x.device.type for x in (parameters, gradient, *slots)} == {"meta"}


def test_verbs_that_make_vectors_make_them_on_the_device():
    xp, draws = TorchTensors("float64", "meta"), Draws(0)
    x = xp.zeros(10)
    packed = xp.pack_bits(xp.greater(x, 0.0))
    made = [
        x,
        packed,
        xp.unpack_bits(packed, 10),
        xp.where(xp.greater(x, 0.0), 1.0, -1.0),
        xp.uniform(x, draws, "u", 0),
    ]
    made += [*xp.top_k(x, 0), xp.orthonormalise(x, 5, 2)]
    assert {tensor.device.type for tensor in made} == {"meta"}
    assert [tensor.numel() for tensor in made] == [10, 2, 10, 10, 10, 0, 0, 10]
