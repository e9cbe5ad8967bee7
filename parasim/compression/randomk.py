"""Random-k: k elements at places that all workers draw alike (Stich, Cordonnier, Jaggi 2018; SCHEMES S44).

As all send the same places, they need not be sent, and the sum of the messages is the message of the sum: an all-reduce
of k numbers. Where messages go to one who does not take part in the draws (a server), they hold the places too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.compression.sparse import Sparse
from parasim.program import Chance, Span, Tensor, Tensors

__all__ = ["RandomK", "RescaledRandomK"]


@dataclass(frozen=True, slots=True)
class RandomK(Sparse):
    """k values, ``k = max(1, round(density W))``: 4 k bytes summed by all-reduce, 8 k as a message, in float32.

    Biased. Cost: the draw of k places, and k values.
    """

    name = "randomk"
    aliases: ClassVar[tuple[str, ...]] = ("random_k",)
    citation = "Stich et al. (2018)"
    law = "4 k summed, 8 k as a message"
    unbiased = False
    error_feedback = True
    rounds = 1
    aggregation = "reduce"

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Values, then places."""
        places = self._places(xp, vector, span, chance)
        return xp.bytes_of([self._values(xp, xp.take(vector, places), span), places])

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
        """The values alone."""
        return self._values(xp, xp.take(vector, self._places(xp, vector, span, chance)), span)

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Their sums, at the same places."""
        vector = xp.zeros(span.elements, span.dtype)
        xp.put_(vector, self._places(xp, vector, span, chance), before[0])
        return vector

    def _places(self, xp: Tensors, vector: Tensor, span: Span, chance: Chance) -> Tensor:
        return xp.choose(vector, self.kept(span), chance.common, "places", chance.step)

    def _values(self, xp: Tensors, values: Tensor, span: Span) -> Tensor:
        return values


@dataclass(frozen=True, slots=True)
class RescaledRandomK(RandomK):
    """The same, times W/k: unbiased, and without error feedback."""

    name = "randomk_rescaled"
    aliases = ("unbiased_randomk",)
    citation = "Wangni et al. (2018)"
    unbiased = True
    error_feedback = False

    def _values(self, xp: Tensors, values: Tensor, span: Span) -> Tensor:
        return xp.multiply(values, span.elements / self.kept(span))
