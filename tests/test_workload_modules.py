"""Modules of users, read on the meta device: nothing lost, nothing run that was not allowed."""

import itertools
import json
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import parasim
from parasim.cli import main
from parasim.errors import ScenarioError
from parasim.scenario import from_document
from parasim.workload import build_data, build_model
from parasim.workload.models import build_network
from parasim.workload.modules import read_module
from parasim.workload.zoo import ZOO
from tests.torch_networks import network


class Mixer(nn.Module):
    """Attention by a function, so that its work is in no leaf; a parameter of its own."""

    def __init__(self, width):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(10, width))
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.into(x + self.places).chunk(3, dim=-1)
        return x + self.out(functional.scaled_dot_product_attention(q, k, v))


class Language(nn.Module):
    """Tied weights, torch's own attention, a part that never runs, a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.mixer = Mixer(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.never = nn.Linear(3, 3)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.mixer(self.words(tokens))
        x, _ = self.attention(x, x, x)
        return {"logits": self.head(x), "tokens": tokens}


class Twins(nn.Module):
    """Two leaves on the inputs: neither needs a gradient to them."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.top = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.top(functional.relu(self.left(x)) * self.right(x))


def convolutions():
    inner = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), inner, Twin(8 * 16))


class Twin(nn.Module):
    """A link of a chain with links of its own."""

    def __init__(self, inputs):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, 5), nn.Linear(5, 10)

    def forward(self, x):
        return self.second(self.first(x))


class Encoder(nn.Module):
    """torch's own transformer, with dropout and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Parameter(torch.zeros(10, 16))
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        self.head = nn.Linear(16, 50)

    def forward(self, tokens):
        return self.head(self.blocks(self.words(tokens) + self.places))


class Recomputed(nn.Module):
    """Part of the forward pass runs once more in the backward pass; part of it runs three times."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.again = nn.Linear(8, 8)

    def forward(self, x):
        x = checkpoint(self.body, x, use_reentrant=False)
        for _ in range(3):
            x = self.again(x)
        return x


def normed():
    """A weight that is computed from two parameters; a layer that learns its size when it first runs."""
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 6)), nn.LazyLinear(3))


MODULES = {
    "chain": (convolutions, (3, 8, 8), "float32"),
    "language": (Language, (10,), "int64"),
    "twins": (Twins, (6,), "float32"),
    "mixer": (lambda: Mixer(12), (10, 12), "float32"),
    "lstm": (lambda: nn.LSTM(16, 32, 2, batch_first=True), (10, 16), "float32"),
    "encoder": (Encoder, (10,), "int64"),
    "recomputed": (Recomputed, (8,), "float32"),
    "normed": (normed, (8,), "float32"),
    "one leaf": (lambda: nn.Linear(3, 4), (3,), "float32"),
}


def counted(make, shape, dtype):
    """What FlopCounterMode says of a training step, per sample: forward, backward; and the parameters."""
    with torch.device("meta"):
        module = make()
        x = torch.empty((2, *shape), dtype=getattr(torch, dtype))
        with FlopCounterMode(display=False) as counter:
            outputs = module(x)
            forward = counter.get_total_flops()
            outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            tensors = [tensor for entry in outputs for tensor in (entry if isinstance(entry, tuple) else (entry,))]
            torch.autograd.backward(tensors, [torch.empty_like(tensor) for tensor in tensors])
            backward = counter.get_total_flops() - forward
    return forward / 2, backward / 2, sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_lost(name):
    layers = read_module(*MODULES[name])
    forward, backward, parameters = counted(*MODULES[name])
    assert sum(layer.forward_flops for layer in layers) == forward
    assert sum(layer.input_flops + layer.weight_flops for layer in layers) - layers[0].input_flops == backward
    assert sum(layer.parameters for layer in layers) == parameters
    assert min(min(layer.input_flops, layer.weight_flops, layer.stored_elements) for layer in layers) >= 0
    for before, after in itertools.pairwise(layers):
        assert before.output_elements == after.input_elements


@pytest.mark.parametrize("kind", ["lenet5", "resnet20", "gpt"])
def test_a_chain_of_units_is_read_as_the_description_says(kind):
    """Unit by unit, from plain torch modules: costs, and what is kept."""
    options = {"layers": 2, "hidden": 24, "heads": 2, "sequence": 8, "vocabulary": 30} if kind == "gpt" else {}
    described = ZOO[kind].build(ZOO[kind].options(**options), None)

    class Link(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    shape = described.blocks[0].entering
    dtype = "float32" if len(shape) == 3 else "int64"
    layers = read_module(lambda: nn.Sequential(*map(Link, network(described))), shape, dtype)
    model = build_model(kind, options, None, 4)
    for read, written in zip(layers, model.layers, strict=True):
        for figure in ("parameters", "forward_flops", "input_flops", "weight_flops", "input_elements"):
            assert getattr(read, figure) == getattr(written, figure), (written.name, figure)
        assert read.output_elements == written.output_elements
    assert sum(layer.stored_elements for layer in layers) == model.whole.stored_elements


def test_a_chain_is_cut_between_its_links():
    layers = read_module(*MODULES["chain"])
    assert [layer.name for layer in layers] == ["0", "1", "2", "3.0", "3.1", "4"]
    assert [layer.output_elements for layer in layers] == [512, 512, 512, 128, 128, 10]
    assert [layer.stored_elements for layer in layers] == [192, 512, 512, 128, 0, 128 + 5 + 10]
    assert layers[-1].parameters == 129 * 5 + 6 * 10


def test_work_outside_leaves_is_of_the_module_around_it():
    layers = {layer.name: layer for layer in read_module(*MODULES["language"])}
    assert list(layers) == ["Language", "words", "mixer", "mixer.into", "mixer.out", "attention", "head"]
    products = 2 * (2 * 10 * 10 * 16)
    assert (layers["mixer"].forward_flops, layers["mixer"].input_flops, layers["mixer"].weight_flops) == (
        products,
        2 * products,
        0,
    )
    assert layers["mixer"].parameters == 10 * 16
    assert layers["mixer.into"].weight_flops == layers["mixer.into"].forward_flops == 2 * 10 * 16 * 48
    assert layers["attention"].parameters == 16 * 64 + 64
    assert (layers["words"].parameters, layers["head"].parameters) == (50 * 16, 0)
    assert layers["Language"].parameters == 12
    assert layers["head"].output_elements == 500


SCENARIO = """
workload:
  model: {kind: module, factory: "own_network:make", arguments: {classes: 7}, input: [3, 16, 16]}
  batch_size: 8
cluster:
  topology: {kind: star, hosts: 2}
  device: {flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}
  link: {bandwidth: 10 Gbit/s, latency: 50 us}
scheme: {kind: allreduce, workers: 2}
run: {steps: 2}
"""
CODE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("ran").touch()
print("a factory that talks")
LIMIT = 3
def make(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, classes))
def fails(classes):
    raise RuntimeError("first line\\nsecond line")
