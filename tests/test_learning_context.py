"""A learner behind the context: what a program computes is what plain training computes."""

import pytest
import torch

from parasim.learning.build import make_learner, make_optimizer, pin_threads
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.ops import Compute, Log

BATCH, STEPS = 16, 4


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def drive(program):
    """Run a program of computes and logs; reply, losses logged and kernels seen."""
    reply, losses, kernels = None, [], []
    try:
        while True:
            op = program.send(reply)
            reply = None
            if isinstance(op, Compute):
                kernels.append(op.kernel)
                reply = op.work() if op.work else None
            elif isinstance(op, Log) and op.event.kind == "loss":
                losses.append(op.event.value)
    except StopIteration as stop:
        return stop.value, losses, kernels


def sequential(me):
    replica = me.replica()
    gradient = me.buffer("gradient")
    for step in me.steps():
        yield from me.gradient(replica.parameters, me.batch(step), gradient)
        yield from me.update(replica, gradient, read=replica.version)
    return replica.parameters.values


def by_stages(me):
    """Two stages and two micro-batches in one actor, gradients added up."""
    replica = me.replica()
    gradient = me.buffer("gradient")
    first, last = me.model.stages(2)
    for step in me.steps():
        gradient.values.zero_()
        for micro in range(2):
            batch = me.batch(step, micro=micro, micros=2)
            front = yield from me.forward(first, first.of(replica.parameters), batch)
            back = yield from me.forward(last, last.of(replica.parameters), batch, front.outputs)
            flow = yield from me.backward(back, None, last.of(gradient), add=True)
            yield from me.backward(front, flow, first.of(gradient), add=True)
        yield from me.update(replica, gradient, read=replica.version, scale=0.5)
    return replica.parameters.values


def context(program, learner, rule):
    cast = Cast((Role("worker", 1, program),))
    return Context(
        **cast.seat(0),
        options=None,
        model=learner.model,
        batch_size=BATCH,
        steps=STEPS,
        seed=0,
        optimizer=rule,
        learner=learner,
    )


@pytest.mark.parametrize("model", [("mlp", {"width": 24, "depth": 3}), ("cnn", {"channels": 2})])
@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "nesterov": True}])
def test_programs_train_as_the_plain_loop(model, options):
    learner, rule = make_learner(*model, "digits", {}, 0, "float64"), make_optimizer("sgd", options)
    whole = learner.model.whole
    weights, losses = learner.initial(whole), []
    slots = tuple(torch.zeros_like(weights) for _ in rule.slots)
    for step in range(STEPS):
        ids = learner.samples(step, 0, BATCH, BATCH)
        loss, saved = learner.forward(whole, weights, learner.inputs(ids), ids)
        rule.update(learner.tensors, weights, learner.backward(whole, saved, None)[1], slots, step, 1.0)
        losses.append(float(loss))

    result, logged, kernels = drive(sequential(context(sequential, learner, rule)))
    assert torch.equal(result, weights)
    assert logged == losses
    assert sum(k.flops for k in kernels if k.kind == "forward") == STEPS * BATCH * whole.forward_flops

    staged, _, kernels = drive(by_stages(context(by_stages, learner, rule)))
    torch.testing.assert_close(staged, weights, rtol=1e-11, atol=1e-13)
    assert sum(k.flops for k in kernels if k.kind == "backward") == STEPS * BATCH * whole.backward_flops
