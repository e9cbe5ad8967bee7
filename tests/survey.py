"""The picture of docs/survey.md: ``python -m tests.survey`` draws it, as a smaller PNG with a palette."""

from __future__ import annotations

import io

from PIL import Image

from parasim.report.scaling_plot import scaling_figure
from parasim.report.style import house
from parasim.study.analyze import analyze
from tests.golden import ROOT

PICTURE = ROOT / "docs" / "survey" / "workers.png"
SCHEMES = (
    "allreduce,parameter_server,local_sgd,easgd,downpour,softsync,dpsgd,adpsgd,osgp,layerwise,tensor_parallel,gpipe,"
    "pipedream,ddg,fr,fdg,fdg_data"
)
"""Those of the survey's table that differ."""
_COLORS = 48

if __name__ == "__main__":
    buffer = io.BytesIO()
    entries = analyze(ROOT / "scenarios" / "survey.yaml", SCHEMES, simulated=False)
    with house():
        scaling_figure(entries).savefig(buffer, format="png", dpi=120)
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = Image.open(buffer).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    drawn.save(PICTURE, optimize=True)
