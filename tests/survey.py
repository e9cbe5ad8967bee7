"""The picture of docs/survey.md: ``python -m tests.survey`` draws it, as a smaller PNG with a palette."""

from __future__ import annotations

from parasim.report.scaling_plot import scaling_figure
from parasim.study.analyze import analyze
from tests.gallery import small_png
from tests.golden import ROOT

PICTURE = ROOT / "docs" / "survey" / "workers.png"
SCHEMES = (
    "allreduce,parameter_server,local_sgd,easgd,downpour,softsync,dpsgd,adpsgd,osgp,layerwise,tensor_parallel,gpipe,"
    "pipedream,ddg,fr,fdg,fdg_data"
)
"""Those of the survey's table that differ."""


def drawn() -> bytes:
    """What ``parasim analyze scenarios/survey.yaml --scaling`` draws of these schemes."""
    return small_png(scaling_figure(analyze(ROOT / "scenarios" / "survey.yaml", SCHEMES, simulated=False)))


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(drawn())
