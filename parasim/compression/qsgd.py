"""QSGD: every element rounded at random to a few levels of its bucket's norm (Alistarh et al. 2017; SCHEMES S40).

The elements are cut into buckets of d. In a bucket v, element v_i becomes ``norm(v) sign(v_i) level_i / s`` where
level_i is one of the two integers around ``s abs(v_i) / norm(v)``, drawn so that its expected value is that number: no
bias, and an expected squared error of at most ``min(d / s^2, sqrt(d) / s) norm(v)^2``.

Levels are sent as integers of ``ceil(log2(2 s + 1))`` bits. The paper's Elias code, about ``2.8 d + 32`` bits a bucket
at s = sqrt(d), is not made here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["Qsgd"]


@dataclass(frozen=True, slots=True)
class Qsgd(Compressor):
    """b bits for each element, ``b = ceil(log2(2 s + 1))``, and a norm for each bucket: W b/8 + 4 W/d bytes in float32.

    Unbiased. Cost: a draw for each element and some eight passes to encode, four to decode.
    """

    name = "qsgd"
    citation = "Alistarh et al. (2017)"
    law = "W b/8 + 4 W/d, b = ceil(log2(2 s + 1))"
    unbiased = True
    levels: int = option(7, "levels s on either side of zero; 1: signs and zero, 7: 4 bits", ge=1, le=32767)
    bucket: int = option(512, "elements d of a bucket", ge=1)
    norm: Literal["l2", "max"] = option("l2", "norm of a bucket: Euclidean, or its largest magnitude")

    @property
    def bits(self) -> int:
        """Bits for each element."""
        return math.ceil(math.log2(2 * self.levels + 1))

    def wire_bytes(self, span: Span) -> int:
        """Norms of the buckets, the last of which may be smaller; levels, filled up to a byte."""
        buckets, _ = self._buckets(span)
        return buckets * span.itemsize + (span.elements * self.bits + 7) // 8

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Norms, then levels from 0 (for -s) to 2 s."""
        buckets, size = self._buckets(span)
        padded = vector
        if buckets * size > span.elements:
            padded = xp.concatenate([vector, xp.zeros(buckets * size - span.elements, span.dtype)])
        length = xp.absolute(padded)
        if self.norm == "max":
            norms = xp.maximum_rows(length, buckets, size)
        else:
            norms = xp.sqrt(xp.sum_rows(xp.multiply(padded, padded), buckets, size))
        steps = xp.where(xp.greater(norms, 0.0), norms, xp.add(norms, 1.0))
        length = xp.multiply(xp.divide(length, xp.spread_rows(steps, size)), float(self.levels))[: span.elements]
        drawn = xp.uniform(vector, chance.own, "rounding", chance.step)
        level = xp.clip(xp.floor(xp.add(length, drawn)), 0.0, float(self.levels))
        code = xp.add(xp.multiply(xp.sign(vector), level), float(self.levels))
        return xp.bytes_of([norms, xp.pack_integers(code, self.bits)])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Levels times their bucket's norm over s."""
        buckets, size = self._buckets(span)
        cut = buckets * span.itemsize
        norms = xp.multiply(xp.from_bytes(wire[:cut], span.dtype), 1 / self.levels)
        level = xp.cast(xp.unpack_integers(wire[cut:], span.elements, self.bits), span.dtype)
        xp.add_(level, xp.add(xp.zeros(span.elements, span.dtype), -float(self.levels)))
        return xp.multiply(level, xp.spread_rows(norms, size)[: span.elements])

    def _buckets(self, span: Span) -> tuple[int, int]:
        size = max(1, min(self.bucket, span.elements))
        return -(-span.elements // size), size
