"""Forward and backward through a part of a chain of blocks, however its blocks are written.

What a forward pass keeps shares nothing with the parameters and inputs that it was given, nor with the outputs that it
gives to another part: a scheme may change them before the backward pass. Unless they are lent: then the backward pass
reads the parameters again, as they are by then. A block's arithmetic is the same wherever the chain is cut, so cutting
changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from parasim.errors import ProgramError
from parasim.learning.modules import apply_beside
from parasim.learning.networks import ACTIVATIONS, block_math, each_weights
from parasim.learning.tensors import aligned
from parasim.program.model import Part
from parasim.workload.blocks import Ending, Network
from parasim.workload.costs import Parameter
from parasim.workload.operators import Operator, TiedLinear
from parasim.workload.unit import Unit

__all__ = ["BlockChain", "Chain", "Graph", "KeptInputs", "UnitChain", "chain_of"]


class Chain(Protocol):
    """Blocks one after the other; inputs, outputs and their gradients have a row per sample."""

    def forward(
        self,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        record: bool = True,
        lent: bool = False,
        frozen: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Outputs, and what backward needs; without `record` backward is impossible.

        `frozen`: nobody changes parameters and inputs before that, so nothing needs to be copied.
        """

    def backward(self, part: Part, kept: Any, flow: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Gradients of the inputs (of the first part: of no meaning) and, block by block, of the parameters, flat."""

    def backward_inputs(self, part: Part, kept: Any, flow: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Gradients of the inputs alone; and of the outputs, block by block from the last on."""

    def backward_weights(self, part: Part, kept: Any, flows: list[torch.Tensor]) -> list[torch.Tensor]:
        """The other half: gradients of the parameters, block by block, from those of the outputs."""


def chain_of(network: Network, hessian: torch.Tensor | None, optimum: torch.Tensor | None) -> Chain:
    """Make the chain of a network; `hessian` and `optimum` are those of quadratic data."""
    units = [block for block in network.blocks if isinstance(block, Unit)]
    if units:
        assert len(units) == len(network.blocks)
        return UnitChain(units)
    return BlockChain(network, hessian, optimum)


@dataclass(frozen=True, slots=True, eq=False)
class KeptInputs:
    """Of each block, its activated inputs and its weights; are these lent, so that somebody else holds them?

    Frozen weights are no copies, but stand for some.
    """

    inputs: list[torch.Tensor]
    weights: list[torch.Tensor]
    lent: bool
    frozen: bool = False


class BlockChain:
    """Blocks whose backward pass is written out (`parasim.learning.networks`), activation functions between them."""

    def __init__(self, network: Network, hessian: torch.Tensor | None, optimum: torch.Tensor | None) -> None:
        self._blocks = [block_math(block, hessian, optimum) for block in network.blocks]
        self._ends = [isinstance(block, Ending) for block in network.blocks]
        self._activations = [ACTIVATIONS["linear" if ends else network.activation] for ends in self._ends]

    def forward(
        self,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        record: bool = True,
        lent: bool = False,
        frozen: bool = False,
    ) -> tuple[torch.Tensor, KeptInputs]:
        """Keep copies of activated inputs and of weights (lent or frozen: these themselves), recording or not."""
        x = inputs
        kept = KeptInputs([], [], lent, frozen)
        lent = lent or frozen
        offsets = part.model.offsets
        for i in range(part.start, part.stop):
            block = self._blocks[i]
            w = parameters[offsets[i] - part.offset : offsets[i + 1] - part.offset]
            w = w if lent else w.clone()
            h = (x if lent else x.clone()) if i == 0 else self._activations[i].apply(x)
            x = block.forward(h, aligned(w).view(block.shape))
            kept.inputs.append(h.new_empty(0) if self._ends[i] else h)
            kept.weights.append(w)
        return x, kept

    def backward(self, part: Part, kept: KeptInputs, flow: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Block by block, the last first."""
        gradients = []
        for i in reversed(range(part.start, part.stop)):
            inputs, weights = kept.inputs[i - part.start], kept.weights[i - part.start]
            weights = aligned(weights).view(self._blocks[i].shape)
            downstream, steepest = self._blocks[i].backward(flow, inputs, weights, i > 0)
            assert steepest is not None
            gradients.append(steepest.view(-1))
            if downstream is not None:
                flow = self._activations[i].backward(downstream, inputs)
        return flow, gradients[::-1]

    def backward_each(self, part: Part, kept: KeptInputs, flow: torch.Tensor, shares: int) -> torch.Tensor:
        """Gradients of the parameters from each of equal shares of the samples, a row each; the part is the first."""
        offsets = part.model.offsets
        gradients = flow.new_empty(shares, part.parameters)
        for i in reversed(range(part.start, part.stop)):
            block, inputs, weights = self._blocks[i], kept.inputs[i - part.start], kept.weights[i - part.start]
            weights = aligned(weights).view(block.shape)
            each_weights(block, flow, inputs, weights, gradients[:, offsets[i] : offsets[i + 1]])
            if i > 0:
                downstream, _ = block.backward(flow, inputs, weights, True, False)
                assert downstream is not None
                flow = self._activations[i].backward(downstream, inputs)
        return gradients

    def backward_inputs(
        self, part: Part, kept: KeptInputs, flow: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Block by block, the last first; the model's first block has no gradient of its inputs."""
        flows = [flow]
        for i in reversed(range(max(part.start, 1), part.stop)):
            inputs, weights = kept.inputs[i - part.start], kept.weights[i - part.start]
            weights = aligned(weights).view(self._blocks[i].shape)
            downstream, _ = self._blocks[i].backward(flow, inputs, weights, True, False)
            assert downstream is not None
            flow = self._activations[i].backward(downstream, inputs)
            flows.append(flow)
        return flow, flows if part.is_first else flows[:-1]

    def backward_weights(self, part: Part, kept: KeptInputs, flows: list[torch.Tensor]) -> list[torch.Tensor]:
        """Block by block, the last first."""
        gradients = []
        for i, flow in zip(reversed(range(part.start, part.stop)), flows, strict=True):
            inputs, weights = kept.inputs[i - part.start], kept.weights[i - part.start]
            weights = aligned(weights).view(self._blocks[i].shape)
            _, steepest = self._blocks[i].backward(flow, inputs, weights, False)
            assert steepest is not None
            gradients.append(steepest.view(-1))
        return gradients[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """What automatic differentiation recorded of a unit: its outputs, and what they were computed from.

    `aside` and `left` are what was kept aside before and after it, if its operators fork or join. `lent` are parameters
    that had to be copied, because they do not start on a cache line: the copy and the original.
    """

    inputs: torch.Tensor
    parameters: list[torch.Tensor]
    outputs: torch.Tensor
    lent: list[tuple[torch.Tensor, torch.Tensor]]
    aside: torch.Tensor | None = None
    left: torch.Tensor | None = None

    def refresh(self) -> None:
        """Copy those again that were lent: the backward pass takes them as they are by now."""
        for values, original in self.lent:
            values.data.copy_(original)


class _Shared:
    """The gradient of token vectors that the last unit finds, until the first one's comes."""

    def __init__(self) -> None:
        self._found: torch.Tensor | None = None

    def settle(self, gradients: list[torch.Tensor], first: bool, reads: bool) -> None:
        """Take the last of a unit's gradients if it `reads` them; add it to the first one of the first unit."""
        if reads:
            self._found = gradients.pop()
        if first and self._found is not None:
            gradients[0] = gradients[0] + self._found


def _reads(last: Sequence[Operator]) -> bool:
    return any(isinstance(operator, TiedLinear) and not operator.copied for operator in last)


class UnitChain:
    """Units of operators, each differentiated on its own: no graph goes across the border of a unit."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._units = units
        self._parameters = [unit.cost.parameters for unit in units]
        self._readers = {number for number, unit in enumerate(units) if _reads(unit.operators[-1:])}

    def forward(
        self,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        record: bool = True,
        lent: bool = False,
        frozen: bool = False,
    ) -> tuple[torch.Tensor, list[Graph]]:
        """Keep the graph of every unit, on copies of the inputs and of the parameters (lent: on these themselves)."""
        outputs, _, kept = self.forward_beside(part, parameters, inputs, None, record, lent or frozen)
        return outputs, kept

    def forward_beside(
        self,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        aside: torch.Tensor | None,
        record: bool = True,
        lent: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[Graph]]:
        """The same, with what is kept aside between a fork and its join before and after."""
        x = inputs.clone()
        kept: list[Graph] = []
        with torch.set_grad_enabled(record):
            for i in range(part.start, part.stop):
                unit = self._units[i]
                leaves, again = [], []
                for parameter, place in self._places(part, i):
                    original = parameters[place : place + parameter.elements].view(parameter.shape).data
                    values = aligned(original) if lent else original.clone()
                    if lent and values is not original:
                        again.append((values, original))
                    leaves.append(values.requires_grad_(record))
                if record and i > 0:
                    x.requires_grad_()
                if record and aside is not None:
                    aside = aside.detach().requires_grad_()
                outputs, left = apply_beside(unit.operators, x.view(-1, *unit.entering), aside, iter(leaves))
                if record:
                    kept.append(Graph(x, leaves, outputs, again, aside, left))
                x = aligned(outputs.detach().contiguous()).view(len(inputs), -1)
                aside = None if left is None else left.detach()
        return (x if part.is_last else x.clone()), aside, kept

    def _places(self, part: Part, number: int) -> Iterator[tuple[Parameter, int]]:
        """A unit's parameters, and where they begin in the part's vector; last, token vectors of the first unit."""
        place = part.model.offsets[number] - part.offset
        for parameter in self._parameters[number]:
            yield parameter, place
            place += parameter.elements
        if number in self._readers:
            if not part.is_first:
                raise ProgramError(f"{part.name} reads token vectors that it does not have; write tied: false")
            yield self._parameters[0][0], 0

    def backward(self, part: Part, kept: list[Graph], flow: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Unit by unit, the last first; what was recorded stays, so it can be done again."""
        inputs, _, gradients = self.backward_beside(part, kept, flow, None)
        return inputs, gradients

    def backward_beside(
        self, part: Part, kept: list[Graph], flow: torch.Tensor, aside: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """The same, with the gradient of what is kept aside after and before."""
        gradients, shared = [], _Shared()
        for i, graph in zip(reversed(range(part.start, part.stop)), reversed(kept), strict=True):
            ends, flows, entering, passed = [graph.outputs], [flow.view_as(graph.outputs)], graph.aside, None
            if graph.left is not None and graph.left is graph.aside:  # it passed by
                entering, passed = None, aside
            elif graph.left is not None and graph.left.requires_grad and aside is not None:
                ends.append(graph.left)
                flows.append(aside)
            wanted = [*([graph.inputs] if i > 0 else []), *([] if entering is None else [entering]), *graph.parameters]
            if not wanted:
                continue
            graph.refresh()
            found = list(torch.autograd.grad(ends, wanted, flows, retain_graph=True))
            if i > 0:
                flow = aligned(found.pop(0).contiguous())
            aside = passed if entering is None else found.pop(0)
            shared.settle(found, i == 0, i in self._readers)
            gradients += [gradient.reshape(-1) for gradient in reversed(found)]
        return flow, aside, gradients[::-1]

    def backward_inputs(
        self, part: Part, kept: list[Graph], flow: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Unit by unit, the last first."""
        flows = [flow]
        for i, graph in zip(reversed(range(part.start, part.stop)), reversed(kept), strict=True):
            if i > 0:
                graph.refresh()
                upstream = flow.view_as(graph.outputs)
                (found,) = torch.autograd.grad(graph.outputs, [graph.inputs], upstream, retain_graph=True)
                flow = aligned(found.contiguous())
                flows.append(flow)
        return flow, flows if part.is_first else flows[:-1]

    def backward_weights(self, part: Part, kept: list[Graph], flows: list[torch.Tensor]) -> list[torch.Tensor]:
        """Unit by unit, the last first."""
        gradients, shared = [], _Shared()
        numbers = reversed(range(part.start, part.stop))
        for i, graph, flow in zip(numbers, reversed(kept), flows, strict=True):
            if graph.parameters:
                graph.refresh()
                upstream = flow.view_as(graph.outputs)
                found = list(torch.autograd.grad(graph.outputs, graph.parameters, upstream, retain_graph=True))
                shared.settle(found, i == 0, i in self._readers)
                gradients += [gradient.reshape(-1) for gradient in reversed(found)]
        return gradients[::-1]
