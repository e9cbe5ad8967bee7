"""Forward and backward passes of one member through the segments of a shard, with what the group exchanges between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parasim.program.buffers import Buffer
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.kernels import backward_kernel, forward_kernel
from parasim.program.learner import Learner
from parasim.program.model import Part
from parasim.program.ops import Collective, Compute, Program
from parasim.program.shards import Shard
from parasim.program.state import Activation, Batch

__all__ = ["backward_shard", "forward_shard"]


def forward_shard(
    me: Context,
    shard: Shard,
    part: Part,
    parameters: Buffer,
    batch: Batch,
    group: Group,
    inputs: Buffer | None = None,
    algorithm: str = "",
    leave: bool = True,
) -> Program[list[Activation]]:
    """Forward pass through segments, each followed by its crossing; replies with what every segment leaves.

    Parameters
    ----------
    shard, part, parameters
        The member's shard, the segments of it (`Shard.of`), and their parameters, lent until the backward pass.
    batch
        The same samples on all members of `group`.
    inputs
        What the last segment before left after its crossing; None for the first.
    algorithm
        Of all-reduces, the default if empty; all-gathers and reduce-scatters go round the ring.
    leave
        Make the crossing after the last of these segments. Without: nobody wants what leaves it, as in a repeated pass.
    """
    found: list[Activation] = []
    aside: Any = None
    itemsize, first = part.model.itemsize, part.offset
    for number in range(part.start, part.stop):
        segment = part.model.part(number, number + 1)
        own = parameters.part(segment.offset - first, segment.offset - first + segment.parameters)

        def work(
            learner: Learner, at: Part = segment, own: Buffer = own, x: Buffer | None = inputs, beside: Any = aside
        ) -> Any:
            samples = batch.samples(learner)
            values = learner.inputs(samples) if x is None else x.values
            return learner.forward_segment(at, own.values, values, beside, samples)

        reads = (own,) if inputs is None else (own, inputs)
        kernel = forward_kernel(segment, batch.size, batch.step, batch.micro)
        reply = yield Compute(kernel, me.work(work), (), reads)
        values, aside, saved = (None, None, None) if reply is None else reply
        held = batch.size * segment.stored_elements * itemsize
        me.hold("activations", held, saved)
        if segment.is_last:
            found.append(Activation(segment, batch, None, values, saved, held, own))
            break
        crossing = shard.crossings[number + 1]
        counts = crossing.counts(batch.size) if crossing.forward == "gather" else ()
        elements = sum(counts) if counts else batch.size * segment.output_elements
        outputs = Buffer(f"{segment.name}.outputs", elements, itemsize, values)
        if number == part.stop - 1 and not leave:
            pass
        elif crossing.forward in ("sum", "max"):
            yield from Collective("all_reduce", group, outputs, algorithm, reduce=crossing.forward)
        elif crossing.forward == "gather":
            yield from Collective("all_gather", group, outputs, counts=counts)
        found.append(Activation(segment, batch, outputs, None, saved, held, own))
        inputs = outputs
    return found


def backward_shard(
    me: Context,
    shard: Shard,
    passed: Sequence[Activation],
    gradient: Buffer | None,
    into: Buffer,
    group: Group,
    add: bool = False,
    algorithm: str = "",
    enter: bool = True,
) -> Program[Buffer | None]:
    """Backward pass through the segments of a forward pass; writes (or adds) the parameters' gradient to `into`.

    Parameters
    ----------
    passed
        What the forward pass replied; it is released.
    gradient
        That of what the last of these segments left; None for the loss.
    into
        As large as the segments' parameters.
    enter
        Make the crossing before the first of these segments. Without: reply with what this member alone found of the
        gradient of its inputs.

    Returns
    -------
    The gradient of what the last segment before left, as far as this member needs it; None before the first layer.
    """
    aside: Any = None
    first = passed[0].part
    for activation in reversed(passed):
        segment, batch = activation.part, activation.batch
        offset = segment.offset - first.offset
        bucket = into.part(offset, offset + segment.parameters)
        crossing = shard.crossings[segment.start]

        def work(
            learner: Learner,
            activation: Activation = activation,
            upstream: Buffer | None = gradient,
            bucket: Buffer = bucket,
            beside: Any = aside,
        ) -> Any:
            values = None if upstream is None else upstream.values
            found = learner.backward_segment(activation.part, activation.saved, values, beside)
            inputs, left, parameters = found
            if add:
                learner.tensors.add_(bucket.values, parameters)
            else:
                learner.tensors.copy_(bucket.values, parameters)
            return inputs, left

        reads = tuple(buffer for buffer in (gradient, activation.parameters) if buffer is not None)
        kernel = backward_kernel(segment, batch.size, batch.step, batch.micro)
        reply = yield Compute(kernel, me.work(work), (bucket,), reads)
        values, aside = (None, None) if reply is None else reply
        me.drop(activation)
        if segment.is_first and not segment.model.needs_input_gradient:
            return None
        counts = crossing.counts(batch.size)
        own = counts[shard.split.index] if crossing.backward == "own" else 0
        elements = own or batch.size * segment.input_elements
        gradient = Buffer(f"{segment.name}.inputs", elements, segment.model.itemsize, values)
        if segment is not first or enter:
            if crossing.backward == "sum":
                yield from Collective("all_reduce", group, gradient, algorithm)
            elif crossing.backward == "scatter":
                gradient = yield from Collective("reduce_scatter", group, gradient, counts=counts)
    return None if first.is_first else gradient
