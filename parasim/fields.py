"""Dataclass fields that describe themselves: a line of documentation, limits, and a unit if they have one.

Whatever a scenario file may say (devices, links, laws of noise, topologies, options of schemes, models, data and
optimisers) is a dataclass described with these helpers, once: `parasim.scenario.check` validates files straight into
it, `parasim.scenario.schema` documents it, and `check_fields` holds its limits when Python code makes one.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from types import MappingProxyType
from typing import Any

from parasim.errors import ScenarioError

__all__ = [
    "INTERNAL",
    "LIMITS",
    "check_fields",
    "default_of",
    "described",
    "limits_of",
    "option",
    "quantity",
    "setting",
]

LIMITS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "ge": ("at least", operator.ge),
        "gt": ("greater than", operator.gt),
        "le": ("at most", operator.le),
        "lt": ("less than", operator.lt),
    }
)
"""Limits of a field, in words and as tests."""

INTERNAL: Mapping[str, Any] = MappingProxyType({"internal": True})
"""Metadata of a field that no file may give."""

_SAME: Any = object()


def option(default: Any, doc: str, **limits: float) -> Any:
    """Describe an option of a scheme, model, optimiser ...: its default, a line of documentation, limits (`LIMITS`)."""
    return setting(doc, default, **limits)


def setting(doc: str, default: Any = MISSING, *, file_default: Any = _SAME, **limits: float) -> Any:
    """Describe a plain field.

    Parameters
    ----------
    doc
        What it is, in a line.
    default
        Its value where Python code gives none; without it, the field is required.
    file_default
        The same for files, where that differs; `dataclasses.MISSING` makes the field required there.
    limits
        Keys of `LIMITS`; of a tuple, they hold for each of its items.
    """
    metadata = {"doc": doc, **limits} | ({} if file_default is _SAME else {"file_default": file_default})
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def quantity(dimension: str, doc: str, default: Any = MISSING, *, file_default: Any = _SAME, **limits: float) -> Any:
    """Describe a float in SI units that files write with a unit ("10 Gbit/s").

    Its `dimension` is a key of `parasim.units.DIMENSIONS`; the rest is as in :func:`setting`.
    """
    described_with: Any = {**limits, "dimension": dimension}
    return setting(doc, default, file_default=file_default, **described_with)


def described(cls: type) -> dict[str, Field[Any]]:
    """Fields of a dataclass that a file may give."""
    return {entry.name: entry for entry in fields(cls) if entry.init and not entry.metadata.get("internal")}


def default_of(entry: Field[Any]) -> Any:
    """What a file that does not give the field gets, or `dataclasses.MISSING`."""
    if "file_default" in entry.metadata:
        return entry.metadata["file_default"]
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def limits_of(entry: Field[Any]) -> dict[str, Any]:
    """Limits of a field, by the keys of `LIMITS`."""
    return {key: entry.metadata[key] for key in LIMITS if key in entry.metadata}


def check_fields(owner: Any, what: str) -> None:
    """Hold the limits of an object's fields; a number with limits is finite, unless infinity is its default.

    Parameters
    ----------
    owner
        A dataclass object, as its `__post_init__` sees it.
    what
        What it is, for the error.

    Raises
    ------
    ScenarioError
        If a value is outside its limits; the message names what, the field and the value.
    """
    cls: type = type(owner)
    for name, tests, finite in _rules(cls):
        value = getattr(owner, name)
        for number in value if isinstance(value, tuple) else (value,):
            for words, holds, limit in tests:
                if not holds(number, limit):
                    raise ScenarioError(f"{what}: {name} must be {words} {limit}, got {number}")
            if finite and not math.isfinite(number):
                raise ScenarioError(f"{what}: {name} must be finite, got {number}")


@functools.cache
def _rules(cls: type) -> tuple[tuple[str, tuple[tuple[str, Callable[[Any, Any], bool], float], ...], bool], ...]:
    """Name, limits, and "must it be finite?" of each field that has limits."""
    return tuple(
        (entry.name, tuple((*LIMITS[key], limit) for key, limit in limits.items()), entry.default != math.inf)
        for entry in fields(cls)
        if (limits := limits_of(entry))
    )
