"""Where nodes stand in drawings of topologies."""

from __future__ import annotations

import math

from parasim.cluster.topology import Place

__all__ = ["on_circle"]


def on_circle(count: int, radius: float = 1.0, centre: Place = (0.0, 0.0), first: float = 0.0) -> list[Place]:
    """So many places on a circle, clockwise, `first` (in turns from the top) being the place of the first."""
    turns = [2 * math.pi * (first + number / count) for number in range(count)]
    return [(centre[0] + radius * math.sin(turn), centre[1] + radius * math.cos(turn)) for turn in turns]
