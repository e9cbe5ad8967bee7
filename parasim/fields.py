"""Dataclass fields that describe themselves: a line of documentation, limits, and a unit if they have one.

Whatever a scenario file may say (devices, links, laws of noise, topologies, options of schemes, models, data and
optimisers) is a dataclass described with these helpers, once: `parasim.scenario.check` validates files straight into
it, `parasim.scenario.schema` documents it, and `check_fields` holds its limits when Python code makes one.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
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
        Its value where Python code gives none; without it, the field is required. Limits do not concern None.
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
    """Fields of a dataclass that a file may give, by their names there: `from_` is "from", which Python keeps."""
    return {entry.name.rstrip("_"): entry for entry in fields(cls) if entry.init and not entry.metadata.get("internal")}


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
    for name, least, most in _ranges(cls):
        value = getattr(owner, name)
        if value is None:
            continue
        if type(value) is tuple:
            number = next((item for item in value if not least <= item <= most), least)
        else:
            number = value
        if not least <= number <= most:
            raise ScenarioError(f"{what}: {name} {_broken_limit(cls, name, number)}, got {number}")


@functools.cache
def _ranges(cls: type) -> tuple[tuple[str, float, float], ...]:
    """Name, least and largest value of each field that has limits."""
    ranges = []
    for entry in fields(cls):
        if limits := limits_of(entry):
            most = math.inf if entry.default == math.inf else sys.float_info.max
            least = max(-most, limits.get("ge", -math.inf))
            if "gt" in limits:
                least = max(least, math.nextafter(limits["gt"], math.inf))
            most = min(most, limits.get("le", math.inf))
            if "lt" in limits:
                most = min(most, math.nextafter(limits["lt"], -math.inf))
            ranges.append((entry.name, least, most))
    return tuple(ranges)


def _broken_limit(cls: type, name: str, number: float) -> str:
    """What a value outside the range of its field should be."""
    entry = next(entry for entry in fields(cls) if entry.name == name)
    for key, limit in limits_of(entry).items():
        words, holds = LIMITS[key]
        if not holds(number, limit):
            return f"must be {words} {limit}"
    return "must be finite"
