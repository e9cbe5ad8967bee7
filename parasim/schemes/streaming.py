"""What pipelines without a flush share: passes of all mini-batches in one stream, what they need asked for ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from parasim.program import ClosedForm, Program, Setting
from parasim.schemes.flushing import balanced, free
from parasim.schemes.staged import Stage, Staged, stage_seconds

__all__ = ["Stream", "streamed"]


class Stream:
    """Passes of a stage in their order; while one is done, what the next `ahead` need is on its way."""

    def __init__(self, stage: Stage, passes: Iterable[tuple[str, int]], ahead: int) -> None:
        self._stage = stage
        self._passes = iter(passes)
        self._ahead = ahead
        self._asked: deque[tuple[str, int]] = deque()

    def next(self) -> Program[tuple[str, int] | None]:
        """The next pass; None after the last."""
        while len(self._asked) <= self._ahead:
            following = next(self._passes, None)
            if following is None:
                break
            yield from self._stage.expect(*following)
            self._asked.append(following)
        return self._asked.popleft() if self._asked else None


def streamed(
    scheme: Staged, setting: Setting, extra: Sequence[float], staleness: float, flying: Sequence[int], micros: int = 1
) -> ClosedForm:
    """Steady state: the slowest stage, ``max of F_k + B_k`` and what it does besides for an update (`extra`, seconds).

    A lower bound too is the way of a micro-batch through the stages above and back, over the `flying` ones. Exact for
    balanced stages and links that take no time.
    """
    stages, t = scheme.cuts, stage_seconds(scheme, setting)
    own = [micros * (t.forward[k] + t.backward[k]) + extra[k] for k in range(stages)]
    ways = [micros * sum(t.forward[k:] + t.backward[k:] + t.up[k:] + t.down[k:]) / flying[k] for k in range(stages)]
    simple = balanced(t.forward) and balanced(t.backward) and balanced(list(extra)) and free(t)
    return ClosedForm(
        max(own + ways + [micros * link for link in t.up + t.down]),
        2.0 * sum(t.sizes) * micros / stages,
        2.0 * (stages - 1) * micros / stages,
        staleness,
        "exact" if simple and not setting.place.noisy else "lower bound",
        note="" if simple else "unlike stages, or links that take time, may cost more than the slowest of them",
    )
