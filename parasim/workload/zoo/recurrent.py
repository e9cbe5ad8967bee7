"""Language models of long short-term memory.

References
----------
Zaremba, Sutskever, Vinyals: Recurrent neural network regularization, arXiv:1409.2329, 2014, section 4.1: the large
model (66 million parameters) has 2 layers of 1500 units on Penn Treebank (10,000 words), unrolled for 35 steps; the
medium one (20 million) 650 units.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program.scheme import option
from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import LSTM, Embedding, Linear
from parasim.workload.zoo.ends import Tokens, chain, token_ends

__all__ = ["Lstm", "lstm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lstm(Tokens):
    """A word-level LSTM with torch's two biases a layer; by default the large one of Zaremba et al.; no dropout."""

    layers: int = option(2, "layers of LSTM", ge=1, le=1000)
    hidden: int = option(1500, "units of a layer, and elements of a word's vector", ge=1, le=10_000_000)


def lstm(options: Lstm, data: DataSpec | None) -> Network:
    """Word vectors, layers of LSTM, and a linear layer to the next word at every position."""
    tokens, vocabulary = token_ends("lstm", options, 35, 10_000, data)
    layers = [(f"lstm{number}", (LSTM(options.hidden),)) for number in range(options.layers)]
    return chain(
        "lstm",
        (tokens,),
        [("embedding", (Embedding(vocabulary, options.hidden),)), *layers, ("output", (Linear(vocabulary),))],
    )
