"""Top-k: the k elements largest in magnitude, with their places (Aji and Heafield 2017; SCHEMES S44).

What is not sent is added to the next gradient (error feedback): without it, small gradients would never be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["TopK"]


@dataclass(frozen=True, slots=True)
class TopK(Compressor):
    """k values and k int32 places: 8 k bytes in float32, ``k = max(1, round(density W))``. Cost: the selection."""

    name = "topk"
    aliases: ClassVar[tuple[str, ...]] = ("top_k", "gradient_dropping")
    citation = "Aji, Heafield (2017)"
    law = "8 k"
    unbiased = False
    error_feedback = True
    density: float = option(0.01, "share of the elements that is sent", gt=0, le=1)

    def kept(self, span: Span) -> int:
        """How many elements are sent."""
        return min(span.elements, max(1, round(self.density * span.elements)))

    def wire_bytes(self, span: Span) -> int:
        """A value and a place for each element that is sent."""
        return self.kept(span) * (span.itemsize + 4)

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Values, then places."""
        return xp.bytes_of(list(xp.top_k(vector, self.kept(span))))

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Zero but where something was sent."""
        vector = xp.zeros(span.elements)
        self.add_decoded(xp, vector, wire, span)
        return vector

    def add_decoded(self, xp: Tensors, into: Tensor, wire: Tensor, span: Span, scale: float = 1.0) -> None:
        """Only places that were sent are touched."""
        cut = self.kept(span) * span.itemsize
        values = xp.from_bytes(wire[:cut], span.dtype)
        if scale != 1.0:
            xp.scale_(values, scale)
        xp.add_at_(into, xp.from_bytes(wire[cut:], "int32"), values)
