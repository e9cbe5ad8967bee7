"""What a chain of operators is called: its signature, exact, and its kind, the operator that most of its work is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields

from parasim.workload.costs import cost_of
from parasim.workload.operator_costs import shape_text
from parasim.workload.operators import Concatenate, Operator, Residual, Shape

__all__ = ["dominating", "signature"]


def signature(operators: Sequence[Operator], entering: Shape) -> str:
    """Every operator with the options that are not torch's defaults, after the shape that enters.

    Equal signatures mean equal work: "1x32x32: conv 6 5x5, activate tanh, pool average 2x2 2x2".
    """
    return f"{shape_text(entering)}: {_chain(operators)}"


def dominating(operators: Sequence[Operator], entering: Shape) -> str:
    """Name, in lower case, of the operator with most FLOP forward; of equals the first; "layer" of none."""
    costs: dict[str, float] = {}
    for operator, shape in _leaves(operators, entering):
        name = type(operator).__name__.lower()
        costs[name] = costs.get(name, 0.0) + cost_of((operator,), shape).forward_flops
    return max(costs, key=lambda name: costs[name], default="layer")


def _chain(operators: Sequence[Operator]) -> str:
    return ", ".join(map(_words, operators)) or "nothing"


def _words(operator: Operator) -> str:
    words = [type(operator).__name__.lower()]
    if isinstance(operator, Residual):
        words.append(f"({_chain(operator.body)})")
        if operator.shortcut:
            words.append(f"beside ({_chain(operator.shortcut)})")
    elif isinstance(operator, Concatenate):
        words += [f"({_chain(branch)})" for branch in operator.branches]
    else:
        for entry in fields(operator):
            if not entry.metadata.get("cost", True):
                continue
            value = getattr(operator, entry.name)
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            if entry.default is MISSING:
                words.append(text)
            elif value != entry.default:
                words.append(f"{entry.name}={text}")
    return " ".join(words)


def _leaves(operators: Sequence[Operator], entering: Shape) -> Iterator[tuple[Operator, Shape]]:
    """Operators that hold no others, each with the shape that enters it."""
    for operator in operators:
        if isinstance(operator, Residual):
            yield from _leaves(operator.body, entering)
            yield from _leaves(operator.shortcut, entering)
        elif isinstance(operator, Concatenate):
            for branch in operator.branches:
                yield from _leaves(branch, entering)
        else:
            yield operator, entering
        entering = cost_of((operator,), entering).outputs
