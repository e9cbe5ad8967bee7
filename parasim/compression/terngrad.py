"""TernGrad: every element becomes -s, 0 or s, at random (Wen et al. 2017; SCHEMES S41).

s is the largest magnitude of the array that the element belongs to, and an element is kept with probability
``abs(element) / s``: no bias. Before, elements beyond `clip` standard deviations of their array are moved there, since
one large element makes all others zero; that alone is a bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["SharedTernGrad", "TernGrad"]


@dataclass(frozen=True, slots=True)
class TernGrad(Compressor):
    """Two bits for each element and a scaler for each array: W/4 + 4 arrays bytes in float32.

    (log2(3) bits would be enough.) Unbiased but for the clipping. Cost: a draw for each element and some ten passes to
    encode, three to decode.
    """

    name = "terngrad"
    citation = "Wen et al. (2017)"
    law = "W/4 + 4 arrays"
    unbiased = True
    clip: float = option(2.5, "standard deviations beyond which elements are clipped (0: none are)", ge=0)

    def wire_bytes(self, span: Span) -> int:
        """Scalers, then elements, filled up to a byte."""
        return len(span.panels) * span.itemsize + (2 * span.elements + 7) // 8

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Scalers, then 0 for -s, 1 for 0 and 2 for s."""
        arrays = self._arrays(xp, vector, span)
        scalers = [xp.maximum(xp.absolute(values)) for values in arrays]
        return xp.bytes_of([*scalers, xp.pack_integers(self._rounded(xp, arrays, scalers, vector, span, chance), 2)])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """-s, 0 or s."""
        cut = len(span.panels) * span.itemsize
        levels = xp.cast(xp.unpack_integers(wire[cut:], span.elements, 2), span.dtype)
        return self._scaled(xp, levels, 1, xp.from_bytes(wire[:cut], span.dtype), span)

    def _arrays(self, xp: Tensors, vector: Tensor, span: Span) -> list[Tensor]:
        """The vector's arrays, clipped."""
        arrays = [vector[panel.start : panel.stop] for panel in span.panels]
        if not self.clip:
            return arrays
        return [
            clipped(xp, values, panel.stop - panel.start, self.clip)
            for values, panel in zip(arrays, span.panels, strict=True)
        ]

    def _rounded(
        self, xp: Tensors, arrays: list[Tensor], scalers: list[Tensor], vector: Tensor, span: Span, chance: Chance
    ) -> Tensor:
        """0, 1 and 2, at random."""
        drawn = xp.uniform(vector, chance.own, "rounding", chance.step)
        codes = []
        for panel, values, scaler in zip(span.panels, arrays, scalers, strict=True):
            kept = xp.greater(xp.absolute(values), xp.multiply(drawn[panel.start : panel.stop], scaler))
            codes.append(xp.add(xp.where(kept, xp.sign(values), 0.0), 1.0))
        return xp.concatenate(codes)

    def _scaled(self, xp: Tensors, levels: Tensor, zero: int, scalers: Tensor, span: Span) -> Tensor:
        """Scalers times levels, of which `zero` stands for zero."""
        found = []
        for number, panel in enumerate(span.panels):
            signs = xp.add(levels[panel.start : panel.stop], -float(zero))
            found.append(xp.multiply(signs, scalers[number : number + 1]))
        return xp.concatenate(found)


@dataclass(frozen=True, slots=True)
class SharedTernGrad(TernGrad):
    """Scaler sharing (section 3.3 of the paper): all workers use the largest of their scalers, found by all-reduce.

    Then all are on one grid, and their numbers are added up as such, a byte for each (four of more than 127 workers):
    W + 4 arrays bytes summed. A message to one who takes no part in the sums has scalers of its own.
    """

    name = "terngrad_shared"
    law = "W + 4 arrays summed, W/4 + 4 arrays as a message"
    rounds = 2
    maxima = 1
    aggregation = "reduce"

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
        """Scalers; then 0, 1 and 2."""
        arrays = self._arrays(xp, vector, span)
        if number == 0:
            return xp.concatenate([xp.maximum(xp.absolute(values)) for values in arrays])
        scalers = [before[0][place : place + 1] for place in range(len(arrays))]
        codes = self._rounded(xp, arrays, scalers, vector, span, chance)
        return xp.cast(codes, "uint8" if 2 * span.members < 256 else "int32")

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Scalers times sums, which are as many as members where all are zero."""
        return self._scaled(xp, xp.cast(before[1], span.dtype), span.members, before[0], span)


def clipped(xp: Tensors, values: Tensor, elements: int, deviations: float) -> Tensor:
    """Elements, moved to so many standard deviations of all of them around zero."""
    mean = xp.multiply(xp.sum(values), 1 / elements)
    limit = xp.multiply(xp.norm(xp.add(values, mean, -1.0)), deviations / math.sqrt(elements))
    return xp.clip(values, xp.multiply(limit, -1.0), limit)
