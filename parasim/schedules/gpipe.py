"""GPipe's order (Huang et al. 2019): all forward passes, then all backward passes, last micro-batch first.

With K = 3 stages and M = 4 micro-batches (F: forward, B: backward; a column is a unit of time)::

    stage 0   F0 F1 F2 F3 .  .  .  .  B3 B2 B1 B0
    stage 1   .  F0 F1 F2 F3 .  .  B3 B2 B1 B0
    stage 2   .  .  F0 F1 F2 F3 B3 B2 B1 B0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

__all__ = ["gpipe"]


def gpipe(micros: int) -> Iterator[tuple[Literal["forward", "backward"], int]]:
    """The order of every stage, for `micros` micro-batches."""
    for micro in range(micros):
        yield "forward", micro
    for micro in reversed(range(micros)):
        yield "backward", micro
