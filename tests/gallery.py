"""The pictures of docs/gallery.md: ``python -m tests.gallery [VARIANT ...]`` draws them.

They are what ``parasim run scenarios/gallery.yaml --timeline`` draws, as smaller PNGs with a palette.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import numpy as np
from PIL import Image

import parasim
from parasim.report.style import house
from parasim.report.timeline import timeline
from tests.golden import ROOT

SCENARIO = ROOT / "scenarios" / "gallery.yaml"
PAGE = ROOT / "docs" / "gallery.md"
FOLDER = ROOT / "docs" / "gallery"
_DOTS_PER_INCH = 120
_COLORS = 48
_VISIBLE = 64  # of 255


def picture(variant: str) -> str:
    """Name of the file with the timeline of a variant."""
    return re.sub(r"[^a-z0-9]+", "_", variant.lower()) + ".png"


def small_png(figure: Any) -> bytes:
    """A matplotlib figure as a smaller PNG with a palette."""
    buffer, small = io.BytesIO(), io.BytesIO()
    with house():
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    drawn = Image.open(buffer).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    drawn.save(small, format="png", optimize=True)
    return small.getvalue()


def drawn(case: parasim.Scenario) -> bytes:
    """Simulate a variant and draw its timeline."""
    return small_png(timeline(parasim.simulate(case)))


def differing(one: bytes, other: bytes) -> float:
    """The share of pixels whose grey differs visibly; 1 for pictures of different sizes."""
    shades = [np.asarray(Image.open(io.BytesIO(each)).convert("L"), dtype=int) for each in (one, other)]
    if shades[0].shape != shades[1].shape:
        return 1.0
    return float((abs(shades[0] - shades[1]) > _VISIBLE).mean())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for found in parasim.load_all(SCENARIO):
        if not sys.argv[1:] or found.variant in sys.argv[1:]:
            (FOLDER / picture(found.variant)).write_bytes(drawn(found))
