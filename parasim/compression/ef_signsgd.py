"""EF-signSGD: signs, as large as the vector is on average, with error feedback (Karimireddy et al. 2019; SCHEMES S42).

A vector a of d elements is sent as ``norm_1(a) / d sign(a)``, each array of parameters with a scale of its own. What is
lost is added to the next gradient: so it converges where signSGD need not.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors

__all__ = ["EfSignSgd"]


@dataclass(frozen=True, slots=True)
class EfSignSgd(Compressor):
    """A bit for each element and a scale for each array: W/8 + 4 arrays bytes in float32.

    Biased. Cost: three passes to encode, three to decode.
    """

    name = "ef_signsgd"
    aliases = ("ef_sign", "scaled_sign")
    citation = "Karimireddy et al. (2019)"
    law = "W/8 + 4 arrays"
    unbiased = False
    error_feedback = True

    def wire_bytes(self, span: Span) -> int:
        """Scales, then bits, filled up to a byte."""
        return len(span.panels) * span.itemsize + (span.elements + 7) // 8

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Mean magnitudes, then: is it above zero?"""
        length = xp.absolute(vector)
        scales = [
            xp.multiply(xp.sum(length[panel.start : panel.stop]), 1 / (panel.stop - panel.start))
            for panel in span.panels
        ]
        return xp.bytes_of([*scales, xp.pack_bits(xp.greater(vector, 0.0))])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Plus or minus the scale."""
        cut = len(span.panels) * span.itemsize
        scales = xp.from_bytes(wire[:cut], span.dtype)
        signs = xp.cast(xp.unpack_bits(wire[cut:], span.elements), span.dtype)
        signs = xp.add(xp.multiply(signs, 2.0), -1.0)
        return xp.concatenate(
            [
                xp.multiply(signs[panel.start : panel.stop], scales[number : number + 1])
                for number, panel in enumerate(span.panels)
            ]
        )
