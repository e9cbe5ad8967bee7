"""Where a worker's time goes: compute, transfer and waiting of the main lane, and what lanes do beside it.

The rules that split the main lane's time are those of parasim/trace/lanes.py. Time after an actor's own end is
waiting, so the shares of all workers are fractions of one span: the `seconds` of the run. (An actor of another role may
outlast the workers; its shares are those of its own span.)

Overlapped time is what is hidden: the time in which some lane computes (or transfers), less the time in which the main
lane is counted as computing (or transferring). Many lanes at once count once. So a worker's data move during
``shares.transfer * seconds_per_step + overlapped.transfer`` seconds of each step.
"""

from __future__ import annotations

from typing import NamedTuple

from parasim.trace.actor import ActorTotals

__all__ = ["TimeSplit", "time_split"]

_ROUNDING = 1e-12


class TimeSplit(NamedTuple):
    """Of one actor: shares of the main lane's time, which sum to 1; and seconds of other lanes' work beside it."""

    compute: float
    transfer: float
    wait: float
    overlapped_compute_seconds: float
    overlapped_transfer_seconds: float


def time_split(actor: ActorTotals, seconds: float) -> TimeSplit:
    """Split ``[0, seconds]`` of an actor's main lane (up to its own end, if that is later)."""
    if seconds <= 0:
        return TimeSplit(0.0, 0.0, 1.0, 0.0, 0.0)
    compute, transfer = actor.times.main_seconds()
    any_compute, any_transfer = actor.times.busy_seconds()
    whole = max(seconds, actor.end, compute + transfer)  # the last one only by rounding
    slack = _ROUNDING * seconds
    return TimeSplit(
        compute / whole,
        transfer / whole,
        max(0.0, whole - compute - transfer) / whole,
        any_compute - compute if any_compute - compute > slack else 0.0,
        any_transfer - transfer if any_transfer - transfer > slack else 0.0,
    )
