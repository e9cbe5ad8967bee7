"""Models as layer costs: the survey's closed forms, sizes from the data, errors that help."""

import subprocess
import sys
from dataclasses import fields

import pytest

from parasim.errors import ScenarioError
from parasim.workload import DATA, MODELS, build_data, build_model
from parasim.workload.model_options import LayerCost

DIGITS = build_data("digits", {})


def test_importing_workloads_and_builders_imports_neither_torch_nor_sklearn():
    code = (
        "import sys, parasim.workload, parasim.learning, parasim.learning.build as b\n"
        "parasim.workload.build_data('digits', {}); b.make_optimizer('sgd', {})\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("width", "depth", "batch"), [(8, 1, 1), (64, 4, 16), (100, 7, 3)])
def test_mlp_without_data_has_the_closed_forms_of_the_survey(width, depth, batch):
    model = build_model("mlp", {"width": width, "depth": depth}, None, 4)
    whole = model.whole
    assert whole.nbytes == 4 * depth * width**2
    assert batch * whole.forward_flops == 2 * batch * depth * width**2
    assert batch * whole.backward_flops == 4 * batch * depth * width**2
    assert batch * 4 * whole.stored_elements == 4 * batch * width * (depth + 1)
    for layer in model.layers:
        assert layer.input_elements == layer.output_elements == width


def test_data_decide_the_ends_of_an_mlp():
    model = build_model("mlp", {"width": 32, "depth": 3}, DIGITS, 8)
    assert [(layer.input_elements, layer.output_elements) for layer in model.layers] == [(64, 32), (32, 32), (32, 10)]
    assert model.whole.nbytes == 8 * (64 * 32 + 32 * 32 + 32 * 10)
    assert not model.needs_input_gradient
    assert model.whole.backward_flops == 2 * model.whole.forward_flops - 2 * 64 * 32


def test_digits_hold_out_every_fifth_sample():
    assert (DIGITS.samples, DIGITS.held_out, DIGITS.samples + DIGITS.held_out) == (1437, 360, 1797)
    assert (DIGITS.input_elements, DIGITS.output_elements, DIGITS.kind) == (64, 10, "classification")


def test_cnn_sizes():
    model = build_model("cnn", {"channels": 4}, DIGITS, 4)
    assert [layer.output_elements for layer in model.layers] == [4 * 64, 8 * 16, 10]
    assert [layer.parameters for layer in model.layers] == [36, 288, 1280]
    assert model.layers == build_model("cnn", {"channels": 4}, None, 4).layers
    deeper = build_model("cnn", {"channels": 4, "convolutions": 4}, DIGITS, 4)
    assert [layer.output_elements for layer in deeper.layers] == [4 * 64, 8 * 16, 8 * 16, 8 * 16, 10]
    assert [layer.name for layer in deeper.layers] == ["conv0", "conv1", "conv2", "conv3", "linear4"]


def test_layers_fill_in_defaults_and_repeat():
    entries = [
        {"name": "in", "parameters": 12, "forward_flops": 24.0, "input_elements": 4, "output_elements": 3},
        {"parameters": 9, "forward_flops": 18.0, "weight_flops": 7.0, "output_elements": 3, "repeat": 2},
        {"name": "pool", "forward_flops": 6.0, "output_elements": 1, "stored_elements": 0},
    ]
    model = build_model("layers", {"layers": entries}, None, 4)
    first, *middle, pool = model.layers
    assert [layer.name for layer in model.layers] == ["in", "layer1.0", "layer1.1", "pool"]
    assert (first.input_flops, first.weight_flops, first.stored_elements) == (24.0, 24.0, 4)
    assert all((layer.input_elements, layer.input_flops, layer.weight_flops) == (3, 18.0, 7.0) for layer in middle)
    assert (pool.weight_flops, pool.stored_elements, pool.input_elements) == (0.0, 0, 3)
    assert model.whole.backward_flops == 24.0 + 2 * (18.0 + 7.0) + 6.0


def test_first_layer_of_a_list_takes_what_the_data_give():
    spec = build_data("regression", {"inputs": 5, "outputs": 2})
    model = build_model("layers", {"layers": [{"output_elements": 2}]}, spec, 4)
    assert model.layers[0].input_elements == 5


def test_every_option_is_documented():
    for table in (MODELS, DATA, {"layer": LayerCost}):
        for cls in table.values():
            assert cls.__doc__
            assert all(field.metadata["doc"] for field in fields(cls))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_model("mpl", {}, None, 4), ["'mpl'", "did you mean 'mlp'", "cnn, gpt", "resnet50"]),
        (lambda: build_model("mlp", {"widht": 3}, None, 4), ["'widht'", "did you mean 'width'"]),
        (lambda: build_model("mlp", {"width": 0}, None, 4), ["width", "0", "at least 1"]),
        (lambda: build_model("mlp", {"width": 2.5}, None, 4), ["width", "2.5", "int"]),
        (lambda: build_model("mlp", {"depth": True}, None, 4), ["depth", "True", "int"]),
        (lambda: build_model("mlp", {"activation": "gelu"}, None, 4), ["'gelu'", "tanh, relu, linear"]),
        (lambda: build_model("mlp", 3, None, 4), ["3 is no mapping"]),
        (lambda: build_model("mlp", {}, build_data("quadratic", {}), 4), ["use model quadratic"]),
        (lambda: build_model("quadratic", {}, None, 4), ["needs data of kind quadratic, not none"]),
        (lambda: build_model("quadratic", {}, DIGITS, 4), ["not digits"]),
        (lambda: build_model("cnn", {}, build_data("regression", {"inputs": 15}), 4), ["15 input elements"]),
        (lambda: build_model("layers", {}, None, 4), ["empty"]),
        (lambda: build_model("layers", {"layers": [5]}, None, 4), ["layer 0", "5 is no mapping"]),
        (lambda: build_model("layers", {"layers": [{"flops": 5}]}, None, 4), ["'flops'", "forward_flops"]),
        (
            lambda: build_model("layers", {"layers": [{"name": "a"}, {"name": "a"}]}, None, 4),
            ["two layers are named 'a'"],
        ),
        (
            lambda: build_model("layers", {"layers": [{"output_elements": 3}, {"input_elements": 4}]}, None, 4),
            ["layer0 gives 3", "layer1 takes 4"],
        ),
        (
            lambda: build_model("layers", {"layers": [{"output_elements": 3}]}, DIGITS, 4),
            ["data digits have 64 and 10"],
        ),
        (lambda: build_data("digts", {}), ["'digts'", "did you mean 'digits'"]),
        (lambda: build_data("digits", {"seed": 1}), ["'seed'", "known: none"]),
        (lambda: build_data("regression", {"noise": -1}), ["noise", "-1", "at least 0"]),
    ],
)
def test_errors_name_the_value_and_what_to_do(build, words):
    with pytest.raises(ScenarioError) as error:
        build()
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
