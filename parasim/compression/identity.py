"""No compression: every element as it is. What schemes are tested with: it must change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors

__all__ = ["Identity"]


@dataclass(frozen=True, slots=True)
class Identity(Compressor):
    """W elements as they are; 4 W bytes in float32. Cost: a copy."""

    name = "identity"
    citation = "none"
    law = "4 W"
    unbiased = True
    rounds = 1
    aggregation = "reduce"
    for_values = True

    def wire_bytes(self, span: Span) -> int:
        """Bytes of the vector itself."""
        return span.elements * span.itemsize

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """The elements."""
        return xp.from_bytes(wire, span.dtype)

    def summand(
        self,
        xp: Tensors,
        number: int,
        vector: Tensor,
        before: list[Tensor],
        slots: tuple[Tensor, ...],
        span: Span,
        chance: Chance,
    ) -> Tensor:
        """The vector."""
        return xp.copy(vector)

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """The sum."""
        return before[0]
