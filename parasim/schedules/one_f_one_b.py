"""1F1B (Narayanan et al. 2019): some forward passes first, then one forward and one backward in turn, then the rest.

The warm-up decides what is in flight: at most one micro-batch more. Stage k of K takes K-1-k (`fill`), so that it is
ready when its first gradient comes. With a flush, K = 4 and M = 6 (F: forward, B: backward; a column is a unit)::

    stage 0   F0 F1 F2 F3 .  .  .  B0 F4 B1 F5 B2 .  B3 .  B4 .  B5
    stage 1   .  F0 F1 F2 .  .  B0 F3 B1 F4 B2 F5 B3 .  B4 .  B5
    stage 2   .  .  F0 F1 .  B0 F2 B1 F3 B2 F4 B3 F5 B4 .  B5
    stage 3   .  .  .  F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5

Without a flush (PipeDream) it is the same order over all mini-batches of the run. With replicated stages (1F1B-RR) a
replica takes every r-th mini-batch, and `fill_replicated` says how many before its first backward pass. Pipelined
back-propagation (Petrowski et al. 1993; Chen et al. 2012) is this order with twice the warm-up, 2 (K-1-k): a gradient
is used one tick after it was made, and a tick has a forward and a backward pass of each stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

__all__ = ["fill", "fill_replicated", "one_f_one_b"]


def one_f_one_b(warmup: int, micros: int) -> Iterator[tuple[Literal["forward", "backward"], int]]:
    """The order of a stage, for `micros` micro-batches of which `warmup` go forward first."""
    first = min(warmup, micros)
    for micro in range(first):
        yield "forward", micro
    for micro in range(first, micros):
        yield "forward", micro
        yield "backward", micro - first
    for micro in range(micros - first, micros):
        yield "backward", micro


def fill(stage: int, stages: int) -> int:
    """Warm-up of 1F1B: stages above, K-1-k."""
    return stages - 1 - stage


def fill_replicated(stage: int, replicas: Sequence[int]) -> int:
    """Warm-up of each replica of a stage in 1F1B-RR: ``(R - 1 - replicas of earlier stages) // r_k``, R of all."""
    return (sum(replicas[stage:]) - 1) // replicas[stage]
