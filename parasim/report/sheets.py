"""Tables in four forms, from one description: text, Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parasim.errors import ScenarioError
from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["Cell", "Sheet", "cell", "sheets_text"]

_WIDTH = 120
_NONE = "-"
_ESCAPED = str.maketrans({char: f"\\{char}" for char in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}"})


class Cell(NamedTuple):
    """What a table shows, the plain value for CSV, and, of a formula, its LaTeX."""

    shown: str
    value: Any = None
    latex: str = ""


def cell(value: Any, dimension: str | None = None) -> Cell:
    """A number in its unit (`parasim.units`), or with four digits; words as they are; "-" for None."""
    if value is None:
        return Cell(_NONE)
    if isinstance(value, str):
        return Cell(value, value)
    return Cell(format_quantity(value, dimension) if dimension and value else f"{value:.4g}", value)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table.

    Attributes
    ----------
    title
        Stands above.
    columns
        Heading of each (lines separated by newlines), and the least width of a column of words; None for numbers.
    rows
        Cells by column.
    notes
        Lines beneath.
    """

    title: str
    columns: Sequence[tuple[str, int | None]]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    def text(self) -> str:
        """At most 120 columns wide, if the words can give way."""
        shown = [[row[place].shown for row in self.rows] for place in range(len(self.columns))]
        columns = [Column(head, cells, least) for (head, least), cells in zip(self.columns, shown, strict=True)]
        notes = [line for note in self.notes for line in textwrap.wrap(note, _WIDTH, subsequent_indent="  ")]
        return "\n".join([self.title, "", *table(columns, _WIDTH), *([""] if notes else []), *notes])

    def markdown(self) -> str:
        """A table with pipes; formulas between dollars."""
        heads = [head.replace("\n", " ") for head, _ in self.columns]
        rule = ["---" if least is not None else "---:" for _, least in self.columns]
        rows = [[f"${c.latex}$" if c.latex else c.shown.replace("|", "\\|") for c in row] for row in self.rows]
        lines = [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
        return "\n".join([f"**{self.title}**", "", *lines, *([""] if self.notes else []), *self.notes])

    def latex(self) -> str:
        """A `table` that needs the package booktabs."""
        heads = [head.replace("\n", " ").translate(_ESCAPED) for head, _ in self.columns]
        rows = [[f"${c.latex}$" if c.latex else c.shown.translate(_ESCAPED) for c in row] for row in self.rows]
        kinds = "".join("r" if least is None else "l" for _, least in self.columns)
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{self.title.translate(_ESCAPED)}}}",
                rf"\begin{{tabular}}{{{kinds}}}",
                r"\toprule",
                " & ".join(heads) + r" \\",
                r"\midrule",
                *(" & ".join(row) + r" \\" for row in rows),
                r"\bottomrule",
                r"\end{tabular}",
                *(rf"\par {note.translate(_ESCAPED)}" for note in self.notes),
                r"\end{table}",
            ]
        )

    def csv(self) -> str:
        """Plain values in SI units under the headings; without title and notes."""
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow([head.replace("\n", " ") for head, _ in self.columns])
        writer.writerows([["" if c.value is None else c.value for c in row] for row in self.rows])
        return written.getvalue().rstrip()


_FORMS: Mapping[str, Callable[[Sheet], str]] = {
    "text": Sheet.text,
    "markdown": Sheet.markdown,
    "latex": Sheet.latex,
    "csv": Sheet.csv,
}


def sheets_text(sheets: Sequence[Sheet], form: str = "text") -> str:
    """All tables, with an empty line between them.

    Raises
    ------
    ScenarioError
        If there is no such form.
    """
    if form not in _FORMS:
        raise ScenarioError(f"--format: no form {form!r}: choose one of {', '.join(_FORMS)}")
    return "\n\n".join(_FORMS[form](sheet) for sheet in sheets)
