"""A backward pass in two halves: gradients of inputs, which the stage below waits for, and of weights (zero bubble)."""

from __future__ import annotations

from parasim.program.buffers import Buffer
from parasim.program.context import Context
from parasim.program.kernels import half_kernel
from parasim.program.learner import Learner
from parasim.program.ops import Compute, Program
from parasim.program.state import Activation
from parasim.program.tensors import Tensor

__all__ = ["backward_inputs", "backward_weights"]


def backward_inputs(me: Context, activation: Activation, gradient: Buffer | None) -> Program[Buffer | None]:
    """Reply with the gradient of the inputs, as :meth:`Context.backward` does; :func:`backward_weights` is the rest."""
    part, batch = activation.part, activation.batch

    def work(learner: Learner) -> tuple[Tensor | None, object]:
        return learner.backward_inputs(part, activation.saved, None if gradient is None else gradient.values)

    reads = tuple(buffer for buffer in (gradient, activation.parameters) if buffer is not None)
    kernel = half_kernel(part, batch.size, "inputs", batch.step, batch.micro)
    reply = yield Compute(kernel, me.work(work), (), reads)
    values, activation.pending = (None, None) if reply is None else reply
    me.hold("output gradients", activation.pending_bytes, activation.pending)
    if part.is_first:
        return None
    return Buffer(f"{part.name}.inputs", batch.size * part.input_elements, me.model.itemsize, values)


def backward_weights(me: Context, activation: Activation, into: Buffer, add: bool = False) -> Program[None]:
    """Write (or add) the parameters' gradient to `into`, after :func:`backward_inputs`; release the activation."""
    part, batch = activation.part, activation.batch

    def work(learner: Learner) -> None:
        found = learner.backward_weights(part, activation.saved, activation.pending)
        if add:
            learner.tensors.add_(into.change(), found)
        else:
            into.replace(found, learner.tensors)

    reads = () if activation.parameters is None else (activation.parameters,)
    kernel = half_kernel(part, batch.size, "weights", batch.step, batch.micro)
    yield Compute(kernel, me.work(work), (into,), reads)
    me.release("output gradients", activation.pending_bytes, activation.pending)
    activation.pending = None
    me.drop(activation)
