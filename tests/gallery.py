"""The pictures of docs/gallery.md: ``python -m tests.gallery [VARIANT ...]`` draws them.

They are what ``parasim run scenarios/gallery.yaml --timeline`` draws, as smaller PNGs with a palette.
"""

from __future__ import annotations

import io
import re
import sys

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


def picture(variant: str) -> str:
    """Name of the file with the timeline of a variant."""
    return re.sub(r"[^a-z0-9]+", "_", variant.lower()) + ".png"


def draw(case: parasim.Scenario) -> None:
    """Simulate a variant and write its timeline."""
    buffer = io.BytesIO()
    with house():
        timeline(parasim.simulate(case)).savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    drawn = Image.open(buffer).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    drawn.save(FOLDER / picture(case.variant), optimize=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for found in parasim.load_all(SCENARIO):
        if not sys.argv[1:] or found.variant in sys.argv[1:]:
            draw(found)
