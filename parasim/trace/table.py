"""A trace: all rows of a run, as a table."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

from parasim.errors import ScenarioError
from parasim.trace.aggregate import Aggregates
from parasim.trace.files import write_atomic
from parasim.trace.rows import COLUMNS, Row

__all__ = ["Trace"]

_ORDER = attrgetter("t_end", "rank")


def _real(text: str) -> float | None:
    return float(text) if text else None


_KINDS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    str: ("%a", str),
    int: ("%d", int),
    float: ("%.17g", float),
    float | None: ("%r", _real),
}
_FORMS, _READ = zip(*(_KINDS[get_type_hints(Row)[name]] for name in COLUMNS), strict=True)
_FORM = f"({','.join(_FORMS)})"


def _plain(row: Row) -> Row:
    """The row with its value as a float: a reply may be a whole number or a truth value."""
    value = row.value
    return row if value is None or type(value) is float else row._replace(value=float(value))


class Trace:
    """A sink that keeps all rows, in the order of (t_end, rank, order of arrival)."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = list(rows)
        self._sorted = 0
        self._folded: Aggregates | None = None

    def add(self, row: Row) -> None:
        """Take one row."""
        self._rows.append(row)

    @property
    def rows(self) -> list[Row]:
        """The rows, in order. Not to be changed."""
        if self._sorted != len(self._rows):
            self._rows.sort(key=_ORDER)
            self._sorted = len(self._rows)
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of one column, in the order of the rows.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        if name not in COLUMNS:
            raise KeyError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
        place = COLUMNS.index(name)
        return [row[place] for row in self.rows]

    def fold(self) -> Aggregates:
        """The sums over all rows: the source of every figure."""
        if self._folded is None or self._folded.num_rows != len(self._rows):
            self._folded = Aggregates()
            for row in self.rows:
                self._folded.add(row)
        return self._folded

    def digest(self) -> str:
        """SHA-256 of the rows in a canonical form: equal for equal runs, on every machine."""
        state = hashlib.sha256()
        for row in self.rows:
            state.update((_FORM % _plain(row)).encode())
        return state.hexdigest()

    def to_csv(self, path: str | Path) -> Path:
        """Write the table, with a header line; numbers keep every bit. The file is there whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(map(_plain, self.rows))
        return write_atomic(path, text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | Path) -> Trace:
        """Read a table that :meth:`to_csv` wrote.

        Raises
        ------
        ScenarioError
            If the file can't be read, or is no such table; names file and line.
        """
        trace = cls()
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.reader(file)
                header = next(reader, [])
                if tuple(header) != COLUMNS:
                    raise ScenarioError(f"{path}:1:1: not a trace; the header must be {','.join(COLUMNS)}")
                for cells in reader:
                    try:
                        trace.add(Row(*(read(cell) for read, cell in zip(_READ, cells, strict=True))))
                    except ValueError as error:
                        raise ScenarioError(f"{path}:{reader.line_num}:1: not a row of a trace ({error})") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ScenarioError(f"{path}: can't be read as a trace ({error})") from None
        return trace

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame`, one column per column of the trace.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        """
        pandas = importlib.import_module("pandas")
        return pandas.DataFrame.from_records(self.rows, columns=COLUMNS)
