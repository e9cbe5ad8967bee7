"""What a chain of operators costs per sample: shapes, parameters, FLOP, and what is kept from forward to backward.

What counts
-----------
FLOP are those of matrix products, a multiply-add being two: convolutions, linear layers, the projections of a recurrent
layer, the products of attention (the whole square of scores, masked or not). That is what
``torch.utils.flop_counter.FlopCounterMode`` counts. Everything element-wise is traffic to memory, not FLOP.

Kept elements are those that torch's automatic differentiation keeps, each array once: the inputs of products, of
normalisations and of pooling windows (for a maximum, also which element it was); the outputs of relu, tanh and sigmoid
(so whether they work in place makes no difference) but the inputs of gelu; in attention, its inputs, queries, keys,
values, the square of probabilities per head and their product with the values (kernels that recompute the square, as
FlashAttention, keep less). Statistics of normalisations are kept per token by `LayerNorm`, and per channel for the
whole batch, which is left out, by `BatchNorm`. Dropout is no operator here: no FLOP and no parameters, though its masks
would be kept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from parasim.errors import ScenarioError
from parasim.workload.operator_costs import OPERATOR_COSTS, Cost, Parameter, elements, shape_text
from parasim.workload.operators import Concatenate, Operator, Residual, Shape

__all__ = ["Cost", "Parameter", "cost_of", "elements", "output_shape", "parameters"]


def output_shape(operators: Sequence[Operator], entering: Shape) -> Shape:
    """Shape that leaves a chain of operators; raises as :func:`cost_of` does."""
    return cost_of(operators, entering).outputs


def parameters(operators: Sequence[Operator], entering: Shape) -> tuple[Parameter, ...]:
    """Parameters of a chain of operators in the order of the flat vector; raises as :func:`cost_of` does."""
    return cost_of(operators, entering).parameters


def cost_of(operators: Sequence[Operator], entering: Shape) -> Cost:
    """Costs of operators one after the other, from inputs of shape `entering`.

    Raises
    ------
    ScenarioError
        If an operator can't take what it is given.
    """
    return _cost_of(tuple(operators), entering)


@functools.lru_cache(maxsize=4096)
def _cost_of(operators: tuple[Operator, ...], entering: Shape) -> Cost:
    """The same; networks repeat their blocks."""
    total = Cost(entering, is_view=True)
    for number, operator in enumerate(operators):
        total = _after(total, _cost(operator, total.outputs, f"{number}."))
    return total


def _after(first: Cost, second: Cost) -> Cost:
    """One after the other: the array between them is kept once, whoever needs it."""
    kept = first.kept + second.kept
    if not first.is_view and not second.is_view and (first.keeps_output or second.keeps_input):
        kept += elements(first.outputs)
    return Cost(
        second.outputs,
        first.parameters + second.parameters,
        first.forward_flops + second.forward_flops,
        first.input_flops + second.input_flops,
        first.weight_flops + second.weight_flops,
        kept,
        first.keeps_input or (first.is_view and second.keeps_input),
        second.keeps_output or (second.is_view and first.keeps_output),
        first.is_view and second.is_view,
    )


def _cost(operator: Operator, entering: Shape, prefix: str) -> Cost:
    if isinstance(operator, (Residual, Concatenate)):
        return _branched(operator, entering, prefix)
    cost = OPERATOR_COSTS[type(operator)](operator, entering)
    return replace(cost, parameters=tuple(replace(p, name=prefix + p.name) for p in cost.parameters))


def _branched(operator: Residual | Concatenate, entering: Shape, prefix: str) -> Cost:
    """Branches that share the array that enters; what leaves is a new one."""
    if isinstance(operator, Residual):
        names, branches = ["body", "shortcut"], [operator.body, operator.shortcut]
    else:
        branches = list(operator.branches)
        names = [f"branches.{number}" for number in range(len(branches))]
    costs = [cost_of(branch, entering) for branch in branches]
    listed = [
        replace(parameter, name=f"{prefix}{name}.{parameter.name}")
        for name, cost in zip(names, costs, strict=True)
        for parameter in cost.parameters
    ]
    leaving = [cost.outputs for cost in costs]
    if isinstance(operator, Residual):
        if leaving[0] != leaving[1]:
            raise ScenarioError(
                f"a residual can't add {shape_text(leaving[0])} and {shape_text(leaving[1])}; make them equal"
            )
        outputs = leaving[0]
    else:
        if len({shape[1:] for shape in leaving}) != 1:
            raise ScenarioError(f"branches leave {', '.join(map(shape_text, leaving))}; only channels may differ")
        outputs = (sum(shape[0] for shape in leaving), *leaving[0][1:])
    own = sum(elements(cost.outputs) for cost in costs if cost.keeps_output and not cost.is_view)
    return Cost(
        outputs,
        tuple(listed),
        sum(cost.forward_flops for cost in costs),
        sum(cost.input_flops for cost in costs),
        sum(cost.weight_flops for cost in costs),
        own + sum(cost.kept for cost in costs),
        any(cost.keeps_input for cost in costs),
    )
