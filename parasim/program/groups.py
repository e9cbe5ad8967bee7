"""Groups of ranks."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.errors import ProgramError

__all__ = ["Group"]


@dataclass(frozen=True, slots=True)
class Group:
    """A named, ordered set of global ranks; a member's `index` is its place in the order."""

    name: str
    ranks: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.ranks)

    def index(self, rank: int) -> int:
        """Place of a global rank in the group; `ProgramError` if it is no member."""
        try:
            return self.ranks.index(rank)
        except ValueError:
            raise ProgramError(f"rank {rank} is no member of group {self.name!r} {self.ranks}") from None
