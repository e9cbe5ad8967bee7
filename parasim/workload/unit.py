"""A block of a network that is written in operators: one link of the chain that schemes cut."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.workload.operators import Operator, Shape

__all__ = ["Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """Operators one after the other, from inputs of shape `entering`; what crosses a cut is one unit's output."""

    name: str
    entering: Shape
    operators: tuple[Operator, ...]
