"""The snapshots that a rank takes of the model while it runs: kept in its memory, handed over with its rows.

A snapshot costs the rank a copy of what it holds of the model, and nothing else until the run is over. Their memory is
bounded: where it would grow beyond `MOST_BYTES`, every second of them is dropped, and every second of what comes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from calibration.executor.returns import decode, encode
from parasim.program.buffers import Buffer
from parasim.program.model import Model
from parasim.program.snapshots import ModelSnapshot, Piece

__all__ = ["MOST_BYTES", "Album", "encode_snapshots", "read_snapshots"]

MOST_BYTES = 256 << 20
"""Of one rank's snapshots."""


class Album:
    """Snapshots of one rank, at most so many bytes of them."""

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._stride = 1
        self.snapshots: list[ModelSnapshot] = []

    def add(self, snapshot: ModelSnapshot) -> None:
        """Take one."""
        if snapshot.number % self._stride:
            return
        self.snapshots.append(snapshot)
        while len(self.snapshots) > 1 and sum(map(_nbytes, self.snapshots)) > self._most_bytes:
            self._stride *= 2
            self.snapshots = [kept for kept in self.snapshots if not kept.number % self._stride]


def encode_snapshots(snapshots: Iterable[ModelSnapshot], blobs: list[bytes]) -> list[Any]:
    """As JSON; values go to `blobs`."""
    found = []
    for taken in snapshots:
        pieces = []
        for place, values in taken.pieces:
            where: Any = place
            if not isinstance(place, int):
                split = place.model.piece
                assert split is not None
                where = [place.start, place.stop, split.how, split.index, split.count, split.start]
            pieces.append([where, encode(Buffer("snapshot", values.numel(), values.element_size(), values), blobs)])
        found.append([*taken[:5], pieces, taken.redundant])
    return found


def read_snapshots(encoded: Iterable[Any], blobs: list[bytes], model: Model) -> list[ModelSnapshot]:
    """What :func:`encode_snapshots` gave, of a run of this model."""
    import torch

    found = []
    for rank, holder, number, steps, seconds, pieces, redundant in encoded:
        read = []
        for where, values in pieces:
            place = where
            if not isinstance(where, int):
                start, stop, how, index, count, first = where
                place = model.split(how, index, count, first).model.part(start, stop)
            read.append(Piece(place, torch.from_numpy(decode(values, blobs))))
        found.append(ModelSnapshot(rank, holder, number, steps, seconds, tuple(read), redundant))
    return found


def _nbytes(snapshot: ModelSnapshot) -> int:
    return sum(values.numel() * values.element_size() for _, values in snapshot.pieces)
