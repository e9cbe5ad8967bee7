"""Plain text tables: aligned columns under headings of one or more lines."""

from __future__ import annotations

import itertools
import textwrap
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


def table(columns: Sequence[Column], width: int, *, whole: bool = False) -> list[str]:
    """Lines of the table, at most `width` wide as long as cutting the text columns achieves it.

    With `whole` nothing is cut: what does not fit into a text column goes on in the lines below.
    """
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
    for cells in zip(*(column.cells for column in columns), strict=True):
        rows += _lines(cells, widths) if whole else [list(cells)]
    return [(" " * gap).join(map(_aligned, row, widths, columns)).rstrip() for row in rows]


def _lines(cells: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """The lines of a row of whole cells."""
    parts = [_parts(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [list(line) for line in itertools.zip_longest(*parts, fillvalue="")]


def _parts(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, which end at spaces, if possible outside of brackets."""
    words = [""]
    for word in text.split(" "):
        inside = words[-1].count("(") > words[-1].count(")")
        if inside and len(words[-1]) + 1 + len(word) <= width:
            words[-1] += f" {word}"
        else:
            words.append(word)
    lines = [""]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width or not lines[-1]:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
        else:
            lines.append(word)
    return [part for line in lines for part in textwrap.wrap(line, width) or [""]]


def _aligned(cell: str, width: int, column: Column) -> str:
    cell = shortened(cell, width)
    return cell.rjust(width) if column.least is None else cell.ljust(width)
