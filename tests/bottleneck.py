"""The picture of docs/compression.md: ``python -m tests.bottleneck`` draws it, as a smaller PNG with a palette."""

from __future__ import annotations

import io

from PIL import Image

from parasim.report.style import house
from parasim.report.sweep_plot import sweep_figure
from parasim.study.sweep import sweep
from tests.golden import ROOT

PICTURE = ROOT / "docs" / "compression" / "bottleneck.png"
SCENARIO = ROOT / "scenarios" / "studies" / "is_network_the_bottleneck.yaml"
BANDWIDTHS = "5 Gbit/s,10 Gbit/s,20 Gbit/s,50 Gbit/s,100 Gbit/s"
_COLORS = 48

if __name__ == "__main__":
    buffer = io.BytesIO()
    swept = sweep(SCENARIO, [f"cluster.link.bandwidth={BANDWIDTHS}"])
    with house():
        sweep_figure([axis.keys for axis in swept.axes], swept.outcomes, swept.title).savefig(
            buffer, format="png", dpi=120
        )
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = Image.open(buffer).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    drawn.save(PICTURE, optimize=True)
