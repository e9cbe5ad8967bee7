"""Quantities: "10 Gbit/s" to floats in SI units (seconds, bytes, bytes/s, FLOP, FLOP/s), and back for people.

Units appear only where people read or write: in scenario files and in reports. What could mean two things is refused:
"Gb/s" and "Gbps" (bits or bytes?), "KB" (1000 or 1024?), "GFLOPS" (FLOP, or FLOP per second?).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal

__all__ = ["DIMENSIONS", "EXAMPLES", "format_quantity", "parse_quantity"]

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}

_SECONDS = {"ps": 1e-12, "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {
    **{f"{prefix}B": factor for prefix, factor in (_DECIMAL | _BINARY).items()},
    **{f"{prefix}bit": factor / 8 for prefix, factor in (_DECIMAL | _BINARY).items()},
}
_FLOP = {f"{prefix}FLOP": factor for prefix, factor in _DECIMAL.items()}

DIMENSIONS: Mapping[str, Mapping[str, float]] = {
    "seconds": _SECONDS | {"min": 60.0, "h": 3600.0},
    "bytes": _BYTES,
    "bytes/s": {f"{unit}/s": factor for unit, factor in _BYTES.items()},
    "FLOP": _FLOP,
    "FLOP/s": {f"{unit}/s": factor for unit, factor in _FLOP.items()},
    "seconds/byte": {f"{unit}/B": factor for unit, factor in _SECONDS.items()},
}
"""Units of each dimension, and what one of them is in SI units."""

EXAMPLES: Mapping[str, str] = {
    "seconds": "50 us",
    "bytes": "16 GiB",
    "bytes/s": "10 Gbit/s",
    "FLOP": "2 GFLOP",
    "FLOP/s": "50 GFLOP/s",
    "seconds/byte": "0.1 ns/B",
}
"""What a user should write for each dimension."""

_UNIT_FOR_ADVICE = {
    "seconds": "us",
    "bytes": "GiB",
    "bytes/s": "Gbit/s",
    "FLOP": "GFLOP",
    "FLOP/s": "GFLOP/s",
    "seconds/byte": "ns/B",
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s.+-]\S*)?")
_AMBIGUOUS_BITS = re.compile(r"([kKMGTPE]?i?)(?:b/s|bps|bits?ps|Bps)")
_MAX_LENGTH = 64
_TOO_MANY = 1e5  # Gbit/s, GiB ...: more than a user can have meant
_SMALLEST, _LARGEST = 1e-30, 1e30  # in SI units; far beyond any machine, and products of a few stay finite


def parse_quantity(value: object, dimension: str) -> float:
    """Float in SI units of a quantity written with its unit; a plain 0 is taken in every dimension.

    Parameters
    ----------
    value
        As it stands in a file: "10 Gbit/s".
    dimension
        A key of `DIMENSIONS`.

    Raises
    ------
    ValueError
        If it has no unit, one of another dimension or one that is ambiguous, or if it is negative, not finite or
        absurd (above 1e30, or between 0 and 1e-30, in SI units). The message says what to write.
    """
    units, example = DIMENSIONS[dimension], EXAMPLES[dimension]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _bare_number(value if isinstance(value, float) else float(min(value, 10**300)), value, dimension)
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no quantity: write '{example}'")
    found = _QUANTITY.fullmatch(value.strip()) if len(value) <= _MAX_LENGTH else None
    if found is None:
        if value.strip().lstrip("+-").lower().startswith(("nan", "inf")):
            raise ValueError(f"{_shown(value)} is not finite: write '{example}'")
        raise ValueError(f"{_shown(value)} is no quantity: write a number and a unit, as in '{example}'")
    number, unit = float(found[1]), found[2]
    if unit is None:
        return _bare_number(number, found[1], dimension)
    if unit not in units:
        raise ValueError(_wrong_unit(value, found[1], unit, dimension))
    if number < 0:
        raise ValueError(f"{_shown(value)} is negative")
    if number * units[unit] > _LARGEST:
        raise ValueError(f"{_shown(value)} is too large")
    if 0 < number * units[unit] < _SMALLEST:
        raise ValueError(f"{_shown(value)} is too small")
    return float(Decimal(repr(number)) * Decimal(repr(units[unit])))  # so that 50 us is 5e-05 exactly


def _bare_number(number: float, written: object, dimension: str) -> float:
    """0, which needs no unit; anything else is an error that says what to write."""
    if not math.isfinite(number):
        raise ValueError(f"{_shown(written)} is not finite: write '{EXAMPLES[dimension]}'")
    if number < 0:
        raise ValueError(f"{_shown(written)} is negative, and has no unit: write '{EXAMPLES[dimension]}'")
    if number == 0:
        return 0.0
    if number >= _TOO_MANY:  # it was meant in SI units
        raise ValueError(
            f"{_shown(written)} has no unit: write '{format_quantity(number, dimension)}' if it is {dimension}"
        )
    raise ValueError(f"{_shown(written)} has no unit: write '{number:g} {_UNIT_FOR_ADVICE[dimension]}'")


def _wrong_unit(value: str, number: str, unit: str, dimension: str) -> str:
    """Why a unit is refused, and what to write instead."""
    units, example = DIMENSIONS[dimension], EXAMPLES[dimension]
    bits = _AMBIGUOUS_BITS.fullmatch(unit)
    if bits and dimension == "bytes/s":
        stem = f"{number} {bits[1] if bits[1] == 'Ki' else bits[1].replace('K', 'k')}"
        return f"{_shown(value)}: '{unit}' may mean bits or bytes: write '{stem}bit/s' or '{stem}B/s'"
    if unit in ("KB", "KB/s", "Kbit", "Kbit/s", "K"):
        tail = unit[1:]
        return f"{_shown(value)}: 'K' may mean 1000 or 1024: write '{number} k{tail}' or '{number} Ki{tail}'"
    if dimension == "FLOP/s" and unit.lower().endswith(("flops", "flop")):
        stem = unit[: unit.lower().rindex("flop")]
        return f"{_shown(value)}: write '{number} {stem}FLOP/s'"
    for other in units:
        if other.lower() == unit.lower():
            return f"{_shown(value)}: unknown unit '{unit}' (did you mean '{number} {other}'?)"
    for name, table in DIMENSIONS.items():
        if unit in table:
            return f"{_shown(value)} is in {name}, not {dimension}: write '{example}'"
    return f"{_shown(value)}: unknown unit '{unit}': write '{example}'"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


_SCALES: Mapping[str, tuple[tuple[float, str], ...]] = {
    "seconds": ((7200.0, "h"), (120.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    "seconds/byte": ((1.0, "s/B"), (1e-3, "ms/B"), (1e-6, "us/B"), (1e-9, "ns/B"), (1e-12, "ps/B")),
    **{
        dimension: tuple((_DECIMAL[prefix], f"{prefix}{unit}") for prefix in ("E", "P", "T", "G", "M", "k", ""))
        for dimension, unit in (("bytes", "B"), ("bytes/s", "B/s"), ("FLOP", "FLOP"), ("FLOP/s", "FLOP/s"))
    },
}


def format_quantity(value: float, dimension: str, digits: int = 3) -> str:
    """Write `value` (SI units) for people, to so many significant digits: 0.00125 seconds is "1.25 ms"."""
    units = DIMENSIONS[dimension]
    for least, unit in _SCALES[dimension]:
        scaled = float(f"{value / units[unit]:.{digits}g}")
        if abs(scaled) * units[unit] >= least * (1 - 1e-12):
            break
    else:
        unit = _SCALES[dimension][-1][1] if value else _UNIT_OF_ZERO[dimension]
        scaled = float(f"{value / units[unit]:.{digits}g}")
    return f"{_plain(scaled, digits)} {unit}"


_UNIT_OF_ZERO = {
    "seconds": "s",
    "bytes": "B",
    "bytes/s": "B/s",
    "FLOP": "FLOP",
    "FLOP/s": "FLOP/s",
    "seconds/byte": "s/B",
}


def _plain(value: float, digits: int) -> str:
    """Significant digits without an exponent where that is readable."""
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 1e6 else f"{value:.{digits}g}"
