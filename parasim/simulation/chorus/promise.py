"""The handle of something posted by a chorus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parasim.program.ops import Handle
from parasim.simulation.chorus.counts import Distinguished

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Promise"]


class Promise(Handle):
    """A posted operation whose end is known: `over`, of each actor (seconds). A program can but wait for it."""

    __slots__ = ("over",)

    def __init__(self, lane: str, over: NDArray[Any]) -> None:
        self.lane = lane
        self.over = over

    def __getattr__(self, name: str) -> Any:
        raise Distinguished(f"a program looks at the {name} of a handle")
