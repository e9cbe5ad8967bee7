"""Top-k: the k elements largest in magnitude, with their places (Aji and Heafield 2017; SCHEMES S44).

What is not sent is added to the next gradient (error feedback): without it, small gradients would never be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.compression.sparse import Sparse
from parasim.program import Chance, Span, Tensor, Tensors

__all__ = ["TopK"]


@dataclass(frozen=True, slots=True)
class TopK(Sparse):
    """k values and k int32 places: 8 k bytes in float32, ``k = max(1, round(density W))``. Cost: the selection."""

    name = "topk"
    aliases: ClassVar[tuple[str, ...]] = ("top_k", "gradient_dropping")
    citation = "Aji, Heafield (2017)"
    law = "8 k"
    unbiased = False
    error_feedback = True

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Values, then places."""
        return xp.bytes_of(list(xp.top_k(vector, self.kept(span))))
