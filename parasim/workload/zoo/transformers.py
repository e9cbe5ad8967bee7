"""Transformers: GPT of any size, the four of GPT-2, and BERT. A unit is a transformer block.

References
----------
Radford, Wu, Child, Luan, Amodei, Sutskever: Language models are unsupervised multitask learners, OpenAI 2019 (GPT-2).
Devlin, Chang, Lee, Toutanova: BERT: pre-training of deep bidirectional transformers, NAACL 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parasim.errors import ScenarioError
from parasim.program.scheme import option
from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import (
    Activate,
    Attention,
    Embedding,
    LayerNorm,
    Linear,
    Operator,
    Positions,
    Residual,
    Segments,
    Select,
    TiedLinear,
)
from parasim.workload.zoo.ends import Tokens, chain, token_ends

__all__ = ["Bert", "Gpt", "Gpt2", "bert", "gpt", "gpt2"]

_GPT2_TOKENS = 50_257
_TIED = "outputs share the weights of the token vectors, as published; most schemes train it with false only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpt(Tokens):
    """A GPT of any size, built as GPT-2 is, with as many positions as tokens; without dropout."""

    layers: int = option(12, "transformer blocks", ge=1, le=5000)
    hidden: int = option(768, "elements of a token's vector", ge=1, le=10_000_000)
    heads: int = option(12, "attention heads; they divide `hidden`", ge=1, le=1_000_000)
    tied: bool = option(True, _TIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpt2:
    """GPT-2 as published: 50,257 tokens and 1,024 positions; without dropout."""

    sequence: int = option(0, "tokens of a sample (0: the data's, or else all 1024 positions)", ge=0, le=1024)
    tied: bool = option(True, _TIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """BERT as published: encoder and pooler, no head, 30,522 word pieces and 512 positions; without dropout."""

    sequence: int = option(512, "tokens of a sample", ge=1, le=512)


def _decoder_block(hidden: int, heads: int) -> tuple[Operator, ...]:
    widened = (LayerNorm(), Linear(4 * hidden), Activate("gelu_tanh"), Linear(hidden))
    return (Residual((LayerNorm(), Attention(heads, causal=True))), Residual(widened))


def _encoder_block(hidden: int, heads: int) -> tuple[Operator, ...]:
    widened = (Linear(4 * hidden), Activate("gelu"), Linear(hidden))
    return (Residual((Attention(heads),)), LayerNorm(), Residual(widened), LayerNorm())


def _decoder(
    name: str, tokens: int, positions: int, vocabulary: int, layers: int, hidden: int, heads: int, tied: bool
) -> Network:
    output = TiedLinear(vocabulary) if tied else Linear(vocabulary, bias=False)
    return chain(
        name,
        (tokens,),
        [
            ("embedding", (Embedding(vocabulary, hidden), Positions(positions))),
            *((f"block{number}", _decoder_block(hidden, heads)) for number in range(layers)),
            ("output", (LayerNorm(), output)),
        ],
    )


def gpt(options: Gpt, data: DataSpec | None) -> Network:
    """Token and position vectors, blocks, and the next token at every position."""
    tokens, vocabulary = token_ends("gpt", options, 1024, _GPT2_TOKENS, data)
    return _decoder("gpt", tokens, tokens, vocabulary, options.layers, options.hidden, options.heads, options.tied)


def gpt2(size: str, layers: int, hidden: int, heads: int) -> Callable[[Gpt2, DataSpec | None], Network]:
    """Builder of a published GPT-2."""
    name = f"gpt2-{size}"

    def build(options: Gpt2, data: DataSpec | None) -> Network:
        tokens, vocabulary = token_ends(name, Tokens(sequence=options.sequence), 1024, _GPT2_TOKENS, data)
        if data is not None and vocabulary != _GPT2_TOKENS:
            raise ScenarioError(
                f"model {name} knows {_GPT2_TOKENS} kinds of tokens, but data {data.name} have {vocabulary}; use model "
                f"gpt, with layers: {layers}, hidden: {hidden}, heads: {heads} if it shall be as large"
            )
        return _decoder(name, tokens, 1024, vocabulary, layers, hidden, heads, options.tied)

    return build


def bert(size: str, layers: int, hidden: int, heads: int) -> Callable[[Bert, DataSpec | None], Network]:
    """Builder of a published BERT."""
    name = f"bert-{size}"

    def build(options: Bert, data: DataSpec | None) -> Network:
        if data is not None:
            raise ScenarioError(
                f"model {name} ends in its pooler and predicts nothing from data {data.name}; leave the data out"
            )
        return chain(
            name,
            (options.sequence,),
            [
                ("embedding", (Embedding(30_522, hidden), Positions(512), Segments(2), LayerNorm())),
                *((f"block{number}", _encoder_block(hidden, heads)) for number in range(layers)),
                ("pooler", (Select("first"), Linear(hidden), Activate("tanh"))),
            ],
        )

    return build
