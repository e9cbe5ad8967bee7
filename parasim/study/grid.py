"""Grids: which keys of a scenario take which values, and the scenario of each point.

================================================  ======================================================================
``scheme.workers=2,4,8``                          a key and its values
``scheme.workers=2..64*2``                        a range: times 2; ``1..10`` goes in steps of 1, ``0..1+0.25`` in steps
                                                  of 0.25; ``1..100*10 Gbit/s`` has a unit
``scheme.workers,cluster.topology.hosts=2,4,8``   keys that move together: each value goes to all of them
``scheme.workers,scheme.servers=(8,1),(7,2)``     keys that move together: a value for each
``run.steps=20``                                  one value: for every point
================================================  ======================================================================

Commas inside of brackets or quotes do not separate values: ``placement={worker: [0, 1]}`` is one value.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from parasim.errors import ScenarioError
from parasim.scenario.check import shorten
from parasim.scenario.documents import Documents
from parasim.scenario.overrides import Override, apply_overrides, read_override
from parasim.scenario.reader import Tree
from parasim.study.cases import Case
from parasim.study.words import split_outside

__all__ = ["MAX_POINTS", "Axis", "grid_cases", "read_axes"]

MAX_POINTS = 100_000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?:([*+])\s*({_NUMBER}))?(?:\s*([^\d\s.+*-]\S*))?")


@dataclass(frozen=True, slots=True)
class Axis:
    """Keys that take the same place of their lists of values in each point.

    Attributes
    ----------
    keys
        Dotted keys of the scenario; one, or several that move together.
    values
        For each place, the words of the value and an override per key.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[str, tuple[Override, ...]], ...]

    @property
    def name(self) -> str:
        """The keys, as they were written."""
        return ",".join(self.keys)


def read_axes(words: Sequence[str]) -> tuple[list[Axis], list[Override]]:
    """Take words apart into axes, which have several values, and overrides, which have one.

    Raises
    ------
    ScenarioError
        If a word is no ``key=values`` or a key is set twice.
    """
    axes: list[Axis] = []
    fixed: list[Override] = []
    taken: set[tuple[str | int, ...]] = set()
    for word in words:
        axis = _axis(word)
        for override in axis.values[0][1]:
            if override.path in taken:
                raise ScenarioError(f"{override.place}: the key is set twice: leave one out")
            taken.add(override.path)
        if len(axis.values) == 1:
            fixed += axis.values[0][1]
        else:
            axes.append(axis)
    return axes, fixed


def grid_cases(
    documents: Documents, axes: Sequence[Axis], fixed: Sequence[Override], *, allow_code: bool = False
) -> list[Case]:
    """The points in the order of the grid: variants first, then the values of the axes; the last axis moves fastest.

    Raises
    ------
    ScenarioError
        If there are too many points.
    """
    count = len(documents.variants) * math.prod(len(axis.values) for axis in axes)
    if count > MAX_POINTS:
        raise ScenarioError(f"the grid has {count} points; the limit is {MAX_POINTS}: leave some values out")
    places = list(itertools.product(*(axis.values for axis in axes)))
    return [
        _case(name if len(documents.variants) > 1 else "", name, tree, axes, place, fixed, allow_code)
        for name, tree in documents.variants.items()
        for place in places
    ]


def _case(
    shown: str,
    variant: str,
    tree: Tree,
    axes: Sequence[Axis],
    place: Sequence[tuple[str, tuple[Override, ...]]],
    fixed: Sequence[Override],
    allow_code: bool,
) -> Case:
    values: dict[str, Any] = {"variant": shown} if shown else {}
    for axis, (_, overrides) in zip(axes, place, strict=True):
        values |= {key: override.value for key, override in zip(axis.keys, overrides, strict=True)}
    label = " ".join(
        [*([variant] if variant else []), *(f"{a.name}={w}" for a, (w, _) in zip(axes, place, strict=True))]
    )
    try:
        made = apply_overrides(tree, [*fixed, *(override for _, overrides in place for override in overrides)])
    except ScenarioError as error:
        return Case(label, None, variant, values, allow_code, error)
    return Case(label, made, variant, values, allow_code)


def _axis(word: str) -> Axis:
    left, equals, right = word.partition("=")
    keys = tuple(key.strip() for key in left.split(","))
    if not equals or not right.strip():
        read_override(word)  # which says what is missing
    values: list[tuple[str, tuple[Override, ...]]] = []
    for text in (value for part in split_outside(right, ",") for value in _range(part, word)):
        each = [text] * len(keys)
        if len(keys) > 1 and text.startswith("(") and text.endswith(")"):
            each = split_outside(text[1:-1], ",")
            if len(each) != len(keys):
                raise ScenarioError(f"{shorten(word)}: {text} has {len(each)} values for {len(keys)} keys")
        if any(text == other for other, _ in values):
            raise ScenarioError(f"{shorten(word)}: {text} is given twice: leave one out")
        overrides = [read_override(f"{key}={value}") for key, value in zip(keys, each, strict=True)]
        values.append((text, tuple(overrides)))
    return Axis(keys, tuple(values))


def _range(text: str, word: str) -> Iterator[str]:
    """The values of a range, or the text itself if it is none."""
    found = _RANGE.fullmatch(text)
    if found is None:
        yield text
        return
    low, high = Decimal(found[1]), Decimal(found[2])
    times, step = found[3] == "*", Decimal(found[4] or 1)
    if low > high or (times and (low <= 0 or step <= 1)) or step <= 0:
        raise ScenarioError(f"{shorten(word)}: {text} is no range: write 1..10, 0..1+0.25 or 2..64*2, from low to high")
    if not times and (high - low) / step > MAX_POINTS:
        raise ScenarioError(f"{shorten(word)}: {text} has more than {MAX_POINTS} values, the limit")
    value = low
    for _ in range(MAX_POINTS + 1):
        if value > high:
            return
        number = format(value.normalize(), "f")
        yield f"{number} {found[5]}" if found[5] else number
        value = value * step if times else value + step
