"""Half precision: every element rounded to 16 bits (Micikevicius et al. 2018; SCHEMES S38).

IEEE half precision keeps 11 bits of the mantissa of numbers between 6e-5 and 65504; what is smaller loses bits or
becomes zero, what is larger becomes infinite, so gradients are scaled first. bfloat16 keeps 8 bits, of float32's range.
Sums are made in 16 bits too, as they are where an all-reduce of half-precision gradients makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["Bf16", "Fp16"]


@dataclass(frozen=True, slots=True)
class Bf16(Compressor):
    """bfloat16: 2 W bytes; rounds to nearest. Cost: one pass to round, one to widen."""

    name = "bf16"
    aliases: ClassVar[tuple[str, ...]] = ("bfloat16",)
    citation = "Kalamkar et al. (2019)"
    law = "2 W"
    unbiased = False
    rounds = 1
    aggregation = "reduce"
    for_values = True
    coded: ClassVar[str] = "bfloat16"
    scale: float = option(1.0, "elements are multiplied by it before they are rounded, and divided after", gt=0)

    def wire_bytes(self, span: Span) -> int:
        """Two bytes for each element."""
        return 2 * span.elements

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """The rounded elements."""
        return self._widen(xp, xp.from_bytes(wire, self.coded), span)

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
        """The elements, rounded."""
        return xp.cast(vector if self.scale == 1.0 else xp.multiply(vector, self.scale), self.coded)

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Their sum."""
        return self._widen(xp, before[0], span)

    def _widen(self, xp: Tensors, coded: Tensor, span: Span) -> Tensor:
        wide = xp.cast(coded, span.dtype)
        if self.scale != 1.0:
            xp.scale_(wide, 1 / self.scale)
        return wide


@dataclass(frozen=True, slots=True)
class Fp16(Bf16):
    """IEEE half precision: 2 W bytes; rounds to nearest. Cost: one pass to round, one to widen."""

    name = "fp16"
    aliases = ("half", "float16")
    citation = "Micikevicius et al. (2018)"
    coded = "float16"
