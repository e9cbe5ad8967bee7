"""`parasim models`: the list of kinds, and the layers of one."""

import json

import pytest

from parasim.cli import main
from parasim.workload import MODELS, build_model
from parasim.workload.zoo import ALIASES


def printed(capsys, *words):
    assert main(["models", *words]) == 0
    return capsys.readouterr().out


def test_the_list_names_every_kind_with_its_paper(capsys):
    entries = {entry["kind"]: entry for entry in json.loads(printed(capsys, "--json"))}
    assert set(entries) == set(MODELS) - set(ALIASES)
    resnet = entries["resnet50"]
    assert resnet["parameters"] == 25_557_032
    assert resnet["forward_flops"] == build_model("resnet50", {}, None, 4).whole.forward_flops
    assert resnet["activation_bytes"] == 4 * build_model("resnet50", {}, None, 4).whole.stored_elements
    assert resnet["units"] == 18
    assert "He" in resnet["paper"]
    assert entries["gpt2-small"]["aliases"] == ["gpt2"]
    assert entries["module"]["parameters"] is None
    assert "layers" in entries["gpt"]["options"]
    text = printed(capsys)
    assert max(map(len, text.splitlines())) <= 120
    assert all(kind in text for kind in entries)
    assert "25,557,032" in text


def test_layers_by_batch_and_type(capsys):
    entry = json.loads(printed(capsys, "resnet20", "batch_size=16", "dtype=float16", "shortcut=B", "--json"))
    model = build_model("resnet20", {"shortcut": "B"}, None, 2)
    assert [layer["name"] for layer in entry["layers"]] == [layer.name for layer in model.layers]
    assert entry["total"]["forward_flops"] == 16 * model.whole.forward_flops
    assert entry["total"]["input_flops"] + entry["total"]["weight_flops"] == 16 * model.whole.backward_flops
    assert entry["total"]["parameter_bytes"] == model.whole.nbytes
    assert entry["total"]["activation_bytes"] == 16 * 2 * model.whole.stored_elements
    assert entry["layers"][0]["input_flops"] == 0 < entry["layers"][1]["input_flops"]
    assert (entry["batch_size"], entry["dtype"], entry["data"]) == (16, "float16", None)


def test_the_survey_counts_the_first_gradient_to_inputs(capsys):
    entry = json.loads(printed(capsys, "mlp", "width=8", "depth=3", "--json"))
    assert [layer["input_flops"] for layer in entry["layers"]] == [128.0] * 3


def test_text_of_layers(capsys):
    text = printed(capsys, "lenet5", "data.kind=digits", "batch_size=4")
    assert text.startswith("lenet5 on data digits: a batch of 4 samples in float32\n")
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert "61,706" in total
    assert max(map(len, text.splitlines())) <= 120
    assert "1 sample in float32" in printed(capsys, "lenet5")


def test_models_of_scenarios(capsys):
    """Five variants of one workload are shown once; variants that differ, one after the other."""
    entry = json.loads(printed(capsys, "scenarios/quickstart.yaml", "--json"))
    assert (entry["model"], entry["data"]) == ("mlp", "digits")
    words = ["scenarios/quickstart.yaml", "--variant", "gossip", "workload.batch_size=3"]
    assert "a batch of 3 samples" in printed(capsys, *words)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["resnt50"], "models: model.kind: unknown model 'resnt50' (did you mean 'resnet50'?)"),
        (["lenet5", "siz=3"], "override 'siz=3': model.siz: unknown key of model 'lenet5' (did you mean 'size'?)"),
        (["lenet5", "batch_size=0"], "override 'batch_size=0': batch_size: 0 must be at least 1"),
        (["lenet5", "--variant", "a"], "--variant: lenet5 is no scenario file and has no variants; leave it out"),
        (["absent.yaml"], "absent.yaml: can't be read: No such file or directory"),
        (["quadratic"], "models: model: model quadratic needs data of kind quadratic, not none; add data: {kind: q"),
    ],
)
def test_errors_are_one_line(capsys, words, line):
    assert main(["models", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
