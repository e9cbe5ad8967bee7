"""Traces as Parquet, which keeps every bit of them in a tenth of the space of CSV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, get_type_hints

from parasim.errors import CalibrationError
from parasim.trace.files import write_atomic
from parasim.trace.rows import COLUMNS, Row
from parasim.trace.table import Trace

__all__ = ["load_trace", "save_trace"]


def save_trace(trace: Trace, path: str | Path) -> Path:
    """Write all rows; the file is there whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), float | None: pa.float64()}
    hints = get_type_hints(Row)
    columns = {
        name: pa.array(trace.column(name) if name != "value" else map(_real, trace.column(name)), kinds[hints[name]])
        for name in COLUMNS
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return write_atomic(path, buffer.getvalue())


def load_trace(path: str | Path) -> Trace:
    """Read what :func:`save_trace` wrote.

    Raises
    ------
    CalibrationError
        If it can't be read, or is no trace.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        what = str(error).partition("\n")[0]
        raise CalibrationError(f"{path}: can't be read as a trace ({what}): run the case again with --out") from None
    if tuple(table.column_names) != COLUMNS:
        raise CalibrationError(f"{path}: is no trace: its columns are not those of this version; run the case again")
    return Trace(Row(*values) for values in zip(*(column.to_pylist() for column in table.columns), strict=True))


def _real(value: float | None) -> float | None:
    """A reply may be a whole number or a truth value."""
    return None if value is None else float(value)
