"""Where the time of all actors of a chorus goes: the rules of parasim/trace/lanes.py, on arrays.

When it applies: always in a chorus. Why it is exact: an actor's lanes do one thing after the other, so what a lane will
do begins no earlier than now, the main lane's time. What was done up to now is folded into sums; the pieces that reach
beyond stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parasim.trace.intervals import covered
from parasim.trace.lanes import COMPUTE, MAIN, TRANSFER

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LaneSums", "Span"]


class Span(NamedTuple):
    """What each actor does on a lane from `start` to `end` (seconds; nothing if these are equal)."""

    lane: str
    kind: int
    start: NDArray[Any]
    end: NDArray[Any]


class LaneSums:
    """Seconds of all actors.

    Attributes
    ----------
    main, busy
        Compute and transfer: of the main lane; of any lane (parasim/trace/lanes.py).
    spans
        What is not folded yet.
    """

    __slots__ = ("busy", "main", "spans")

    def __init__(self) -> None:
        self.main = [np.zeros(1), np.zeros(1)]
        self.busy = [np.zeros(1), np.zeros(1)]
        self.spans: list[Span] = []

    def work(self, lane: str, kind: int, start: NDArray[Any], end: NDArray[Any]) -> None:
        """An operation that is COMPUTE or TRANSFER."""
        self.spans.append(Span(lane, kind, start, end))
        if lane == MAIN:
            self.main[kind] = self.main[kind] + (end - start)

    def wait(self, lanes: Sequence[str], start: NDArray[Any], end: NDArray[Any]) -> None:
        """The main lane has waited for others, which have nothing to do any more before `end`."""
        spans = [_clip(span, start, end) for span in self.spans if span.lane in lanes]
        transfer = _covered([span for span in spans if span.kind == TRANSFER])
        if any(span.kind == COMPUTE for span in spans):
            self.main[COMPUTE] = self.main[COMPUTE] + np.maximum(0.0, _covered(spans) - transfer)
        self.main[TRANSFER] = self.main[TRANSFER] + transfer

    def fold(self, now: NDArray[Any]) -> None:
        """Whatever comes begins at `now` or later."""
        for kind in (COMPUTE, TRANSFER):
            past = [_clip(span, None, now) for span in self.spans if span.kind == kind]
            self.busy[kind] = self.busy[kind] + _covered(past)
        self.spans = [_clip(span, now, None) for span in self.spans if (span.end > now).any()]


def _clip(span: Span, low: NDArray[Any] | None, high: NDArray[Any] | None) -> Span:
    start = span.start if low is None else np.maximum(span.start, low)
    end = span.end if high is None else np.minimum(span.end, high)
    return Span(span.lane, span.kind, start, np.maximum(start, end))


def _covered(spans: Sequence[Span]) -> NDArray[Any]:
    """Of each actor: length of the union of its pieces."""
    if not spans:
        return np.zeros(1)
    if len(spans) == 1:
        length: NDArray[Any] = spans[0].end - spans[0].start
        return length
    if all(span.start.size == span.end.size == 1 for span in spans):
        return np.array([covered([(span.start.item(), span.end.item()) for span in spans])])
    edges = np.broadcast_arrays(*[edge for span in spans for edge in (span.start, span.end)])
    starts, ends = np.stack(edges[::2]), np.stack(edges[1::2])
    ends = np.where(ends > starts, ends, -np.inf)
    order = np.argsort(starts, axis=0, kind="stable")
    starts, ends = np.take_along_axis(starts, order, 0), np.take_along_axis(ends, order, 0)
    reached = np.maximum.accumulate(ends, axis=0)
    before = np.concatenate([np.full((1, starts.shape[1]), -np.inf), reached[:-1]])
    lengths: NDArray[Any] = np.maximum(0.0, ends - np.maximum(starts, before)).sum(axis=0)
    return lengths
