"""ZB-H1 (Qi et al. 2024): 1F1B with the backward pass in two halves; gradients of weights fill what were bubbles.

Only the gradient of a stage's inputs (B) is waited for by the stage below. Those of the weights (W) come later, at
stage k by k micro-batches, so that no more is in flight than 1F1B has at stage 0. K = 4, M = 6, all passes of a unit::

    stage 0   F0 F1 F2 F3 .  .  .  B0 W0 F4 B1 W1 F5 B2 W2 B3 W3 B4 W4 B5 W5
    stage 1   .  F0 F1 F2 .  .  B0 F3 B1 W0 F4 B2 W1 F5 B3 W2 B4 W3 B5 W4 W5
    stage 2   .  .  F0 F1 .  B0 F2 B1 F3 B2 W0 F4 B3 W1 F5 B4 W2 B5 W3 W4 W5
    stage 3   .  .  .  F0 B0 F1 B1 F2 B2 F3 B3 W0 F4 B4 W1 F5 B5 W2 W3 W4 W5
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from parasim.schedules.one_f_one_b import fill, one_f_one_b

__all__ = ["zb_h1"]


def zb_h1(stage: int, stages: int, micros: int) -> Iterator[tuple[Literal["forward", "inputs", "weights"], int]]:
    """The order of a stage: forward passes, gradients of inputs, gradients of weights."""
    for way, micro in one_f_one_b(fill(stage, stages), micros):
        if way == "forward":
            yield "forward", micro
        else:
            yield "inputs", micro
            if micro >= stage:
                yield "weights", micro - stage
    for micro in range(max(0, micros - stage), micros):
        yield "weights", micro