def stops(classes):
    raise SystemExit(3)
def number(classes):
    return classes
def frozen(classes):
    return make(classes).requires_grad_(False)
def plain(classes):
    return nn.ReLU()
"""


@pytest.fixture
def scenario(tmp_path):
    (tmp_path / "own_network.py").write_text(CODE)
    path = tmp_path / "own.yaml"
    path.write_text(SCENARIO)
    return path


def test_no_code_runs_unless_it_is_allowed(scenario, capsys):
    for verb in ("validate", "run", "models"):
        assert main([verb, str(scenario)]) == 2
        error = capsys.readouterr().err
        assert "own_network:make" in error
        assert "--allow-code" in error
        assert error.count("\n") == 1
    with pytest.raises(ScenarioError, match="allow_code=True"):
        parasim.load(scenario)
    assert not scenario.with_name("ran").exists()


def test_allowed_code_is_read_and_the_document_runs_none(scenario, capsys):
    assert main(["models", str(scenario), "--json", "--allow-code"]) == 0
    printed = capsys.readouterr()
    assert "a factory that talks" in printed.err
    assert json.loads(printed.out)["total"]["parameters"] == 4 * 28 + (4 * 196 + 1) * 7
    assert "own_network" not in sys.modules
    loaded = parasim.load(scenario, allow_code=True)
    scenario.with_name("own_network.py").unlink()
    again = from_document(loaded.document, loaded.source)
    assert again.workload.model.layers == loaded.workload.model.layers
    assert parasim.simulate(again).summary["seconds"] == parasim.simulate(loaded).summary["seconds"] > 0


def test_folders_do_not_mix(scenario, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "own_network.py").write_text(CODE.replace("3, 4, 3", "3, 5, 3").replace("(4 *", "(5 *"))
    (other / "own.yaml").write_text(SCENARIO)
    sizes = [
        parasim.load(path, allow_code=True).workload.model.layers[0].parameters
        for path in (scenario, other / "own.yaml", scenario)
    ]
    assert sizes == [4 * 28, 5 * 28, 4 * 28]
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("factory=own_network:fails", ["own_network:fails", "own_network.py", "RuntimeError: first line second line"]),
        ("factory=own_network:stops", ["SystemExit: 3"]),
        ("factory=own_network:number", ["gives int, no torch.nn.Module"]),
        ("factory=own_network:frozen", ["freezes 0.weight (4 in all)"]),
        ("factory=own_network:plain", ["no output that depends on a parameter"]),
        ("factory=own_network:absent", ["own_network.py has no function 'absent'"]),
        ("factory=own_network:LIMIT", ["has no function 'LIMIT'"]),
        ("factory=own_network", ["write package.module:function"]),
        ("factory=no_such_network:make", ["ModuleNotFoundError", "no_such_network", "the scenario's folder"]),
        ("factory=null", ["factory: is missing"]),
        ("arguments={clases: 3}", ["TypeError", "'clases'", "under arguments: {NAME: VALUE}"]),
        ("input=[4, 16, 16]", ["own_network.py", "failed", "a batch of inputs of shape [4, 16, 16]", "without values"]),
        ("input=[3, 0]", ["0 must be at least 1"]),
        ("input=null", ["input is missing", "[3, 224, 224]"]),
        ("input_dtype=float99", ["float99", "float32, int64"]),
    ],
)
def test_wrong_factories_are_one_line(scenario, override, words):
    with pytest.raises(ScenarioError) as error:
        parasim.load(scenario, [f"workload.model.{override}"], allow_code=True)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert str(scenario.parent) not in sys.path


def test_a_module_fits_its_data_and_is_not_trained(scenario):
    overrides = ["workload.data={kind: classification, inputs: 768, classes: 7}"]
    assert parasim.load(scenario, overrides, allow_code=True).workload.data.output_elements == 7
    with pytest.raises(ScenarioError, match="takes 768 and gives 7 elements, but data digits have 64 and 10"):
        parasim.load(scenario, ["workload.data={kind: digits}"], allow_code=True)
    with pytest.raises(ScenarioError, match="can't be trained"):
        parasim.load(scenario, [*overrides, "run.learn=true"], allow_code=True)
    with pytest.raises(ScenarioError, match="can't be trained"):
        build_network("module", {"factory": "own_network:make"}, build_data("digits", {}))
