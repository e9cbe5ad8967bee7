"""Where arrays of parameters lie in the flat vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.errors import ScenarioError
from parasim.program.layout import Panel, layout
from parasim.program.model import Layer, Model
from parasim.workload.models import build_model


def _model(*shapes: tuple[tuple[int, ...], ...], unknown: int = 0) -> Model:
    layers = []
    for number, of in enumerate(shapes):
        size = 0
        for shape in of:
            elements = 1
            for extent in shape:
                elements *= extent
            size += elements
        layers.append(Layer(f"l{number}", size, 1.0, 1.0, 1.0, 1, 1, 1, shapes=of))
    if unknown:
        layers.append(Layer("unknown", unknown, 1.0, 1.0, 1.0, 1, 1, 1))
    return Model("m", tuple(layers))


MODEL = _model(((4, 3), (4,)), ((2, 3, 3, 3),), unknown=5)


def test_the_whole_vector_is_matrices_and_vectors() -> None:
    assert layout(MODEL, 0, 75) == (
        Panel(0, 12, 4, 3, 0),
        Panel(12, 16, 1, 4, 0),
        Panel(16, 70, 2, 27, 1),
        Panel(70, 75, 1, 5, 2),
    )


def test_a_cut_matrix_keeps_its_whole_rows() -> None:
    assert layout(MODEL, 2, 11) == (Panel(0, 1, 1, 1, 0), Panel(1, 7, 2, 3, 0), Panel(7, 9, 1, 2, 0))
    assert layout(MODEL, 1, 2) == (Panel(0, 1, 1, 1, 0),)
    assert layout(MODEL, 3, 6) == (Panel(0, 3, 1, 3, 0),)
    assert layout(MODEL, 20, 20) == ()


def test_a_range_outside_is_refused() -> None:
    with pytest.raises(IndexError, match=r"parameters \[70, 76\) of 75"):
        layout(MODEL, 70, 76)


@given(st.integers(0, 75), st.integers(0, 75))
def test_panels_are_the_range(a: int, b: int) -> None:
    start, stop = sorted((a, b))
    panels = layout(MODEL, start, stop)
    assert [panel.start for panel in panels] == [0, *(panel.stop for panel in panels)][:-1] if panels else start == stop
    assert not panels or panels[-1].stop == stop - start
    assert all(panel.rows * panel.columns == panel.stop - panel.start > 0 for panel in panels)


@pytest.mark.parametrize(
    ("shapes", "wrong"),
    [
        ([[4, 3], [5]], "hold 17 elements, but it has 16 parameters"),
        ([[4, 0], [4]], "lists of positive integers"),
        ([4, 4], "lists of positive integers"),
        ([[]], "lists of positive integers"),
    ],
)
def test_shapes_of_explicit_layers_must_hold_their_parameters(shapes: object, wrong: str) -> None:
    with pytest.raises(ScenarioError, match=wrong):
        build_model("layers", {"layers": [{"parameters": 16, "shapes": shapes}]}, None, 4)


def test_explicit_layers_may_give_shapes() -> None:
    model = build_model("layers", {"layers": [{"parameters": 16, "shapes": [[4, 3], [4]]}]}, None, 4)
    assert layout(model, 0, 16) == (Panel(0, 12, 4, 3, 0), Panel(12, 16, 1, 4, 0))
