"""Shared memory of one machine, for Hogwild-like schemes."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program.buffers import Buffer, bounds

__all__ = ["Shared", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Shared:
    """A named vector that all actors of one machine see, cut into `parts`; a part is what one access moves at once.

    Declared by the scheme (`Scheme.shared`), zero unless `initial` says that it starts as the model's parameters.
    """

    name: str
    elements: int
    itemsize: int = 4
    parts: int = 1
    initial: bool = False

    def bounds(self, part: int) -> tuple[int, int]:
        """First and last-plus-one element of a part."""
        cuts = bounds(self.elements, self.parts)
        return cuts[part], cuts[part + 1]

    def nbytes(self, part: int) -> int:
        """Bytes of a part."""
        start, stop = self.bounds(part)
        return (stop - start) * self.itemsize


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Reply of a `Read`: a private copy, the version (updates begun before) and whether it is torn between parts."""

    buffer: Buffer
    version: int
    torn: bool
