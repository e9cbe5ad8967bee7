"""What the program of a chorus sees: the context of an actor of which nobody may ask who it is.

When it applies: to a role that all actors have. Why it is exact: nothing but its context is in reach of a program. As
long as it does not ask for its rank, index, draws or samples, all actors would do what this one does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from opcode import opmap
from typing import TYPE_CHECKING, Any

from parasim.program.buffers import bounds
from parasim.program.context import Context
from parasim.program.model import Part
from parasim.program.state import Batch, Replica
from parasim.simulation.chorus.counts import Count, Distinguished, Family

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Steps", "Voice", "loops"]

_BEGIN, _LONG, _LOOP = (bytes((opmap[name],)) for name in ("GET_ITER", "EXTENDED_ARG", "FOR_ITER"))
"""How a `for` loop begins; a long one has the second in between."""
_OWN = ("rank", "index", "draws")


def loops(frame: FrameType) -> bool:
    """Is this frame about to go through an iterator that it asks for now in a `for` loop, and in nothing else?"""
    following = frame.f_code.co_code[frame.f_lasti :: 2]
    return following.startswith(_BEGIN) and following[1:].lstrip(_LONG).startswith(_LOOP)


class _AnyBatch:
    """The samples of each actor: as many for all."""

    __slots__ = ("micro", "size", "step", "total")

    def __init__(self, step: Any, micro: int, size: int, total: int) -> None:
        self.step = step
        self.micro = micro
        self.size = size
        self.total = total

    def __getattr__(self, name: str) -> Any:
        if name in ("start", "stop"):
            raise Distinguished(f"a program asks for the {name} of its samples")
        raise AttributeError(name)


class Steps:
    """The iterations, as an iterator; calls `before` with itself before each.

    Attributes
    ----------
    next
        The number of the next.
    last
        How many there are.
    looped
        Are they what a `for` loop goes through, and nothing else?
    """

    def __init__(self, last: int, before: Callable[[Steps], None]) -> None:
        self.next = Count(Family())
        self.last = last
        self.looped = False
        self._before = before

    def __iter__(self) -> Steps:
        self.looped = loops(sys._getframe(1))
        return self

    def __next__(self) -> Count:
        self._before(self)
        step = self.next
        if step.value >= self.last:
            raise StopIteration
        self.next = step + 1
        return step


class Voice(Context):
    """The context of any of the actors.

    Parameters
    ----------
    before_step
        Called before each of the program's iterations.
    given
        As `Context` has it.
    """

    def __init__(self, before_step: Callable[[Steps], None], **given: Any) -> None:
        super().__init__(**given)
        self._before_step = before_step
        for name in _OWN:
            delattr(self, name)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:
            raise Distinguished(f"a program asks for its {name}")
        raise AttributeError(name)

    def steps(self) -> Any:
        """The iterations, counted."""
        return Steps(self.num_steps, self._before_step)

    def batch(
        self, step: int, *, share: int | None = None, shares: int | None = None, micro: int = 0, micros: int = 1
    ) -> Batch:
        """The samples of each actor."""
        if share is not None:
            return super().batch(step, share=share, shares=shares, micro=micro, micros=micros)
        size = self.batches.size(step)
        cuts = bounds(size, micros)
        shares = self.count(self.role) if shares is None else shares
        batch: Any = _AnyBatch(step, micro, cuts[micro + 1] - cuts[micro], shares * size)
        return batch  # type: ignore[no-any-return]

    def replica(
        self, part: Part | None = None, elements: tuple[int, int] | None = None, per_step: float = 1.0
    ) -> Replica:
        """A parameter copy, its versions counted."""
        replica = super().replica(part, elements, per_step)
        version: Any = Count(Family())
        begun: Any = Count(Family())
        replica.version, replica.begun = version, begun
        return replica
