"""What the keys of a sweep were set to, as text and as numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from parasim.metrics.outcome import Outcome
from parasim.units import DIMENSIONS, parse_quantity

__all__ = ["VARIANT", "numbers", "place_text", "point_labels", "short_names", "value_text"]

VARIANT = "variant"
"""The key of `Outcome.values` that tells the variant, where a file has several."""


def value_text(value: Any) -> str:
    """A value as a file would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def place_text(outcome: Outcome, axis: Sequence[str]) -> str:
    """What the keys of an axis were set to; once, if all of them to the same."""
    texts = [value_text(outcome.values[key]) for key in axis]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


def short_names(axes: Sequence[Sequence[str]]) -> list[str]:
    """For each axis the last words of its keys, as many as tell them apart, and of what a kind is."""
    keys = [key for axis in axes for key in axis]
    names = {}
    for key in keys:
        words = key.split(".")
        same = [other for other in keys if other != key and other.split(".")[-1] == words[-1]]
        names[key] = ".".join(words[-2:]) if same or words[-1] == "kind" else words[-1]
    return [", ".join(names[key] for key in axis) for axis in axes]


def point_labels(axes: Sequence[Sequence[str]], outcomes: Sequence[Outcome]) -> list[str]:
    """Each point's name: its variant, if the points are of several, and what the axes are set to, by short names."""
    names, variants = short_names(axes), {outcome.values.get(VARIANT) for outcome in outcomes}
    return [
        ", ".join(
            [
                *([str(outcome.values[VARIANT])] if len(variants) > 1 else []),
                *(f"{name} {place_text(outcome, axis)}" for name, axis in zip(names, axes, strict=True)),
            ]
        )
        for outcome in outcomes
    ]


def numbers(texts: Sequence[str]) -> list[float] | None:
    """Plain numbers, or quantities of one dimension in SI units; None if any is neither."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        pass
    for dimension in DIMENSIONS:
        try:
            return [parse_quantity(text, dimension) for text in texts]
        except ValueError:
            continue
    return None
