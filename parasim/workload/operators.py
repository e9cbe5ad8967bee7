"""Networks as data: the operators of which every network of the zoo is written, once.

From one description follow its costs (parasim/workload/costs.py), and the network that learning trains
(parasim/learning/modules.py). An operator maps one array per sample to another; shapes are those of a sample:
(channels, rows, columns) of an image, (tokens, width) of a sequence, (elements,) of a vector, (tokens,) of token
numbers.

Names and defaults are those of torch.nn, so that a reader who knows torch reads a network at a glance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "LSTM",
    "Activate",
    "Attention",
    "AttentionHeads",
    "BatchNorm",
    "Bias",
    "Concatenate",
    "Conv",
    "Embedding",
    "EmbeddingRows",
    "Flatten",
    "Fork",
    "GlobalPool",
    "Join",
    "LayerNorm",
    "Linear",
    "LogitLoss",
    "LogitMaxima",
    "LogitSums",
    "Operator",
    "Pool",
    "Positions",
    "Residual",
    "Segments",
    "Select",
    "Shape",
    "Subsample",
    "TiedLinear",
]

Shape = tuple[int, ...]
"""Of one sample, without the batch."""

_NO_COST = {"cost": False}
"""Of fields that change what is computed, but not how much: signatures leave them out."""


@dataclass(frozen=True, slots=True)
class Conv:
    """Correlation of (channels, rows, columns) with filters of `kernel` (rows, columns)."""

    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Linear:
    """``y = x W' + b`` over the last dimension."""

    outputs: int
    bias: bool = True


@dataclass(frozen=True, slots=True)
class TiedLinear:
    """A linear layer without bias whose weights are those of the network's `Embedding`: work, but no parameters.

    `copied`: it has a copy of them, which a scheme keeps equal.
    """

    outputs: int
    copied: bool = field(default=False, metadata=_NO_COST)


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Normalise each channel over the batch; scale and shift are learned, running statistics are no parameters."""


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalise over the last dimension; scale and shift are learned."""


@dataclass(frozen=True, slots=True)
class Activate:
    """An element-wise function."""

    function: Literal["relu", "tanh", "sigmoid", "gelu", "gelu_tanh"]


@dataclass(frozen=True, slots=True)
class Pool:
    """The largest or the mean of each window of (rows, columns). Padding counts in means, as torch does by default."""

    kind: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """The mean over rows x columns windows that cover the image (torch's adaptive average pooling)."""

    rows: int = 1
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Subsample:
    """Every `stride`-th row and column, and zeros as further channels, `channels` in all.

    The shortcut without parameters (option A) of He et al. (2016).
    """

    channels: int
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Flatten:
    """All elements as one vector."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token numbers (tokens,) to vectors (tokens, width) of a table of `entries` rows."""

    entries: int
    width: int


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """`entries` rows, from number `first` on, of the table of an :class:`Embedding`; other tokens give zeros.

    The sum over members that share the table is the embedding (Shoeybi et al. 2019). Which rows they are changes no
    cost.
    """

    entries: int
    width: int
    first: int = field(default=0, metadata=_NO_COST)


@dataclass(frozen=True, slots=True)
class Positions:
    """Add a learned vector per position; the table has `entries` rows, of which the first are used."""

    entries: int


@dataclass(frozen=True, slots=True)
class Segments:
    """Add a learned vector of one of `entries` kinds of segment (BERT); every token is of kind 0."""

    entries: int


@dataclass(frozen=True, slots=True)
class Attention:
    """Multi-head self-attention of (tokens, width): query, key, value projections as one, attention, projection."""

    heads: int
    causal: bool = False
    bias: bool = True


@dataclass(frozen=True, slots=True)
class AttentionHeads:
    """`heads` heads, of `width` elements each, of the :class:`Attention` of a wider model: their part of its outputs.

    The sum of all heads' parts, and the bias of the projection, are the outputs.
    """

    heads: int
    width: int
    causal: bool = False
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Bias:
    """Add a learned vector over the last dimension, or over the channels of an image."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Keep a copy aside, for the next :class:`Join`."""


@dataclass(frozen=True, slots=True)
class Join:
    """Add what was kept aside: a fork, operators and a join are a :class:`Residual` that may be cut in between."""


@dataclass(frozen=True, slots=True)
class LSTM:
    """One layer of long short-term memory over (tokens, inputs), giving (tokens, hidden); torch's two bias vectors."""

    hidden: int


@dataclass(frozen=True, slots=True)
class Select:
    """One token of a sequence, (tokens, width) to (width,): the first (BERT's pooler) or the last."""

    position: Literal["first", "last"] = "last"


@dataclass(frozen=True, slots=True)
class LogitMaxima:
    """Of every token the largest of one's own columns of its logits, which go aside; `known` columns are no padding.

    Cross entropy of logits that members share by columns takes this, :class:`LogitSums` and :class:`LogitLoss`.
    """

    known: int = field(metadata=_NO_COST)


@dataclass(frozen=True, slots=True)
class LogitSums:
    """From the maxima of all columns: sums of the exponentials of one's own, then the targets' logits (or zeros).

    One's columns are those from number `first` on.
    """

    first: int = field(metadata=_NO_COST)


@dataclass(frozen=True, slots=True)
class LogitLoss:
    """From the sums over all members: the loss, and its gradient with respect to one's own `columns`."""

    columns: int
    first: int = field(metadata=_NO_COST)


@dataclass(frozen=True, slots=True)
class Residual:
    """``body(x) + shortcut(x)``; an empty shortcut is the identity."""

    body: tuple[Operator, ...]
    shortcut: tuple[Operator, ...] = ()


@dataclass(frozen=True, slots=True)
class Concatenate:
    """The outputs of several branches of one input, joined along the channels."""

    branches: tuple[tuple[Operator, ...], ...]


Operator = (
    Conv
    | Linear
    | TiedLinear
    | BatchNorm
    | LayerNorm
    | Activate
    | Pool
    | GlobalPool
    | Subsample
    | Flatten
    | Embedding
    | EmbeddingRows
    | Positions
    | Segments
    | Attention
    | AttentionHeads
    | Bias
    | Fork
    | Join
    | LSTM
    | Select
    | LogitMaxima
    | LogitSums
    | LogitLoss
    | Residual
    | Concatenate
)
