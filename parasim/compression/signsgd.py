"""signSGD with majority vote: the sign of every element (Bernstein et al. 2018; SCHEMES S42).

Every worker sends signs; what is applied is, for each element, the sign that most workers sent. So the size of a
gradient means nothing, and the learning rate is that of signs: about 1e-4 in the paper. One bit can't say zero: what is
not above zero is -1, and so is a vote that ends in a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors

__all__ = ["SignSgd"]


@dataclass(frozen=True, slots=True)
class SignSgd(Compressor):
    """A bit for each element: W/8 bytes. Biased. Cost: one pass to compare and one to pack; the same to decode."""

    name = "signsgd"
    aliases = ("sign", "majority_vote")
    citation = "Bernstein et al. (2018)"
    law = "W/8"
    unbiased = False
    votes = True
    aggregation = "server"

    def wire_bytes(self, span: Span) -> int:
        """Bits, filled up to a byte."""
        return (span.elements + 7) // 8

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Is it above zero?"""
        return xp.pack_bits(xp.greater(vector, 0.0))

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """1 or -1."""
        signs = xp.cast(xp.unpack_bits(wire, span.elements), span.dtype)
        return xp.add(xp.multiply(signs, 2.0), -1.0)
