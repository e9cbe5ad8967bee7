"""The gallery of timelines has every schedule with stages, and a picture and words for each."""

import re

import pytest

import parasim
from parasim import SCHEMES
from parasim.report.timeline import timeline
from parasim.schemes.staged import Staged
from tests.gallery import FOLDER, PAGE, SCENARIO, differing, drawn, picture

CASES = {case.variant: case for case in parasim.load_all(SCENARIO)}
LARGEST = 60_000
LITTLE = 5e-5
"""Of all pixels: less than a box that moves."""


def test_every_scheme_with_stages_is_among_the_variants():
    staged = {name for name, scheme in SCHEMES.items() if issubclass(scheme, Staged)}
    assert staged
    assert staged <= {case.scheme.name for case in CASES.values()}


@pytest.mark.parametrize("variant", CASES)
def test_every_variant_has_its_picture_words_source_and_command(variant):
    _, _, after = PAGE.read_text().partition(f"\n### {variant}\n")
    section = re.split(r"\n##", after)[0]
    assert f"](gallery/{picture(variant)})" in section
    assert re.search(r"^Source: .*\(\d{4}\)", section, re.MULTILINE)
    quoted = f'"{variant}"' if re.search("[ ,]", variant) else variant
    assert f"`parasim run scenarios/gallery.yaml --variant {quoted} --timeline`" in section
    shown = (FOLDER / picture(variant)).read_bytes()
    assert len(shown) < LARGEST
    assert differing(shown, drawn(CASES[variant])) < LITTLE, f'run: python -m tests.gallery "{variant}"'


def test_the_page_and_the_folder_hold_nothing_else():
    assert re.findall("^### (.*)$", PAGE.read_text(), re.MULTILINE) == list(CASES)
    assert {path.name for path in FOLDER.iterdir()} == {picture(variant) for variant in CASES}


def test_late_passes_have_the_numbers_of_their_steps_and_squares_lie_inside():
    figure = timeline(parasim.simulate(CASES["PipeDream 1F1B"]))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    numbers = {text.get_text() for text in axes.texts if text.get_text().isdigit()}
    assert {"4", "5", "6", "7", "8"} <= numbers  # mini-batches; squares say 3 at most
    for text in axes.texts:
        box = text.get_window_extent().transformed(axes.transData.inverted())
        assert left < box.x0 < box.x1 < right, text.get_text()
