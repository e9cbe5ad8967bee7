"""The picture of "Time to accuracy" in README.md: ``python -m tests.first_on_a_cluster`` draws it, half a minute.

It is what ``parasim compare scenarios/studies/dogs_vs_cats.yaml --out out`` draws as learning.png.
"""

import parasim
from parasim.report.curves_plot import curves_figure
from tests.gallery import small_png
from tests.golden import ROOT

SCENARIO = ROOT / "scenarios" / "studies" / "dogs_vs_cats.yaml"
PICTURE = ROOT / "docs" / "compression" / "dogs_vs_cats.png"

if __name__ == "__main__":
    cases = parasim.load_all(SCENARIO)
    runs = [parasim.simulate(case).summary for case in cases]
    title = cases[0].name.removesuffix(f" [{cases[0].variant}]")
    PICTURE.write_bytes(small_png(curves_figure(runs, [case.variant for case in cases], title)))
