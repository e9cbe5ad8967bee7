"""The tables of work and depth: by layer and network, of convolutions by algorithm, and as workers divide a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parasim.report.sheets import Cell, Sheet, cell

__all__ = ["concurrency_sheets"]

Entry = Mapping[str, Any]

_TITLES = (("forward", "forward"), ("weights", "to weights"), ("inputs", "to inputs"))
_MEANING = (
    "W: work, in multiply-adds or element-wise operations; D: depth, the longest chain of them, in levels of sums and "
    "element-wise operations; W/D: how many could be done at once, on average. Of the step, gradients to weights wait "
    "for nobody but their own layer's error."
)
_DIVIDED = (
    "data parallel: a batch for each worker, and sums of gradients that are log2 N deeper. model parallel: the same "
    "work, divided inside of operators. pipeline: as many batches on their way as stages. bounds: of Brent, in "
    "operations one after the other, where each worker is one processor."
)


def concurrency_sheets(entry: Entry) -> list[Sheet]:
    """Tables of what `parasim.study.concurrency.concurrency` found."""
    of = f"{entry['model']}, a batch of {entry['batch']}"
    columns: list[tuple[str, int | None]] = [("layer", 12)]
    for _, title in _TITLES:
        columns += [(f"{title}\nW", None), ("D", None), ("W/D", None)]
    rows = [
        [cell(layer["layer"]), *(one for name, _ in _TITLES for one in _three(layer[name]))]
        for layer in entry["layers"]
    ]
    rows.append([cell("network"), *_three(entry["forward"]), *[cell(None)] * 6])
    rows.append([cell("training step"), *_three(entry["step"]), *[cell(None)] * 6])
    found = [Sheet("layers", f"Work and depth. {of}", columns, rows, [_MEANING], of)]
    if entry["convolutions"]:
        found.append(_convolutions(entry, of))
    return [*found, _parallel(entry, of)]


def _convolutions(entry: Entry, of: str) -> Sheet:
    ways = ("direct", "im2col", "fft", "winograd 2x2", "winograd 4x4")
    columns: list[tuple[str, int | None]] = [("layer", 8), ("convolution", 16), ("direct\nW", None), ("D", None)]
    for way in ways[1:]:
        columns += [(f"{way}\nW", None), ("D", None)]
    rows = []
    for each in entry["convolutions"]:
        found = [each["ways"].get(way, {"work": None, "depth": None}) for way in ways]
        cells = [one for way in found for one in (_large(way["work"]), cell(way["depth"]))]
        rows.append([cell(each["layer"]), cell(each["convolution"]), *cells])
    note = "FFT: complex multiply-adds, images padded to powers of two. Winograd, FFT: where strides are one."
    return Sheet("convolutions", f"Convolutions, forward. {of}", columns, rows, [note], of)


def _parallel(entry: Entry, of: str) -> Sheet:
    columns: list[tuple[str, int | None]] = [("how", 14), ("workers", None), ("W", None), ("D", None), ("W/D", None)]
    columns += [("at least", None), ("at most", None)]
    rows = [
        [cell(row["how"]), cell(row["processors"]), *_three(row), *(_large(bound) for bound in row["bounds"])]
        for row in entry["parallel"]
    ]
    return Sheet("divided", f"A training step, divided. {of} per worker", columns, rows, [_DIVIDED], of)


def _three(whole: Entry) -> list[Cell]:
    return [_large(whole["work"]), cell(whole["depth"]), _large(whole["parallelism"])]


def _large(value: float | None) -> Cell:
    """A count, with a prefix."""
    if value is None:
        return cell(None)
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return Cell(f"{value / factor:.3g} {letter}", value)
    return Cell(f"{value:.4g}", value)
