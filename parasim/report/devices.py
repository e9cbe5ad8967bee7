"""The table of data sheets, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from parasim.cluster.sheets import SHEETS, TENSOR_FLOAT32, Sheet
from parasim.units import format_quantity

__all__ = ["devices_markdown"]

_TYPES = ("float64", "float32", TENSOR_FLOAT32, "float16", "bfloat16")
_HEADINGS = ("`device`", "one is a", *_TYPES, "memory", "its bandwidth", "interconnect, per direction", "source")


def devices_markdown(sheets: Iterable[Sheet] = SHEETS.values()) -> str:
    """A row per data sheet: peaks in TFLOP/s by type ("-": none published), memory, interconnect, source."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_row, sheets)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(sheet: Sheet) -> tuple[str, ...]:
    names = ", ".join(f"`{name}`" for name in (sheet.name, *sheet.aliases))
    peaks = [f"{sheet.peaks[dtype] / 1e12:.4g}" if dtype in sheet.peaks else "-" for dtype in _TYPES]
    size, rate = format_quantity(sheet.memory, "bytes"), format_quantity(sheet.memory_bandwidth, "bytes/s", 4)
    return (names, sheet.unit, *peaks, size, rate, sheet.interconnect, sheet.source)
