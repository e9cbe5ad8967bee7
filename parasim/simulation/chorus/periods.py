"""Steps that are like those before are skipped.

When it applies: to a chorus whose computes take the same time in every step. Before each iteration of the program its
state is looked at (likeness.py): variables of all its functions under way, what is held, when its lanes will be free.
If it was like this some iterations ago, but for counts, and times that have moved on together, what has happened in
between happens again and again: all sums grow as they did.

Why it is exact: a program's course follows from its state and from the replies to its operations, those follow from
their times relative to each other, and no time depends on the clock. Where a program has compared counts, periods are
skipped only as long as it would get the same answers (counts.py). What an expression holds while it waits for the next
iteration can't be seen (the other lists of a `zip` could be), so the iterations must be a `for` loop's own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.simulation.chorus.likeness import Likeness, UnknownState

if TYPE_CHECKING:
    from types import FrameType

    from numpy.typing import NDArray

    from parasim.simulation.chorus.counts import Family
    from parasim.simulation.chorus.score import Score
    from parasim.simulation.chorus.voice import Steps

__all__ = ["Periods"]

_LONGEST = 1024
"""So many iterations are looked at before the search is given up."""
_LEAST = 4
"""Fewer iterations are not worth a look."""
_ROUNDING = 8e-15
"""Times that differ by this part of the time that has passed are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A state: families of counts with how far they were, and comparisons; times after `base`; sums."""

    raws: dict[Family, int]
    asked: dict[Family, int]
    base: float
    times: list[NDArray[Any]]
    sums: list[dict[Any, Any]]


class Periods:
    """Looks for periods of a score's program, and skips them.

    Parameters
    ----------
    score
        Who goes through the program.

    Attributes
    ----------
    skipped
        Seconds.
    """

    def __init__(self, score: Score) -> None:
        self.skipped = 0.0
        self._score = score
        self._seen: dict[tuple[Any, ...], _Seen] = {}
        self._looked = 0
        self._family: Family | None = None

    def before(self, steps: Steps) -> None:
        """The program is about to begin an iteration."""
        if self._family is not steps.next.family:
            self._family, self._looked = steps.next.family, 0
            self._seen.clear()
        if self._looked >= _LONGEST or steps.last - steps.next.value < _LEAST:
            return
        self._looked += 1
        likeness = self._likeness(steps, sys._getframe(3))
        if likeness is None:
            self._looked = _LONGEST
            return
        now = self._score.now
        base = float(now.min())
        sums = self._score.tallies.sums()
        asked = {family: len(family.gaps) for family in likeness.raws}
        seen = _Seen(likeness.raws, asked, base, [times - base for times in likeness.times], sums)
        words = tuple(likeness.words)
        before = self._seen.get(words)
        self._seen[words] = seen
        if before is not None and self._same_times(before, seen):
            self._skip(before, seen, steps)

    def _likeness(self, steps: Steps, frame: FrameType | None) -> Likeness | None:
        """Of all that there is; None if it can't be told."""
        score = self._score
        likeness = Likeness(score.constants, score.modules)
        try:
            while frame is not None and frame.f_code is not score.player:
                likeness.words += [id(frame.f_code), frame.f_lasti]
                for name, thing in frame.f_locals.items():
                    likeness.words.append(name)
                    likeness.take(thing)
                frame = frame.f_back
            likeness.take(steps.next)
            score.look(likeness)
        except UnknownState:
            return None
        return likeness

    @staticmethod
    def _same_times(before: _Seen, seen: _Seen) -> bool:
        slack = _ROUNDING * max(seen.base, 1e-300)
        return all(
            one.shape == other.shape and bool((np.abs(one - other) <= slack).all())
            for one, other in zip(before.times, seen.times, strict=True)
        )

    def _skip(self, before: _Seen, seen: _Seen, steps: Steps) -> None:
        """Skip as many periods as can be."""
        pairs = list(zip(before.raws.items(), seen.raws.items(), strict=True))
        if any(old[0] is not new[0] for old, new in pairs):
            return
        growth = {family: raw - before.raws[family] for family, raw in seen.raws.items()}
        period = growth[steps.next.family]
        if period < 1 or any(g < 0 or any(g % m for m in family.moduli) for family, g in growth.items()):
            return
        left: float = (steps.last - steps.next.value) // period
        for family, g in growth.items():
            left = min(left, family.room(before.asked[family], g))
        if left < 1 or not steps.looped:
            return
        periods = int(left)
        for family, g in growth.items():
            family.skipped += periods * g
        self.skipped += periods * (seen.base - before.base)
        self._score.tallies.repeat(before.sums, periods)
        self._seen.clear()
        self._looked = 0
