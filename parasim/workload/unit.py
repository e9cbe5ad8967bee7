"""A block of a network that is written in operators: one link of the chain that schemes cut."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program.model import Layer
from parasim.workload.costs import Cost, cost_of, elements
from parasim.workload.operators import Operator, Shape
from parasim.workload.signatures import dominating, signature

__all__ = ["Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """Operators one after the other, from inputs of shape `entering`; what crosses a cut is one unit's output.

    Its methods raise `ScenarioError` if an operator can't take what it is given.
    """

    name: str
    entering: Shape
    operators: tuple[Operator, ...]

    @property
    def cost(self) -> Cost:
        """Costs per sample, and the parameters in the order of the flat vector."""
        return cost_of(self.operators, self.entering)

    @property
    def inputs(self) -> int:
        """Elements per sample that enter."""
        return elements(self.entering)

    @property
    def outputs(self) -> int:
        """Elements per sample that leave."""
        return elements(self.cost.outputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters: a vector of them all."""
        return (sum(parameter.elements for parameter in self.cost.parameters),)

    def layer(self, last: bool, keeps_output: bool = True) -> Layer:
        """Costs as schemes see them.

        Parameters
        ----------
        last
            Does the loss follow? Its residual, as large as the outputs, is kept.
        keeps_output
            Count the outputs as kept here if backward needs them here (a unit that ends with relu); False where the
            next unit keeps the same array as its inputs.
        """
        cost = self.cost
        kept = cost.kept + (self.inputs if cost.keeps_input else 0) + (elements(cost.outputs) if last else 0)
        if cost.keeps_output and keeps_output:
            kept += elements(cost.outputs)
        size = sum(parameter.elements for parameter in cost.parameters)
        return Layer(
            self.name,
            size,
            cost.forward_flops,
            cost.input_flops,
            cost.weight_flops,
            self.inputs,
            elements(cost.outputs),
            kept,
            dominating(self.operators, self.entering),
            signature(self.operators, self.entering),
            tuple(parameter.shape for parameter in cost.parameters),
        )
