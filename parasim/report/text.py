"""Plain text tables: aligned columns under headings of one or more lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["Column", "shortened", "table"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading (lines separated by newlines), its cells, and which way it gives when space is short.

    `least` is the width that a text column may be cut to; None for numbers, which are never cut and stand to the right.
    `narrow` is the heading where space is short.
    """

    heading: str
    cells: Sequence[str]
    least: int | None = None
    narrow: str = ""

    @property
    def width(self) -> int:
        """Width that shows everything."""
        return max(map(len, [*self.heading.split("\n"), *self.cells]))


def shortened(text: str, width: int) -> str:
    """Cut `text` to `width` characters, with an ellipsis if anything is lost."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "\u2026"


def table(columns: Sequence[Column], width: int) -> list[str]:
    """Lines of the table, at most `width` wide as long as cutting the text columns achieves it."""
    columns = list(columns)
    for place in [i for i, column in enumerate(columns) if column.narrow][::-1]:
        if sum(column.width + 1 for column in columns) - 1 > width:
            columns[place] = replace(columns[place], heading=columns[place].narrow)
    widths = [column.width for column in columns]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1
    excess = sum(widths) + gap * (len(widths) - 1) - width
    while excess > 0:
        spare = {i: widths[i] - c.least for i, c in enumerate(columns) if c.least is not None and widths[i] > c.least}
        if not spare:
            break
        widest = max(spare, key=lambda i: spare[i])
        widths[widest] -= 1
        excess -= 1
    height = max(column.heading.count("\n") for column in columns) + 1
    headings = [([""] * height + column.heading.split("\n"))[-height:] for column in columns]
    rows = [[heading[line] for heading in headings] for line in range(height)]
    rows.append(["-" * size for size in widths])
    rows += [list(cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    return [(" " * gap).join(map(_aligned, row, widths, columns)).rstrip() for row in rows]


def _aligned(cell: str, width: int, column: Column) -> str:
    cell = shortened(cell, width)
    return cell.rjust(width) if column.least is None else cell.ljust(width)
