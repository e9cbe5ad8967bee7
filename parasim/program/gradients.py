"""What a context, and computes of forward and backward passes, do with the learner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parasim.program.contents import Content, holders

if TYPE_CHECKING:
    from parasim.program.buffers import Buffer
    from parasim.program.contents import Contents
    from parasim.program.learner import Learner
    from parasim.program.model import Part
    from parasim.program.state import Activation, Batch
    from parasim.program.tensors import Tensor

__all__ = ["do_backward", "do_forward", "initial_values", "zero_values"]


def zero_values(learner: Learner | None, contents: Contents | None, elements: int, itemsize: int) -> Any:
    """Values of a zero buffer: bytes, or numbers of the run's type; None without a learner."""
    if learner is None:
        return None
    if contents is not None:
        return contents.once((elements, itemsize == 1), lambda: zero_values(learner, None, elements, itemsize))
    zeros = learner.tensors.zeros(elements)
    return zeros if itemsize != 1 else learner.tensors.cast(zeros, "uint8")


def initial_values(learner: Learner | None, contents: Contents | None, part: Part, member: int) -> Any:
    """Initial parameters of a part, of one of several models; None without a learner."""
    if learner is None:
        return None
    own = learner.member(member)
    return own.initial(part) if contents is None else contents.once((part, member), lambda: own.initial(part))


def do_forward(
    learner: Learner,
    contents: Contents | None,
    part: Part,
    parameters: Buffer,
    batch: Batch,
    inputs: Buffer | None,
    lent: bool,
    workers: int,
) -> tuple[Tensor, Any]:
    """Outputs and what backward needs; of contents nothing is copied, and who changes them meanwhile changes a copy.

    If gradients are `batched` and all `workers` have the same parameters, what the first of them computes is for all.
    """
    frozen = None if lent or contents is None else parameters.freeze()
    if frozen is not None and contents is not None and contents.batched and inputs is None and part.is_last:
        found = _share(learner, parameters, part, batch, workers)
        if found is not None:
            return found[0], replace(found[1], keeper=frozen[1])
    samples = batch.samples(learner)
    if frozen is None:
        values = learner.inputs(samples) if inputs is None else inputs.values
        return learner.forward(part, parameters.values, values, samples, lent)
    values = learner.inputs(samples) if inputs is None else inputs.look()
    if inputs is not None and part.is_first:
        values = learner.tensors.copy(values)
    tensor, keeper = frozen
    return learner.forward(part, tensor, values, samples, keeper=keeper)


def _share(learner: Learner, parameters: Buffer, part: Part, batch: Batch, workers: int) -> tuple[Tensor, Any] | None:
    """A worker's share of a pass over the mini-batch; None if it has to compute by itself."""
    content, size = parameters.content, batch.size
    if content is None or batch.runs != 1 or batch.member >= 0 or batch.total % size or batch.start % size:
        return None
    key = batch.step, batch.total, size, batch.shift
    if key not in content.shares:
        if holders(content) - 1 < workers:  # one more is the caller's
            return None
        samples = replace(batch, start=0, stop=batch.total).samples(learner)
        content.shares[key] = learner.forward_shares(part, content.tensor, samples, batch.total // size)
    found = content.shares[key]
    return None if found is None else found[batch.start // size]


def do_backward(
    learner: Learner, activation: Activation, gradient: Buffer | None, into: Buffer, add: bool
) -> Tensor | None:
    """Gradient of the inputs; that of the parameters is written, or added, to `into`, or promised."""
    if not add and into.content is not None:
        promise = learner.promise(activation.saved)
        if promise is not None:
            into.replace(Content(None, learner.tensors, promise), learner.tensors)
            return None
    upstream = None if gradient is None else gradient.look()
    inputs, parameters = learner.backward(activation.part, activation.saved, upstream)
    if add:
        learner.tensors.add_(into.change(), parameters)
    else:
        into.replace(parameters, learner.tensors)
    return inputs
