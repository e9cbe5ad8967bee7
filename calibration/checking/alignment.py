"""Two traces of one scenario, operation by operation: the programs are the same, so what they do has the same names.

An operation is known by who did it, on which lane, in which program, what it was (op, label, layer, peer, group, tag,
buffer, step, micro), and how many of that name came before. In synchronous schemes all operations have a counterpart;
in asynchronous ones those that depend on who came first may not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parasim.trace.rows import Row

__all__ = ["Alignment", "align"]

_NOTES = {"log", "choice"}
_Name = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Operations of two traces.

    Attributes
    ----------
    pairs
        Those of both, in the order of the first.
    only_first, only_second
        Those without a counterpart.
    """

    pairs: tuple[tuple[Row, Row], ...]
    only_first: tuple[Row, ...]
    only_second: tuple[Row, ...]

    @property
    def matched(self) -> float:
        """The fraction of all operations that have a counterpart; 1 if there are none."""
        whole = 2 * len(self.pairs) + len(self.only_first) + len(self.only_second)
        return 2 * len(self.pairs) / whole if whole else 1.0


def align(first: Iterable[Row], second: Iterable[Row]) -> Alignment:
    """Find the counterparts of operations; notes, which take no time, are left out."""
    others = dict(_named(second))
    pairs, alone = [], []
    for name, row in _named(first):
        other = others.pop(name, None)
        if other is None:
            alone.append(row)
        else:
            pairs.append((row, other))
    return Alignment(tuple(pairs), tuple(alone), tuple(others.values()))


def _named(rows: Iterable[Row]) -> Iterator[tuple[_Name, Row]]:
    seen: Counter[_Name] = Counter()
    for row in rows:
        if row.op in _NOTES:
            continue
        name = (
            *(row.rank, row.lane, row.program, row.op, row.label, row.layer, row.peer),
            *(row.group, row.tag, row.buffer, row.step, row.micro),
        )
        yield (*name, seen[name]), row
        seen[name] += 1
