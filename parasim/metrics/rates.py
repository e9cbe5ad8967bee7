"""How fast samples are taken: over a whole run, and while all workers are at work.

`samples_per_second` counts the samples of all workers over the whole run. Asynchronous workers on unlike machines, each
with so many steps, end far apart: the run lasts as long as the slowest, while fewer and fewer work. Publications state
what all take together, in a training that ends for all at once. So `samples_per_second_while_all_work` is the sum, over
workers, of each one's samples over the time until the end of its own last step. (Whom others slow down, at a server or
on a link, goes faster once they are through: then the sum is somewhat more than what is taken at the beginning.) What
comes after all steps, as an exchange that is still under way, is counted as everybody's time.

Both figures are the same where all end together; where workers share batches, as in pipelines; and where each has a
model of its own until the end, which waits for the slowest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parasim.metrics.info import RunInfo
from parasim.trace.aggregate import Alike

__all__ = ["WHILE_ALL_WORK", "WHOLE_RUN", "ends_apart", "rate_figures", "rate_name", "rates"]

WHOLE_RUN, WHILE_ALL_WORK = "samples_per_second", "samples_per_second_while_all_work"
_APART = 1.25
"""Workers end apart if while all work they take so many times the samples per second of the whole run."""


def rate_figures(
    team: Sequence[Alike], workers: Mapping[int, int], info: RunInfo, seconds: float
) -> dict[str, float | None]:
    """Both figures of a run of `seconds`, in samples per second; None of a run that took no time.

    `workers` tells how many of the team made so many steps.
    """
    if not seconds:
        return {WHOLE_RUN: None, WHILE_ALL_WORK: None}
    samples, steps = info.samples(workers), sum(count * number for count, number in workers.items())
    whole = samples / seconds
    ends = [totals.last_step for totals, _ in team]
    if not info.own_pace or not steps or min(ends) <= 0:
        return {WHOLE_RUN: whole, WHILE_ALL_WORK: whole}
    after = seconds - max(ends)
    each = math.fsum(len(ranks) * totals.steps / (end + after) for (totals, ranks), end in zip(team, ends, strict=True))
    return {WHOLE_RUN: whole, WHILE_ALL_WORK: samples * each / steps}


def ends_apart(summaries: Sequence[Mapping[str, Any]]) -> bool:
    """Do the workers of one of these runs end so far apart that the two figures say different things?"""
    return any(
        (while_all := summary.get(WHILE_ALL_WORK)) and while_all > _APART * summary[WHOLE_RUN] for summary in summaries
    )


def rates(summaries: Sequence[Mapping[str, Any] | None]) -> list[float | None]:
    """Samples per second by which runs are compared: while all work, if workers of one of them end apart.

    None of runs that took no time, or (None) did not run.
    """
    ran = [summary for summary in summaries if summary is not None]
    figure = WHILE_ALL_WORK if ends_apart(ran) else WHOLE_RUN
    return [None if one is None else one.get(figure, one[WHOLE_RUN]) for one in summaries]


def rate_name(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What `rates` of these are, in words."""
    return "samples per second while all work" if ends_apart(summaries) else "samples per second"
