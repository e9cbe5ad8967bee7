"""One trace from the rows that the ranks of a real run recorded, each on its own."""

from __future__ import annotations

from collections.abc import Sequence

from parasim.trace.rows import Row
from parasim.trace.table import Trace

__all__ = ["merge"]


def merge(rows_by_rank: Sequence[Sequence[Row]], offsets: Sequence[float] | None = None) -> Trace:
    """Put the rows of all ranks on one clock, whose zero is the earliest `t_post`.

    A sender cannot see when the receiver got ready, so a send gets the start that the receiver saw (the receive with
    the same `message`), within the send's own `t_post..t_end`.

    Parameters
    ----------
    rows_by_rank
        Rows of each rank, in the order in which it recorded them.
    offsets
        Seconds to add to the clock of each rank; none by default.

    Raises
    ------
    ValueError
        If there is not one offset per rank.
    """
    offsets = [0.0] * len(rows_by_rank) if offsets is None else offsets
    if len(offsets) != len(rows_by_rank):
        raise ValueError(f"{len(offsets)} offsets for the rows of {len(rows_by_rank)} ranks; give one per rank")
    pairs = list(zip(rows_by_rank, offsets, strict=True))
    zero = min((row.t_post + offset for rows, offset in pairs for row in rows), default=0.0)
    shifted = [_shifted(row, offset, zero) for rows, offset in pairs for row in rows]
    received = {row.message: row.t_start for row in shifted if row.op == "recv" and row.message}
    return Trace(
        row._replace(t_start=min(max(row.t_post, received[row.message]), row.t_end))
        if row.op == "send" and row.message in received
        else row
        for row in shifted
    )


def _shifted(row: Row, offset: float, zero: float) -> Row:
    """A row on the common clock."""
    return row._replace(
        t_post=row.t_post + offset - zero, t_start=row.t_start + offset - zero, t_end=row.t_end + offset - zero
    )
