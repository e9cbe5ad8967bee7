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

__all__ = ["Cell", "Sheet", "cell", "sheets_csv", "sheets_text"]

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
    name
        Of the file with its values.
    title
        Stands above.
    columns
        Heading of each (lines separated by newlines), and the least width of a column of words; None for numbers. A
        heading of one line may go on with the first lines of the one before: "W" after "forward / D" is "forward W".
    rows
        Cells by column.
    notes
        Lines beneath.
    of
        What the table is of, where there are several of this name.
    """

    name: str
    title: str
    columns: Sequence[tuple[str, int | None]]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())
    of: str = ""

    @property
    def heads(self) -> list[str]:
        """Headings, each in a line of its own and unlike the others."""
        shown = [head for head, _ in self.columns]
        found, above = [], ""
        for head in shown:
            if "\n" in head:
                above = head.rpartition("\n")[0]
            whole = f"{above}\n{head}" if shown.count(head) > 1 else head
            found.append(whole.replace("-\n", "").replace("\n", " "))
        return found

    def text(self) -> str:
        """At most 120 columns wide, if the words can give way: they go on in the lines below."""
        shown = [[row[place].shown for row in self.rows] for place in range(len(self.columns))]
        columns = [Column(head, cells, least) for (head, least), cells in zip(self.columns, shown, strict=True)]
        notes = [line for note in self.notes for line in textwrap.wrap(note, _WIDTH, subsequent_indent="  ")]
        return "\n".join([self.title, "", *table(columns, _WIDTH, whole=True), *([""] if notes else []), *notes])

    def markdown(self) -> str:
        """A table with pipes; formulas between dollars."""
        rule = ["---" if least is not None else "---:" for _, least in self.columns]
        rows = [[f"${c.latex}$" if c.latex else c.shown.replace("|", "\\|") for c in row] for row in self.rows]
        lines = [f"| {' | '.join(row)} |" for row in (self.heads, rule, *rows)]
        return "\n".join([f"**{self.title}**", "", *lines, *([""] if self.notes else []), *self.notes])

    def latex(self) -> str:
        """A `table` that needs the package booktabs."""
        heads = [head.translate(_ESCAPED) for head in self.heads]
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
        return _comma_separated([self.heads, *_values(self)])


def sheets_csv(sheets: Sequence[Sheet]) -> dict[str, str]:
    """The tables as CSV by their names; those of one name in one, with a column that says what each row is of."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(sheet.name for sheet in sheets):
        own = [sheet for sheet in sheets if sheet.name == name]
        heads = list(dict.fromkeys(head for sheet in own for head in sheet.heads))
        rows = [
            [sheet.of, *(values.get(head, "") for head in heads)]
            for sheet in own
            for values in (dict(zip(sheet.heads, row, strict=True)) for row in _values(sheet))
        ]
        named = any(sheet.of for sheet in own)
        found[name] = _comma_separated([row if named else row[1:] for row in (["of", *heads], *rows)])
    return found


def _values(sheet: Sheet) -> list[list[Any]]:
    return [["" if c.value is None else c.value for c in row] for row in sheet.rows]


def _comma_separated(rows: Sequence[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
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
