"""Reads and updates of shared memory, as programs over computes; the memory itself is the runtime's.

A vector has a version per part: the number of updates that wrote it. A read is torn if a part that it had already read
was written before it had read the last one, or the other way round: its parts are not from one moment. A plain update
reads, adds and writes back; what was written in between is lost, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from parasim.program.buffers import Buffer
from parasim.program.kernels import read_kernel, write_kernels
from parasim.program.ops import Compute, Program, Read, Update
from parasim.program.shared import Shared, Snapshot
from parasim.program.tensors import Tensors

__all__ = ["SharedVector", "Written", "read_program", "update_program"]


class SharedVector(Protocol):
    """The memory behind a `Shared`; values are None where none are carried."""

    shared: Shared

    def version(self, part: int) -> int:
        """Updates written to a part so far."""

    def claim(self, part: int, rank: int) -> bool:
        """A rank is about to write a part: did another write it last? False where the hardware itself makes it slow."""

    def load(self, start: int, stop: int) -> Any:
        """A private copy of elements ``[start, stop)``."""

    def store(self, part: int, start: int, values: Any) -> int:
        """Overwrite from element `start`; counts and replies with the part's version."""

    def add(self, part: int, start: int, values: Any) -> int:
        """Add atomically from element `start`; counts and replies with the part's version."""


@dataclass(frozen=True, slots=True)
class Written:
    """Result of an update: the version after it, and how many updates of others it overwrote."""

    version: int
    lost: int


def _parts(shared: Shared, part: int | None) -> range:
    return range(shared.parts) if part is None else range(part, part + 1)


def read_program(vector: SharedVector, op: Read, tensors: Tensors | None) -> Program[Snapshot]:
    """Copy part by part; torn if a part changed between the first part's copy and the last's."""
    shared = op.shared
    pieces: list[Any] = []
    seen: list[tuple[int, int]] = []
    elements = 0
    for part in _parts(shared, op.part):
        start, stop = shared.bounds(part)
        elements += stop - start

        def work(part: int = part, start: int = start, stop: int = stop) -> None:
            seen.append((part, vector.version(part)))
            pieces.append(vector.load(start, stop))

        yield Compute(read_kernel(shared, part), work, otherwise=work)
    torn = any(vector.version(part) != version for part, version in seen[:-1])
    values = None if tensors is None else tensors.concatenate(pieces)
    buffer = Buffer(shared.name, elements, shared.itemsize, values)
    return Snapshot(buffer, min(version for _, version in seen), torn)


def update_program(vector: SharedVector, op: Update, tensors: Tensors | None, rank: int) -> Program[Written]:
    """Add part by part: atomically in one compute, else read and add in one and write back in another."""
    shared = op.shared
    first = shared.bounds(op.part)[0] if op.part is not None else 0
    version, lost = 0, 0
    for part in _parts(shared, op.part):
        start, stop = shared.bounds(part)
        delta = op.delta.part(start - first, stop - first)
        kernels = write_kernels(shared, part, op.atomic, vector.claim(part, rank))
        if op.atomic:

            def add(part: int = part, start: int = start, delta: Buffer = delta) -> int:
                return vector.add(part, start, delta.values)

            version = yield Compute(kernels[0], add, otherwise=add)
            continue

        def fetch(part: int = part, start: int = start, stop: int = stop, delta: Buffer = delta) -> tuple[int, Any]:
            before = vector.version(part)
            values = vector.load(start, stop)
            return before, None if tensors is None else tensors.add(values, delta.values)

        before, values = yield Compute(kernels[0], fetch, otherwise=fetch)

        def write(part: int = part, start: int = start, values: Any = values) -> int:
            return vector.store(part, start, values)

        version = yield Compute(kernels[1], write, otherwise=write)
        lost += version - before - 1
    return Written(version, lost)
