"""Networks whose outputs have the weights of the token vectors: where these lie, and the same network with a copy."""

from __future__ import annotations

from dataclasses import replace

from parasim.program.model import Tie
from parasim.workload.blocks import Network
from parasim.workload.costs import cost_of
from parasim.workload.operators import Embedding, EmbeddingRows, Operator, TiedLinear
from parasim.workload.unit import Unit

__all__ = ["tie_of", "with_copy"]


def tie_of(network: Network) -> Tie | None:
    """Which parameters two of its blocks share; None: there are none."""
    if not any(isinstance(operator, TiedLinear) for unit in _units(network) for operator in unit.operators):
        return None
    first, elements = (0, 0), 0
    for number, unit in enumerate(_units(network)):
        place, entering = 0, unit.entering
        for operator in unit.operators:
            cost = cost_of((operator,), entering)
            if isinstance(operator, (Embedding, EmbeddingRows)):
                first, elements = (number, place), cost.parameters[0].elements
            elif isinstance(operator, TiedLinear):
                return Tie(first, (number, place), elements, operator.copied)
            place += sum(parameter.elements for parameter in cost.parameters)
            entering = cost.outputs
    return None


def with_copy(network: Network) -> Network:
    """The network whose outputs have a copy of the token vectors."""
    units = [
        replace(unit, operators=tuple(_copying(operator) for operator in unit.operators)) for unit in _units(network)
    ]
    return replace(network, blocks=tuple(units))


def _copying(operator: Operator) -> Operator:
    return replace(operator, copied=True) if isinstance(operator, TiedLinear) else operator


def _units(network: Network) -> list[Unit]:
    return [block for block in network.blocks if isinstance(block, Unit)]
