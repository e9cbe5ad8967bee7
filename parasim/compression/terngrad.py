"""TernGrad: every element becomes -s, 0 or s, at random (Wen et al. 2017; SCHEMES S41).

s is the largest magnitude of the array that the element belongs to, and an element is kept with probability
``abs(element) / s``: no bias. Before, elements beyond `clip` standard deviations of their array are moved there, since
one large element makes all others zero; that alone is a bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["TernGrad"]


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
        drawn = xp.uniform(vector, chance.own, "rounding", chance.step)
        scalers, codes = [], []
        for panel in span.panels:
            here = slice(panel.start, panel.stop)
            values = clipped(xp, vector[here], panel.stop - panel.start, self.clip) if self.clip else vector[here]
            length = xp.absolute(values)
            scaler = xp.maximum(length)
            scalers.append(scaler)
            kept = xp.greater(length, xp.multiply(drawn[here], scaler))
            codes.append(xp.add(xp.where(kept, xp.sign(values), 0.0), 1.0))
        return xp.bytes_of([*scalers, xp.pack_integers(xp.concatenate(codes), 2)])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """-s, 0 or s."""
        cut = len(span.panels) * span.itemsize
        scalers = xp.from_bytes(wire[:cut], span.dtype)
        vector = xp.cast(xp.unpack_integers(wire[cut:], span.elements, 2), span.dtype)
        found = []
        for number, panel in enumerate(span.panels):
            signs = xp.add(vector[panel.start : panel.stop], -1.0)
            found.append(xp.multiply(signs, scalers[number : number + 1]))
        return xp.concatenate(found)


def clipped(xp: Tensors, values: Tensor, elements: int, deviations: float) -> Tensor:
    """Elements, moved to so many standard deviations of all of them around zero."""
    mean = xp.multiply(xp.sum(values), 1 / elements)
    limit = xp.multiply(xp.norm(xp.add(values, mean, -1.0)), deviations / math.sqrt(elements))
    return xp.clip(values, xp.multiply(limit, -1.0), limit)
