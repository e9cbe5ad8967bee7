"""What each operator costs per sample; what counts is written in parasim/workload/costs.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from parasim.errors import ScenarioError
from parasim.workload.operators import (
    LSTM,
    Activate,
    Attention,
    AttentionHeads,
    BatchNorm,
    Bias,
    Conv,
    Embedding,
    EmbeddingRows,
    Flatten,
    Fork,
    GlobalPool,
    Join,
    LayerNorm,
    Linear,
    LogitLoss,
    LogitMaxima,
    LogitSums,
    Operator,
    Pool,
    Positions,
    Segments,
    Select,
    Shape,
    Subsample,
    TiedLinear,
)

__all__ = ["OPERATOR_COSTS", "Cost", "Parameter", "Role", "elements", "shape_text"]

Role = Literal["filter", "weight", "recurrent", "table", "tied", "scale", "shift", "bias"]


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
        recurrent layer, the table of an embedding or a copy of it; scale and shift of a normalisation (one and zero);
        a bias.
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


def shape_text(shape: Shape) -> str:
    """As in "3x224x224"."""
    return "x".join(map(str, shape))


def _dimensions(operator: Operator, entering: Shape, count: int, meaning: str) -> Shape:
    """The shape, if it has so many dimensions."""
    if len(entering) != count:
        raise ScenarioError(f"{type(operator).__name__} takes {meaning}, not {shape_text(entering)}; change the inputs")
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
            f"an image of {shape_text(entering[1:])} is too small for a window of {shape_text(operator.kernel)}; use "
            "larger ones"
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
    cost = _linear(Linear(operator.outputs, bias=False), entering)
    copies = tuple(replace(parameter, role="tied") for parameter in cost.parameters) if operator.copied else ()
    return replace(cost, parameters=copies)


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


def _embedding(operator: Embedding | EmbeddingRows, entering: Shape) -> Cost:
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
    width = _sequence(operator, entering)[1]
    if width % operator.heads:
        raise ScenarioError(f"{operator.heads} heads can't share {width} elements; choose a divisor")
    heads = AttentionHeads(operator.heads, width // operator.heads, operator.causal, operator.bias)
    cost = _attention_heads(heads, entering)
    last = (Parameter("out_proj.bias", (width,), "bias"),) if operator.bias else ()
    return replace(cost, parameters=(*cost.parameters, *last))


def _attention_heads(operator: AttentionHeads, entering: Shape) -> Cost:
    tokens, width = _sequence(operator, entering)
    inner = operator.heads * operator.width
    into = Parameter("in_proj_weight", (3 * inner, width), "weight")
    out = Parameter("out_proj.weight", (width, inner), "weight")
    bias = (Parameter("in_proj_bias", (3 * inner,), "bias"),) if operator.bias else ()
    projections = 2.0 * tokens * (into.elements + out.elements)
    products = 2 * (2.0 * tokens * tokens * inner)
    return Cost(
        entering,
        (into, *bias, out),
        projections + products,
        projections + 2 * products,
        projections,
        4 * tokens * inner + operator.heads * tokens * tokens,
        keeps_input=True,
    )


def _bias(operator: Bias, entering: Shape) -> Cost:
    channels = entering[0] if len(entering) == 3 else entering[-1]
    return Cost(entering, (Parameter("bias", (channels,), "bias"),))


def _fork(operator: Fork, entering: Shape) -> Cost:
    return Cost(entering, is_view=True)


def _join(operator: Join, entering: Shape) -> Cost:
    return Cost(entering)


def _lstm(operator: LSTM, entering: Shape) -> Cost:
    """Four gates and the cell of every token are kept; the state before the first token is given, without gradient."""
    tokens, inputs = _sequence(operator, entering)
    hidden, gates = operator.hidden, 4 * operator.hidden
    listed = (
        Parameter("weight_ih_l0", (gates, inputs), "recurrent"),
        Parameter("weight_hh_l0", (gates, hidden), "recurrent"),
        Parameter("bias_ih_l0", (gates,), "bias"),
        Parameter("bias_hh_l0", (gates,), "bias"),
    )
    flops = 2.0 * tokens * gates * (inputs + hidden)
    first = 2.0 * gates * hidden
    return Cost((tokens, hidden), listed, flops, flops - first, flops, tokens * (gates + hidden), True, True)


def _logit_maxima(operator: LogitMaxima, entering: Shape) -> Cost:
    return Cost(_sequence(operator, entering)[:1])


def _logit_sums(operator: LogitSums, entering: Shape) -> Cost:
    return Cost((2 * entering[0],))


def _logit_loss(operator: LogitLoss, entering: Shape) -> Cost:
    return Cost((entering[0] // 2, operator.columns))


def _select(operator: Select, entering: Shape) -> Cost:
    return Cost(_sequence(operator, entering)[1:])


OPERATOR_COSTS: Mapping[type, Callable[[Any, Shape], Cost]] = {
    LSTM: _lstm,
    Activate: _activate,
    Attention: _attention,
    AttentionHeads: _attention_heads,
    BatchNorm: _batch_norm,
    Bias: _bias,
    Conv: _conv,
    Embedding: _embedding,
    EmbeddingRows: _embedding,
    Flatten: _flatten,
    Fork: _fork,
    GlobalPool: _global_pool,
    Join: _join,
    LayerNorm: _layer_norm,
    Linear: _linear,
    LogitLoss: _logit_loss,
    LogitMaxima: _logit_maxima,
    LogitSums: _logit_sums,
    Pool: _pool,
    Positions: _positions,
    Segments: _segments,
    Select: _select,
    Subsample: _subsample,
    TiedLinear: _tied,
}
"""By the operator's type: from it and the shape that enters to its cost; `ScenarioError` if it can't take the shape."""
