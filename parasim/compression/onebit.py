"""1-bit SGD: the sign of every element, and two values per column of a matrix (Seide et al. 2014; SCHEMES S39).

An element is above zero or it is not; of a column, the elements of either kind all become their mean, which is what
makes the squared error least: sum over the elements of a kind of (element - value) = 0. What a column's values lose is
added to the next gradient (error feedback); without it training diverges, says the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.compression.identity import Identity
from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option
from parasim.program.layout import Panel

__all__ = ["OneBit"]


@dataclass(frozen=True, slots=True)
class OneBit(Compressor):
    """A bit for each element and two values for each column: W/8 + 8 columns bytes in float32.

    Columns are those of `Panel`s; a vector is one column. Biased. Cost: some five passes to encode, three to decode.
    """

    name = "onebit"
    aliases = ("1bit", "one_bit")
    citation = "Seide et al. (2014)"
    law = "W/8 + 8 columns"
    unbiased = False
    error_feedback = True
    aggregation = "server"
    uncompressed_steps: int = option(0, "steps at the beginning that are sent uncompressed", ge=0)

    def at(self, step: int) -> Compressor:
        """Nothing is compressed in the first steps (the paper: on the first 24 hours of speech)."""
        return Identity() if step < self.uncompressed_steps else self

    def wire_bytes(self, span: Span) -> int:
        """Bits, filled up to a byte, and the means."""
        return (span.elements + 7) // 8 + 2 * span.itemsize * sum(_columns(panel) for panel in span.panels)

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Of each panel: means of what is not above zero, means of what is; then the bits of all."""
        above = xp.greater(vector, 0.0)
        ones = xp.where(above, 1.0, 0.0)
        high = xp.multiply(vector, ones)
        low = xp.add(vector, high, -1.0)
        means = []
        for panel in span.panels:
            columns, here = _columns(panel), slice(panel.start, panel.stop)
            rows = (panel.stop - panel.start) // columns
            count = xp.sum_columns(ones[here], rows, columns)
            rest = xp.add(xp.multiply(count, -1.0), float(rows))
            means.append(xp.divide(xp.sum_columns(low[here], rows, columns), xp.clip(rest, 1.0, float(rows))))
            means.append(xp.divide(xp.sum_columns(high[here], rows, columns), xp.clip(count, 1.0, float(rows))))
        return xp.bytes_of([*means, xp.pack_bits(above)])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """Every element becomes one of its column's two means."""
        cut = self.wire_bytes(span) - (span.elements + 7) // 8
        means = xp.from_bytes(wire[:cut], span.dtype)
        above = xp.unpack_bits(wire[cut:], span.elements)
        found, at = [], 0
        for panel in span.panels:
            columns = _columns(panel)
            rows = (panel.stop - panel.start) // columns
            low, high = means[at : at + columns], means[at + columns : at + 2 * columns]
            at += 2 * columns
            chosen = above[panel.start : panel.stop]
            found.append(xp.where(chosen, xp.spread_columns(high, rows), xp.spread_columns(low, rows)))
        return xp.concatenate(found)


def _columns(panel: Panel) -> int:
    return panel.columns if panel.is_matrix else 1
