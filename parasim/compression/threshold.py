"""Threshold: plus or minus tau for every element beyond it (Strom 2015; SCHEMES S43).

An element above tau is sent as tau, one below -tau as -tau, others not at all; what is left stays and is added to the
next gradient (error feedback is part of it). How long a message is depends on the values.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["Threshold"]


@dataclass(frozen=True, slots=True)
class Threshold(Compressor):
    """31 bits of place and one of sign for each element that is sent: 4 k bytes. Biased. Cost: three passes.

    k is found from the values; without values it is ``density W``.
    """

    name = "threshold"
    aliases = ("strom",)
    citation = "Strom (2015)"
    law = "4 k, as many as are beyond tau"
    unbiased = False
    error_feedback = True
    varying = True
    tau: float = option(0.001, "threshold, and size of what is sent", gt=0)
    density: float = option(0.01, "share of the elements that is expected beyond it, where no values are", gt=0, le=1)

    def wire_bytes(self, span: Span) -> int:
        """What is expected."""
        return 4 * self._expected(span)

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Place i for tau, ``-1 - i`` for -tau: two's complement holds the sign in the highest bit."""
        places = xp.indices(xp.greater(xp.absolute(vector), self.tau), self._expected(span))
        above = xp.greater(xp.take(vector, places), 0.0)
        return xp.bytes_of([xp.where(above, places, _other(xp, places))])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Zero but where something was sent."""
        vector = xp.zeros(span.elements, span.dtype)
        self.add_decoded(xp, vector, wire, span)
        return vector

    def add_decoded(self, xp: Tensors, into: Tensor, wire: Tensor, span: Span, scale: float = 1.0) -> None:
        """Only places that were sent are touched."""
        codes = xp.from_bytes(wire, "int32")
        above = xp.greater(codes, -1)
        places = xp.where(above, codes, _other(xp, codes))
        xp.add_at_(into, places, xp.where(above, scale * self.tau, -scale * self.tau))

    def _expected(self, span: Span) -> int:
        return min(span.elements, max(1, round(self.density * span.elements)))


def _other(xp: Tensors, codes: Tensor) -> Tensor:
    """``-1 - code``, in integers."""
    return xp.add(xp.multiply(codes, -1), -1)
