"""PowerSGD: every matrix as the product of two thin ones (Vogels, Karimireddy, Jaggi 2019; SCHEMES S45).

One step of power iteration on the sum M of all workers' matrices (n x m), of rank r, from the Q of the step before::

    P = M Q          summed over the workers (first all-reduce, with all vectors as they are)
    P = orthonormalise(P)
    Q = M^T P        summed (second all-reduce)
    M is taken for P Q^T

As both products are linear in M, sums of the workers' products are products of the sum. What a step loses goes into the
next gradient (error feedback). A matrix that two thin ones would not make smaller goes with the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option
from parasim.program.layout import Panel

__all__ = ["PowerSgd"]


class _Piece(NamedTuple):
    """A panel, whether it goes as two thin matrices, and where P (or the vector) and Q lie."""

    panel: Panel
    low: bool
    first: slice
    second: slice


@dataclass(frozen=True, slots=True)
class PowerSgd(Compressor):
    """4 r (n + m) bytes of each matrix in float32, vectors as they are.

    Biased. Cost: three thin matrix products and two thin QR decompositions of each matrix. A message to one who takes
    no part in the sums (a server) holds P and Q of the worker's own matrices.
    """

    name = "powersgd"
    aliases = ("power_sgd",)
    citation = "Vogels et al. (2019)"
    law = "4 r (n + m) per matrix, 4 W of vectors"
    unbiased = False
    error_feedback = True
    rounds = 2
    aggregation = "reduce"
    rank: int = option(2, "rank r of what a matrix is taken for (the paper: 1 to 4)", ge=1)

    def slots(self, span: Span) -> tuple[tuple[str, int], ...]:
        """Q of every matrix, transposed."""
        return (("start", sum(self.rank * panel.columns for panel in span.panels if self._is_low(panel))),)

    def wire_bytes(self, span: Span) -> int:
        """P and Q of every matrix, and the rest."""
        return span.itemsize * sum(
            self.rank * (panel.rows + panel.columns) if self._is_low(panel) else panel.stop - panel.start
            for panel in span.panels
        )

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Orthonormal P and vectors, then Q."""
        first = self.summand(xp, 0, vector, [], slots, span, chance)
        second = self.summand(xp, 1, vector, [first], slots, span, chance)
        xp.copy_(slots[0], second)
        return xp.bytes_of([*self._bases(xp, first, span), second])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """P Q^T, and vectors."""
        cut = self.wire_bytes(span) - span.itemsize * self.slots(span)[0][1]
        first, second = xp.from_bytes(wire[:cut], span.dtype), xp.from_bytes(wire[cut:], span.dtype)
        return self._products(xp, [first[piece.first] for piece in self._pieces(span)], second, span)

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
        """P and vectors; then Q, transposed, from the sum of the first."""
        pieces, r = self._pieces(span), self.rank
        found = []
        if number == 0:
            start = self._start(xp, slots[0], chance)
            for panel, low, _, second in pieces:
                part = vector[panel.start : panel.stop]
                if low:
                    q = xp.transpose(start[second], r, panel.columns)
                    part = xp.matmul(part, q, panel.rows, panel.columns, r)
                found.append(part)
        else:
            for (panel, low, *_), basis in zip(pieces, self._bases(xp, before[0], span), strict=True):
                if low:
                    across = xp.transpose(basis, panel.rows, r)
                    found.append(xp.matmul(across, vector[panel.start : panel.stop], r, panel.rows, panel.columns))
        return xp.concatenate(found) if found else xp.zeros(0, span.dtype)

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """P Q^T of the sums, and the sums of vectors; the next step starts from this Q."""
        first, second = before
        xp.copy_(slots[0], second)
        return self._products(xp, self._bases(xp, first, span), second, span)

    def _start(self, xp: Tensors, start: Tensor, chance: Chance) -> Tensor:
        """Q of the step before; in the first step, when it is zero, numbers that all workers draw alike."""
        drawn = xp.add(xp.uniform(start, chance.common, "start", 0), -0.5)
        return xp.add(start, xp.multiply(drawn, xp.where(xp.greater(xp.norm(start), 0.0), 0.0, 1.0)))

    def _bases(self, xp: Tensors, first: Tensor, span: Span) -> list[Tensor]:
        """Of each panel: P, orthonormal, or the vector."""
        return [
            xp.orthonormalise(first[where], panel.rows, self.rank) if low else first[where]
            for panel, low, where, _ in self._pieces(span)
        ]

    def _products(self, xp: Tensors, bases: list[Tensor], second: Tensor, span: Span) -> Tensor:
        """P Q^T, and vectors."""
        return xp.concatenate(
            [
                xp.matmul(basis, second[where], panel.rows, self.rank, panel.columns) if low else basis
                for (panel, low, _, where), basis in zip(self._pieces(span), bases, strict=True)
            ]
        )

    def _pieces(self, span: Span) -> list[_Piece]:
        """Where each panel's part of the first and of the second message lies."""
        pieces = []
        first = second = 0
        for panel in span.panels:
            low = self._is_low(panel)
            size = self.rank * panel.rows if low else panel.stop - panel.start
            width = self.rank * panel.columns if low else 0
            pieces.append(_Piece(panel, low, slice(first, first + size), slice(second, second + width)))
            first += size
            second += width
        return pieces

    def _is_low(self, panel: Panel) -> bool:
        """Does it pay to send two thin matrices?"""
        return panel.is_matrix and self.rank * (panel.rows + panel.columns) < panel.rows * panel.columns
