"""Every operator of `parasim.workload.operators` on torch. Backward passes are torch's automatic differentiation.

An operator takes its parameters in the order in which `parasim.workload.costs` lists them. Arrays have the samples as
their first dimension.

Batch normalisation uses the mean and variance of the batch at hand, always: of one worker's (one micro-batch's) samples
when training, of the held-out samples when evaluating. It keeps no running statistics. So a network with it gives other
gradients when a mini-batch is split among workers or into micro-batches, as it does in reality where statistics are not
synchronised; a cut into stages changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.nn import functional

from parasim.errors import ProgramError
from parasim.workload.operators import (
    LSTM,
    Activate,
    Attention,
    AttentionHeads,
    BatchNorm,
    Bias,
    Concatenate,
    Conv,
    Embedding,
    EmbeddingRows,
    Flatten,
    Fork,
    GlobalPool,
    Join,
    LayerNorm,
    Linear,
    Operator,
    Pool,
    Positions,
    Residual,
    Segments,
    Select,
    Subsample,
    TiedLinear,
)

__all__ = ["apply_beside", "apply_operators"]

_Parameters = Iterator[torch.Tensor]


def apply_operators(operators: Iterable[Operator], x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    """Apply operators one after the other; each takes its parameters from the iterator.

    Raises
    ------
    ProgramError
        If a batch has one value per channel where `BatchNorm` needs more.
    """
    return apply_beside(operators, x, None, parameters)[0]


def apply_beside(
    operators: Iterable[Operator], x: torch.Tensor, aside: torch.Tensor | None, parameters: _Parameters
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same with what is kept aside before and after, between a fork and its join."""
    for operator in operators:
        if isinstance(operator, Fork):
            aside = x
        elif isinstance(operator, Join):
            assert aside is not None
            x, aside = x + aside, None
        else:
            x = _OPERATORS[type(operator)](operator, x, parameters)
    return x, aside


def _weight_and_bias(bias: bool, parameters: _Parameters) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight = next(parameters)
    return weight, next(parameters) if bias else None


def _conv(operator: Conv, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    weight, bias = _weight_and_bias(operator.bias, parameters)
    return functional.conv2d(x, weight, bias, operator.stride, operator.padding, groups=operator.groups)


def _linear(operator: Linear, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.linear(x, *_weight_and_bias(operator.bias, parameters))


def _tied(operator: TiedLinear, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.linear(x, next(parameters))


def _batch_norm(operator: BatchNorm, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    if x.numel() == x.shape[1]:
        raise ProgramError(
            "BatchNorm got one value per channel, whose deviation is zero; use batches (micro-batches) of two samples "
            "or more"
        )
    return functional.batch_norm(x, None, None, next(parameters), next(parameters), training=True)


def _layer_norm(operator: LayerNorm, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], next(parameters), next(parameters))


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}


def _activate(operator: Activate, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return _FUNCTIONS[operator.function](x)


def _pool(operator: Pool, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    pool = functional.max_pool2d if operator.kind == "max" else functional.avg_pool2d
    result: torch.Tensor = pool(x, operator.kernel, operator.stride, operator.padding)
    return result


def _global_pool(operator: GlobalPool, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.adaptive_avg_pool2d(x, (operator.rows, operator.columns))


def _subsample(operator: Subsample, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    further = operator.channels - x.shape[1]
    return functional.pad(x[:, :, :: operator.stride, :: operator.stride], (0, 0, 0, 0, 0, further))


def _flatten(operator: Flatten, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return x.flatten(1)


def _embedding(operator: Embedding, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.embedding(x, next(parameters))


def _embedding_rows(operator: EmbeddingRows, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    row = x - operator.first
    others = (row < 0) | (row >= operator.entries)
    found = functional.embedding(row.masked_fill(others, 0), next(parameters))
    return found.masked_fill(others.unsqueeze(-1), 0.0)


def _positions(operator: Positions, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return x + next(parameters)[: x.shape[1]]


def _segments(operator: Segments, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return x + next(parameters)[0]


def _attention(operator: Attention, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    heads = AttentionHeads(operator.heads, x.shape[2] // operator.heads, operator.causal, operator.bias)
    return functional.linear(_mixed(heads, x, parameters), *_weight_and_bias(operator.bias, parameters))


def _attention_heads(operator: AttentionHeads, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return functional.linear(_mixed(operator, x, parameters), next(parameters))


def _mixed(operator: AttentionHeads, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    """Scaled dot products of all tokens with all, written out: every device and type then does the same work."""
    batch, tokens, _ = x.shape
    joint = functional.linear(x, *_weight_and_bias(operator.bias, parameters))
    heads = joint.view(batch, tokens, 3, operator.heads, operator.width).permute(2, 0, 3, 1, 4)
    queries, keys, values = heads.unbind(0)
    scores = queries @ keys.transpose(-1, -2) * operator.width**-0.5
    if operator.causal:
        later = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return (torch.softmax(scores, -1) @ values).transpose(1, 2).reshape(batch, tokens, -1)


def _bias(operator: Bias, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    vector = next(parameters)
    return x + (vector.view(-1, 1, 1) if x.dim() == 4 else vector)


def _lstm(operator: LSTM, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    """Token by token, from a state of zeros; gates in torch's order: input, forget, cell, output."""
    from_inputs, from_hidden, bias, second = (next(parameters) for _ in range(4))
    entering = functional.linear(x, from_inputs, bias + second)
    hidden = cell = x.new_zeros(len(x), operator.hidden)
    leaving = []
    for token in entering.unbind(1):
        gates = functional.linear(hidden, from_hidden, None) + token
        let_in, keep, new, let_out = gates.chunk(4, 1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(let_in) * torch.tanh(new)
        hidden = torch.sigmoid(let_out) * torch.tanh(cell)
        leaving.append(hidden)
    return torch.stack(leaving, 1)


def _select(operator: Select, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return x[:, 0 if operator.position == "first" else -1]


def _residual(operator: Residual, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    body = apply_operators(operator.body, x, parameters)
    return body + apply_operators(operator.shortcut, x, parameters)


def _concatenate(operator: Concatenate, x: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return torch.cat([apply_operators(branch, x, parameters) for branch in operator.branches], 1)


_OPERATORS: dict[type, Callable[[Any, torch.Tensor, _Parameters], torch.Tensor]] = {
    LSTM: _lstm,
    Activate: _activate,
    Attention: _attention,
    AttentionHeads: _attention_heads,
    BatchNorm: _batch_norm,
    Bias: _bias,
    Concatenate: _concatenate,
    Conv: _conv,
    Embedding: _embedding,
    EmbeddingRows: _embedding_rows,
    Flatten: _flatten,
    GlobalPool: _global_pool,
    LayerNorm: _layer_norm,
    Linear: _linear,
    Pool: _pool,
    Positions: _positions,
    Residual: _residual,
    Segments: _segments,
    Select: _select,
    Subsample: _subsample,
    TiedLinear: _tied,
}
"""Without a copy of its own, who applies a `TiedLinear` gives it the token vectors (`parasim.learning.chains`).
The steps of the fused loss are in `parasim.learning.logits`: they need the targets.
"""
