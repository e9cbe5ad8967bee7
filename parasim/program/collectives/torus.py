"""All-reduce on a two-dimensional torus: rings along rows, then along columns, then along rows again.

Member r stands in row r // columns and column r % columns::

     0 - 1 - 2      1. ring reduce-scatter in each row: column j holds piece j of its row's sum (columns - 1 rounds)
     |   |   |      2. ring all-reduce of piece j in column j, in sub-pieces (2 (rows - 1) rounds)
     3 - 4 - 5      3. ring all-gather in each row (columns - 1 rounds)

The bytes of one long ring, 2 (N - 1) / N of the vector, in far fewer rounds.

References
----------
Ying et al. (2018), Image classification at supercomputer scale; SCHEMES 13.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from parasim.program.buffers import bounds
from parasim.program.collectives import ring
from parasim.program.collectives.rounds import Round, among, completing, cuts_of

__all__ = ["all_reduce", "most_square"]


def most_square(size: int) -> tuple[int, int]:
    """The factors (rows, columns) of `size` that are nearest to each other, rows <= columns."""
    rows = next(rows for rows in range(math.isqrt(size), 0, -1) if size % rows == 0)
    return rows, size // rows


def all_reduce(index: int, shape: tuple[int, int], elements: int) -> Iterator[Round]:
    """2 (columns - 1) + 2 (rows - 1) rounds; `shape` is (rows, columns)."""
    rows, columns = shape
    row, column = divmod(index, columns)
    along_row = range(row * columns, (row + 1) * columns)
    along_column = range(column, rows * columns, columns)
    pieces = bounds(elements, columns)
    subpieces = cuts_of(pieces[column], pieces[column + 1], rows)

    adding = chain(
        among(ring.reduce_scatter(column, columns, pieces), along_row),
        among(ring.reduce_scatter(row, rows, subpieces), along_column),
    )
    yield from completing(adding, subpieces[row], subpieces[row + 1])
    yield from among(ring.all_gather(row, rows, subpieces), along_column)
    yield from among(ring.all_gather(column, columns, pieces), along_row)
