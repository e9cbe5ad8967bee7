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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from parasim.errors import ScenarioError
from parasim.workload.operators import (
    LSTM,
    Activate,
    Attention,
    BatchNorm,
    Concatenate,
    Conv,
    Embedding,
    Flatten,
    GlobalPool,
    LayerNorm,
    Linear,
    Operator,
    Pool,
    Positions,
    Residual,
    Segments,
    Select,
    Shape,
    Subsample,
    TiedLinear,
)

__all__ = ["Cost", "Parameter", "cost_of", "elements", "output_shape", "parameters"]

Role = Literal["filter", "weight", "recurrent", "table", "scale", "shift", "bias"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One array of parameters.

    Attributes
    ----------
    name
        Where it is, in the words of torch.nn: "0.weight"; inside a residual "1.body.0.weight", "1.shortcut.0.weight";
        inside branches "2.branches.0.1.bias".
    shape
        As torch lays it out, row-major.
    role
        Decides how it is initialised: the filter of a convolution, the weight of a linear layer, weights of a
        recurrent layer, the table of an embedding; scale and shift of a normalisation (one and zero); a bias.
    """

    name: str
    shape: Shape
    role: Role

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of operators, per sample.

    Attributes
    ----------
    outputs
        Shape that leaves.
    parameters
        In the order in which they lie in the flat vector, which is that of torch's ``Module.parameters()``.
    forward_flops, input_flops, weight_flops
        FLOP forward, and backward to inputs and to weights.
    kept
        Elements kept for backward, less the arrays that enter and leave.
    keeps_input, keeps_output
        Is the array that enters (leaves) kept for backward too?
    is_view
        Is what leaves the same array as what enters?
    """

    outputs: Shape
    parameters: tuple[Parameter, ...] = ()
    forward_flops: float = 0.0
    input_flops: float = 0.0
    weight_flops: float = 0.0
    kept: int = 0
    keeps_input: bool = False
    keeps_output: bool = False
    is_view: bool = False


def elements(shape: Shape) -> int:
    """Number of elements of an array."""
    return math.prod(shape)


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
    cost = _COSTS[type(operator)](operator, entering)
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
            raise ScenarioError(f"a residual adds {_text(leaving[0])} to {_text(leaving[1])}; make them equal")
        outputs = leaving[0]
    else:
        if len({shape[1:] for shape in leaving}) != 1:
            raise ScenarioError(f"branches leave {', '.join(map(_text, leaving))}; only channels may differ")
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


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _dimensions(operator: Operator, entering: Shape, count: int, meaning: str) -> Shape:
    """The shape, if it has so many dimensions."""
    if len(entering) != count:
        raise ScenarioError(f"{type(operator).__name__} takes {meaning}, not {_text(entering)}; change the inputs")
    return entering


def _image(operator: Operator, entering: Shape) -> Shape:
    return _dimensions(operator, entering, 3, "images (channels x rows x columns)")


def _sequence(operator: Operator, entering: Shape) -> Shape:
    return _dimensions(operator, entering, 2, "sequences (tokens x width)")


def _windows(operator: Conv | Pool, entering: Shape) -> tuple[int, int]:
    """Rows and columns of windows that slide over an image."""
    sides = [
        (side + 2 * padding - kernel) // stride + 1
        for side, kernel, stride, padding in zip(
            entering[1:], operator.kernel, operator.stride, operator.padding, strict=True
        )
    ]
    if min(sides) < 1:
        raise ScenarioError(
            f"an image of {_text(entering[1:])} is too small for a window of {_text(operator.kernel)}; use larger ones"
        )
    return sides[0], sides[1]


def _conv(operator: Conv, entering: Shape) -> Cost:
    channels, *_ = _image(operator, entering)
    if channels % operator.groups or operator.outputs % operator.groups:
        raise ScenarioError(
            f"{channels} channels to {operator.outputs} can't be convolved in {operator.groups} groups; give a divisor"
        )
    outputs = (operator.outputs, *_windows(operator, entering))
    filters = Parameter("weight", (operator.outputs, channels // operator.groups, *operator.kernel), "filter")
    flops = 2.0 * filters.elements * outputs[1] * outputs[2]
    return Cost(outputs, _with_bias(filters, operator.bias), flops, flops, flops, keeps_input=True)


def _with_bias(weight: Parameter, bias: bool) -> tuple[Parameter, ...]:
    return (weight, Parameter("bias", weight.shape[:1], "bias")) if bias else (weight,)


def _linear(operator: Linear, entering: Shape) -> Cost:
    weight = Parameter("weight", (operator.outputs, entering[-1]), "weight")
    flops = 2.0 * weight.elements * elements(entering[:-1])
    outputs = (*entering[:-1], operator.outputs)
    return Cost(outputs, _with_bias(weight, operator.bias), flops, flops, flops, keeps_input=True)


def _tied(operator: TiedLinear, entering: Shape) -> Cost:
    return replace(_linear(Linear(operator.outputs, bias=False), entering), parameters=())


def _norm(channels: int) -> tuple[Parameter, ...]:
    return Parameter("weight", (channels,), "scale"), Parameter("bias", (channels,), "shift")


def _batch_norm(operator: BatchNorm, entering: Shape) -> Cost:
    return Cost(entering, _norm(entering[0]), keeps_input=True)


def _layer_norm(operator: LayerNorm, entering: Shape) -> Cost:
    return Cost(entering, _norm(entering[-1]), kept=2 * elements(entering[:-1]), keeps_input=True)


def _activate(operator: Activate, entering: Shape) -> Cost:
    from_input = operator.function in ("gelu", "gelu_tanh")
    return Cost(entering, keeps_input=from_input, keeps_output=not from_input)


def _pool(operator: Pool, entering: Shape) -> Cost:
    outputs = (_image(operator, entering)[0], *_windows(operator, entering))
    return Cost(outputs, kept=elements(outputs) if operator.kind == "max" else 0, keeps_input=True)


def _global_pool(operator: GlobalPool, entering: Shape) -> Cost:
    """A plain mean keeps nothing; means over several windows keep the image."""
    outputs = (_image(operator, entering)[0], operator.rows, operator.columns)
    return Cost(outputs, keeps_input=outputs[1:] != (1, 1))


def _subsample(operator: Subsample, entering: Shape) -> Cost:
    channels, rows, columns = _image(operator, entering)
    if operator.channels < channels:
        raise ScenarioError(f"Subsample adds channels: {channels} can't become {operator.channels}; give more")
    return Cost((operator.channels, -(-rows // operator.stride), -(-columns // operator.stride)))


def _flatten(operator: Flatten, entering: Shape) -> Cost:
    return Cost((elements(entering),), is_view=True)


def _embedding(operator: Embedding, entering: Shape) -> Cost:
    tokens = _dimensions(operator, entering, 1, "token numbers (tokens)")
    table = Parameter("weight", (operator.entries, operator.width), "table")
    return Cost((*tokens, operator.width), (table,), keeps_input=True)


def _positions(operator: Positions, entering: Shape) -> Cost:
    tokens, width = _sequence(operator, entering)
    if tokens > operator.entries:
        raise ScenarioError(f"a sequence of {tokens} tokens has only {operator.entries} positions; give fewer tokens")
    return Cost(entering, (Parameter("weight", (operator.entries, width), "table"),))


def _segments(operator: Segments, entering: Shape) -> Cost:
    width = _sequence(operator, entering)[1]
    return Cost(entering, (Parameter("weight", (operator.entries, width), "table"),))


def _attention(operator: Attention, entering: Shape) -> Cost:
    tokens, width = _sequence(operator, entering)
    if width % operator.heads:
        raise ScenarioError(f"{operator.heads} heads can't share {width} elements; choose a divisor")
    into = Parameter("in_proj_weight", (3 * width, width), "weight")
    out = Parameter("out_proj.weight", (width, width), "weight")
    projections = 2.0 * tokens * (into.elements + out.elements)
    products = 2 * (2.0 * tokens * tokens * width)
    listed = (into, Parameter("in_proj_bias", (3 * width,), "bias"), out, Parameter("out_proj.bias", (width,), "bias"))
    return Cost(
        entering,
        listed if operator.bias else (into, out),
        projections + products,
        projections + 2 * products,
        projections,
        4 * tokens * width + operator.heads * tokens * tokens,
        keeps_input=True,
    )


def _lstm(operator: LSTM, entering: Shape) -> Cost:
    """Kept: four gates and the cell of every token, beside what enters and leaves."""
    tokens, inputs = _sequence(operator, entering)
    hidden, gates = operator.hidden, 4 * operator.hidden
    listed = (
        Parameter("weight_ih_l0", (gates, inputs), "recurrent"),
        Parameter("weight_hh_l0", (gates, hidden), "recurrent"),
        Parameter("bias_ih_l0", (gates,), "bias"),
        Parameter("bias_hh_l0", (gates,), "bias"),
    )
    flops = 2.0 * tokens * gates * (inputs + hidden)
    return Cost((tokens, hidden), listed, flops, flops, flops, tokens * (gates + hidden), True, True)


def _select(operator: Select, entering: Shape) -> Cost:
    return Cost(_sequence(operator, entering)[1:])


_COSTS: dict[type, Callable[[Any, Shape], Cost]] = {
    LSTM: _lstm,
    Activate: _activate,
    Attention: _attention,
    BatchNorm: _batch_norm,
    Conv: _conv,
    Embedding: _embedding,
    Flatten: _flatten,
    GlobalPool: _global_pool,
    LayerNorm: _layer_norm,
    Linear: _linear,
    Pool: _pool,
    Positions: _positions,
    Segments: _segments,
    Select: _select,
    Subsample: _subsample,
    TiedLinear: _tied,
}
