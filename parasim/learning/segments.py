"""Forward and backward through the segments of a shard (parasim/program/shards.py): what one member computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parasim.learning.chains import UnitChain, chain_of
from parasim.learning.initial import InitialWeights
from parasim.learning.logits import LogitStep, fused_loss
from parasim.learning.networks import Loss
from parasim.learning.tensors import aligned
from parasim.program.model import Part
from parasim.program.shards import Split
from parasim.workload.blocks import Network
from parasim.workload.segments import Slice
from parasim.workload.sharding import split_network
from parasim.workload.unit import Unit

__all__ = ["Segments", "sliced"]


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What a segment's backward pass needs."""

    kept: Any
    residual: torch.Tensor | None
    samples: int


class Segments:
    """The mathematics of one shard of a network.

    Parts are those of the shard's model. Vectors that are gathered, or scattered afterwards, hold a member's columns of
    all samples after the other's.
    """

    def __init__(self, network: Network, split: Split, loss: Loss) -> None:
        self._network = network
        self._split = split_network(network, split)
        self._index = split.index
        self._chain = chain_of(self._split.network, None, None)
        self._loss = loss

    def initial(self, part: Part, weights: InitialWeights) -> torch.Tensor:
        """The member's slices of the whole network's initial parameters, flat."""
        found = [torch.empty(0, dtype=weights.dtype)]
        for number in range(part.start, part.stop):
            for where in self._split.slices[number]:
                whole = weights.of(where.block)
                found += [sliced(self._network, where, whole).reshape(-1), whole.new_zeros(where.padding)]
        return torch.cat(found)

    def places(self, part: Part, offsets: Sequence[int]) -> torch.Tensor:
        """Of each parameter of the part (padding: -1), its number in the network, whose blocks begin at `offsets`."""
        found = [torch.empty(0, dtype=torch.int64)]
        for number in range(part.start, part.stop):
            for where in self._split.slices[number]:
                whole = torch.arange(offsets[where.block], offsets[where.block + 1])
                found += [sliced(self._network, where, whole).reshape(-1), whole.new_full((where.padding,), -1)]
        return torch.cat(found)

    def forward(
        self, part: Part, parameters: torch.Tensor, inputs: torch.Tensor, aside: torch.Tensor | None, targets: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, _Kept]:
        """Outputs, what is kept aside, and what backward needs, of a part of one segment.

        Outputs that are gathered next lie in a vector for all members' columns; those of the last segment are the mean
        loss. `targets` are a row per sample.
        """
        number, samples = part.start, len(targets)
        before, after = self._split.crossings[number], None if part.is_last else self._split.crossings[number + 1]
        x = inputs
        if before.forward == "gather":
            pieces = torch.split(inputs, list(before.counts(samples)))
            x = torch.cat([piece.view(samples * before.rows, -1) for piece in pieces], 1)
        x = x.reshape(samples, part.input_elements)
        step = self._logit_step(number)
        if step is not None:
            outputs, aside = fused_loss(step, x, aside, targets)
            residual = aside if after is None else None
            return outputs.reshape(-1), None if after is None else aside, _Kept(None, residual, samples)
        if isinstance(self._chain, UnitChain):
            outputs, aside, kept = self._chain.forward_beside(part, parameters, x, aside, lent=True)
        else:
            outputs, kept = self._chain.forward(part, parameters, x, lent=True)
        if after is None:
            loss, residual = self._loss(outputs, targets)
            return loss.reshape(1), None, _Kept(kept, residual, samples)
        if after.forward == "gather":
            gathered = outputs.new_zeros(sum(after.counts(samples)))
            torch.split(gathered, list(after.counts(samples)))[self._index].copy_(outputs.reshape(-1))
            return gathered, aside, _Kept(kept, None, samples)
        return outputs.reshape(-1), aside, _Kept(kept, None, samples)

    def backward(
        self, part: Part, saved: _Kept, gradient: torch.Tensor | None, aside: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Gradients to the inputs (all that one finds of them, or one's own columns), to what is aside, to parameters.

        `gradient` is that of one's outputs; None for the last segment.
        """
        samples, before = saved.samples, self._split.crossings[part.start]
        if self._logit_step(part.start) is not None:  # the gradient of the logits goes down aside, past the sums
            found = saved.residual if gradient is None else aside
            assert found is not None
            none = found.new_empty(0)
            if self._logit_step(part.start - 1) is None:
                return found.reshape(-1), None, none
            return found.new_zeros(samples * part.input_elements), found, none
        flow = saved.residual if gradient is None else aligned(gradient).view(samples, part.output_elements)
        assert flow is not None
        if isinstance(self._chain, UnitChain):
            found, aside, gradients = self._chain.backward_beside(part, saved.kept, flow, aside)
        else:
            found, gradients = self._chain.backward(part, saved.kept, flow)
        nothing = flow.new_empty(0)
        if before.columns and not part.is_first:  # nobody wants the first one's
            columns = torch.split(found.reshape(samples * before.rows, -1), list(before.columns), 1)
            chosen = columns if before.backward == "scatter" else [columns[self._index]]
            found = torch.cat([piece.reshape(-1) for piece in chosen])
        return found.reshape(-1), aside, torch.cat([nothing, *gradients])

    def _logit_step(self, number: int) -> LogitStep | None:
        """Is it a step of the fused loss?"""
        block = self._split.network.blocks[number]
        operator = block.operators[0] if isinstance(block, Unit) and block.operators else None
        return operator if isinstance(operator, LogitStep) else None


def sliced(network: Network, where: Slice, block: torch.Tensor) -> torch.Tensor:
    """The slice of a block's flat parameters, as a view or a copy, in the parameter's shape."""
    whole = network.blocks[where.block]
    if isinstance(whole, Unit):
        listed = whole.cost.parameters
        first = sum(parameter.elements for parameter in listed[: where.parameter])
        shape: tuple[int, ...] = listed[where.parameter].shape
        block = block[first : first + listed[where.parameter].elements]
    else:
        shape = whole.shape
    values = block.view(shape)
    if not where.ranges:
        return values
    pieces = [values.narrow(where.dimension, start, stop - start) for start, stop in where.ranges]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, where.dimension)
