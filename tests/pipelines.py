"""Pipeline orders in units of time, without a simulator: when each pass begins if it begins as soon as it can."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

UNIT = {"forward": 1, "backward": 1, "inputs": 1, "weights": 1}
LETTERS = {"forward": "F", "backward": "B", "inputs": "B", "weights": "W"}


def starts(orders: Sequence[Sequence[tuple[Any, ...]]], seconds: Mapping[str, float] = UNIT) -> list[dict[Any, float]]:
    """Of each stage: pass (way, chunk, micro) -> begin. A stage does one pass at a time, in its order."""
    stages = len(orders)
    full = [[(p[0], *((0,) if len(p) == 2 else ()), *p[1:]) for p in order] for order in orders]
    last = max(p[1] for order in full for p in order) * stages + stages - 1
    ends: dict[Any, float] = {}
    begun: list[dict[Any, float]] = [{} for _ in orders]
    free, place = [0.0] * stages, [0] * stages
    while any(place[k] < len(full[k]) for k in range(stages)):
        moved = False
        for k in range(stages):
            while place[k] < len(full[k]):
                way, chunk, micro = full[k][place[k]]
                part, back = chunk * stages + k, "inputs" if way == "inputs" else "backward"
                needs = []
                if way == "forward" and part:
                    needs.append(("forward", part - 1, micro))
                if way in ("backward", "inputs"):
                    needs.append((back, part + 1, micro) if part < last else ("forward", part, micro))
                if not all(need in ends for need in needs):
                    break
                begin = max([free[k], *(ends[need] for need in needs)])
                begun[k][way, chunk, micro] = begin
                free[k] = ends[way, part, micro] = begin + seconds[way]
                place[k] += 1
                moved = True
        assert moved, "the orders wait for each other"
    return begun


def drawing(orders: Sequence[Sequence[tuple[Any, ...]]]) -> list[str]:
    """A line per stage, a column per unit of time."""
    lines = []
    for stage, begun in enumerate(starts(orders)):
        slots = {
            int(begin): (LETTERS[way].lower() if chunk else LETTERS[way]) + str(micro)
            for (way, chunk, micro), begin in begun.items()
        }
        lines.append(f"stage {stage}   " + " ".join(slots.get(slot, ". ") for slot in range(max(slots) + 1)).rstrip())
    return lines


def drawn(module: Any) -> list[str]:
    """The drawing in a module's documentation."""
    return [line.strip() for line in module.__doc__.splitlines() if re.match(r"    stage \d", line)]


def most_in_flight(order: Sequence[tuple[Any, ...]], ends: str = "backward") -> int:
    """Most passes that have gone forward and not yet back."""
    held = most = 0
    for way, *_ in order:
        held += (way == "forward") - (way == ends)
        most = max(most, held)
    return most
