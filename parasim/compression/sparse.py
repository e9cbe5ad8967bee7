"""What codes share that send k elements with their places: how many, in how many bytes, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Compressor, Span, Tensor, Tensors, option

__all__ = ["Sparse"]


@dataclass(frozen=True, slots=True)
class Sparse(Compressor):
    """A message is k values, then k int32 places, ``k = max(1, round(density W))``. Subclasses choose the places."""

    density: float = option(0.01, "share of the elements that is sent", gt=0, le=1)

    def kept(self, span: Span) -> int:
        """How many elements are sent."""
        return min(span.elements, max(1, round(self.density * span.elements)))

    def wire_bytes(self, span: Span) -> int:
        """A value and a place for each element that is sent."""
        return self.kept(span) * (span.itemsize + 4)

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Zero but where something was sent."""
        vector = xp.zeros(span.elements, span.dtype)
        self.add_decoded(xp, vector, wire, span)
        return vector

    def add_decoded(self, xp: Tensors, into: Tensor, wire: Tensor, span: Span, scale: float = 1.0) -> None:
        """Only places that were sent are touched."""
        cut = self.kept(span) * span.itemsize
        values = xp.from_bytes(wire[:cut], span.dtype)
        if scale != 1.0:
            xp.scale_(values, scale)
        xp.add_at_(into, xp.from_bytes(wire[cut:], "int32"), values)
