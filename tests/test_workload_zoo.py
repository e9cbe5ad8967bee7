"""The zoo: published counts, and what torch itself says of the same networks, on the meta device."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from parasim.errors import ScenarioError
from parasim.workload import build_data, build_model
from parasim.workload.models import ALIASES, MODELS, build_network
from parasim.workload.zoo import ZOO
from tests.torch_networks import network


@dataclass(frozen=True)
class Published:
    """Parameters, and multiply-adds of the forward pass of one sample (None: not published to 2 %)."""

    parameters: int
    multiply_adds: float | None
    source: str
    options: tuple[tuple[str, object], ...] = ()


def gpt_flops(layers, hidden, sequence, vocabulary):
    """Forward FLOP of a decoder: 24 s h^2 + 4 s^2 h a block, 2 s h V for the outputs (Narayanan et al., SC 2021)."""
    return layers * (24 * sequence * hidden**2 + 4 * sequence**2 * hidden) + 2 * sequence * hidden * vocabulary


TORCHVISION = "torchvision's documentation of its models (their GFLOPS are multiply-adds)"
CIFAR = "He et al. 2016, table 6: 0.27 M and 1.7 M, exactly with projections 272,474 and 1,730,714; less these here"
HUGGING_FACE = "the published checkpoint"
PUBLISHED = {
    "lenet5": Published(61_706, 416_520, "LeCun et al. 1998, without trained pooling: 61,706"),
    "alexnet": Published(61_100_840, 0.714e9, TORCHVISION),
    "vgg11": Published(132_863_336, 7.61e9, TORCHVISION),
    "vgg13": Published(133_047_848, 11.31e9, TORCHVISION),
    "vgg16": Published(138_357_544, 15.47e9, TORCHVISION),
    "vgg19": Published(143_667_240, 19.63e9, TORCHVISION),
    "resnet18": Published(11_689_512, 1.814e9, TORCHVISION),
    "resnet34": Published(21_797_672, 3.664e9, TORCHVISION),
    "resnet50": Published(25_557_032, 4.089e9, TORCHVISION),
    "resnet101": Published(44_549_160, 7.801e9, TORCHVISION),
    "resnet152": Published(60_192_808, 11.514e9, TORCHVISION),
    "resnet20": Published(269_722, 40.8e6, CIFAR),
    "resnet110": Published(1_727_962, 253e6, CIFAR),
    "resnet20 B": Published(272_474, 40.8e6, "the same with projections where channels grow", (("shortcut", "B"),)),
    "resnet110 B": Published(1_730_714, 253e6, "the same with projections where channels grow", (("shortcut", "B"),)),
    "wrn-28-10": Published(36_479_194, 5.2e9, "Zagoruyko, Komodakis 2016: 36.5 M parameters, 5.2 G multiply-adds"),
    "inception-v3": Published(23_834_568, 5.713e9, f"{TORCHVISION}; 27,161,264 with the auxiliary head"),
    "lstm": Published(66_034_000, None, "Zaremba et al. 2014: 66 M"),
    "gpt2-small": Published(124_439_808, gpt_flops(12, 768, 1024, 50257) / 2, HUGGING_FACE),
    "gpt2-medium": Published(354_823_168, gpt_flops(24, 1024, 1024, 50257) / 2, HUGGING_FACE),
    "gpt2-large": Published(774_030_080, gpt_flops(36, 1280, 1024, 50257) / 2, HUGGING_FACE),
    "gpt2-xl": Published(1_557_611_200, gpt_flops(48, 1600, 1024, 50257) / 2, HUGGING_FACE),
    "bert-base": Published(109_482_240, gpt_flops(12, 768, 512, 0) / 2, HUGGING_FACE),
    "bert-large": Published(335_141_888, gpt_flops(24, 1024, 512, 0) / 2, HUGGING_FACE),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    published = PUBLISHED[name]
    whole = build_model(name.split()[0], dict(published.options), None, 4).whole
    assert whole.parameters == published.parameters, published.source
    if published.multiply_adds is not None:
        assert whole.forward_flops == pytest.approx(2 * published.multiply_adds, rel=0.02), published.source


SEEN_BY_TORCH = {
    "lenet5": {},
    "alexnet": {},
    "vgg11": {},
    "resnet18": {},
    "resnet50": {},
    "resnet20": {},
    "resnet32": {"shortcut": "B"},
    "wrn-28-10": {},
    "inception-v3": {},
    "lstm": {"sequence": 5, "hidden": 20, "vocabulary": 50},
    "gpt": {"layers": 2, "hidden": 48, "heads": 3, "sequence": 10, "vocabulary": 70, "tied": False},
    "gpt2-small": {"sequence": 24},
    "bert-base": {"sequence": 16},
}


def of_torch(described, batch=2):
    """Parameters' shapes, FLOP forward and of the training's backward pass per sample, elements kept per sample."""
    shape = described.blocks[0].entering
    with torch.device("meta"):
        module = network(described)
        x = torch.empty((batch, *shape), dtype=torch.float32 if len(shape) == 3 else torch.int64)
        parameters = list(module.parameters())
        with FlopCounterMode(display=False) as counter:
            outputs = module(x)
            forward = counter.get_total_flops()
            torch.autograd.grad(outputs, parameters, torch.empty_like(outputs), allow_unused=True)
            backward = counter.get_total_flops() - forward
        sizes = [kept(module, torch.cat([x] * times)) for times in (1, 2)]  # less what is kept once a batch
    return [tuple(p.shape) for p in parameters], forward / batch, backward / batch, (sizes[1] - sizes[0]) / batch


def kept(module, x):
    """Elements of all storages kept for backward but the parameters'."""
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        storages[storage._cdata] = (storage, storage.nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        outputs = module(x)
    assert outputs.requires_grad
    return sum(elements for key, (_, elements) in storages.items() if key not in own)


@pytest.mark.parametrize("kind", SEEN_BY_TORCH)
def test_torch_sees_the_same_network(kind):
    described = ZOO[kind].build(ZOO[kind].options(**SEEN_BY_TORCH[kind]), None)
    model = build_model(kind, SEEN_BY_TORCH[kind], None, 4)
    shapes, forward, backward, elements = of_torch(described)
    assert shapes == [parameter.shape for unit in described.blocks for parameter in unit.cost.parameters]
    assert model.whole.parameters == sum(torch.Size(shape).numel() for shape in shapes)
    assert model.whole.forward_flops == forward
    assert model.whole.backward_flops == backward
    if kind == "lstm":  # torch without cuDNN keeps every step's own arrays
        return
    views = 0
    if kind == "bert-base":  # torch keeps the whole sequence for the pooler's sake, of which it needs one token
        views = (SEEN_BY_TORCH[kind]["sequence"] - 1) * 768
    residual = model.layers[-1].output_elements
    assert model.whole.stored_elements == elements + residual - views


def test_parts_keep_what_the_whole_keeps_but_for_the_loss():
    """What a lstm keeps: inputs and outputs of each layer, four gates and the cell of each token."""
    model = build_model("lstm", {"layers": 1, "hidden": 3, "sequence": 5, "vocabulary": 7}, None, 4)
    assert [layer.stored_elements for layer in model.layers] == [5, 5 * (3 + 4 * 3 + 3), 5 * 3 + 5 * 7]


@pytest.mark.parametrize("kind", [kind for kind in ZOO if kind not in ("mlp", "cnn", "quadratic")])
def test_cuts_fit_and_only_the_first_product_needs_no_gradient_to_inputs(kind):
    model = build_model(kind, {}, None, 4)
    for before, after in itertools.pairwise(model.layers):
        assert before.output_elements == after.input_elements
    first = model.layers[0]
    assert first.input_flops in (0, first.forward_flops)
    assert len({layer.name for layer in model.layers}) == len(model.layers)
    parts = model.buckets(4e6)
    assert sum(part.parameters for part in parts) == model.whole.parameters
    assert len(model.stages(3)) == 3


def test_units_are_the_blocks_of_the_papers():
    assert [layer.name for layer in build_model("resnet50", {}, None, 4).layers][:5] == [
        "conv1",
        "layer1.0",
        "layer1.1",
        "layer1.2",
        "layer2.0",
    ]
    assert len(build_model("resnet152", {}, None, 4).layers) == 1 + 50 + 1
    assert len(build_model("gpt2-xl", {}, None, 4).layers) == 1 + 48 + 1


def test_every_kind_says_where_it_is_from():
    assert all(entry.paper for entry in ZOO.values())
    assert {kind for kind in MODELS if kind not in ("layers", "module")} == {*ZOO, *ALIASES}
    for alias, kind in ALIASES.items():
        assert build_model(alias, {}, None, 4).layers == build_model(kind, {}, None, 4).layers


def test_sizes_of_images_are_options():
    small = build_model("resnet50", {"size": 64, "classes": 7}, None, 4)
    assert small.layers[-1].output_elements == 7
    assert small.layers[0].input_elements == 3 * 64 * 64
    whole = build_model("resnet50", {}, None, 4).whole
    assert small.whole.parameters == whole.parameters - 993 * 2049


def test_a_gpt_of_any_size_and_tied_weights():
    options = {"layers": 3, "hidden": 64, "heads": 4, "sequence": 32, "vocabulary": 100}
    tied = build_model("gpt", options, None, 4).whole
    free = build_model("gpt", {**options, "tied": False}, None, 4).whole
    assert tied.parameters == (100 + 32) * 64 + 3 * (12 * 64**2 + 13 * 64) + 2 * 64
    assert free.parameters == tied.parameters + 100 * 64
    assert free.backward_flops == tied.backward_flops
    assert tied.forward_flops == gpt_flops(3, 64, 32, 100)


def test_lenet_puts_a_border_around_small_images():
    model = build_model("lenet5", {}, build_data("digits", {}), 4)
    assert model.layers[0].input_elements == 64
    assert model.whole.parameters == 61_706


TRAINED = [kind for kind in ZOO if kind != "quadratic" and not kind.startswith(("bert", "gpt2"))]


@pytest.mark.parametrize("kind", TRAINED)
def test_networks_to_train_agree_with_their_costs(kind):
    """Data decide the ends; every network that is written in operators can be trained."""
    chosen, options = ("digits", {}) if kind in ("mlp", "cnn") else ("images", {"size": 80, "classes": 7})
    chosen, options = ("characters", {"sequence": 20}) if kind in ("lstm", "gpt") else (chosen, options)
    data = build_data(chosen, options)
    given = {"tied": False} if kind == "gpt" else {}
    layers = build_network(kind, given, data).layers()
    assert layers == build_model(kind, given, data, 4).layers
    assert (layers[0].input_elements, layers[-1].output_elements) == (data.input_elements, data.output_elements)


def test_tied_weights_have_costs_but_are_not_trained():
    data = build_data("characters", {"sequence": 20})
    assert build_model("gpt", {}, data, 4).layers[-1].output_elements == 20 * data.outputs
    with pytest.raises(ScenarioError, match="write tied: false"):
        build_network("gpt", {}, data)


@pytest.mark.parametrize(
    ("kind", "options", "data", "words"),
    [
        ("resnet50", {"size": 9}, ("digits", {}), ["size is 9", "data digits have 8", "leave size or the data out"]),
        ("alexnet", {"size": 32}, None, ["alexnet", "conv5", "1x1 is too small for a window of 3x3"]),
        ("resnet50", {}, ("regression", {"inputs": 5}), ["resnet50 takes images", "regression"]),
        ("gpt", {}, ("digits", {}), ["gpt takes sequences of tokens", "digits"]),
        ("gpt", {"sequence": 9}, ("characters", {}), ["sequence is 9", "data characters have 64"]),
        ("gpt2", {}, ("characters", {}), ["gpt2-small knows 50257", "use model gpt, with layers: 12, hidden: 768"]),
        ("gpt", {"hidden": 10, "heads": 3}, None, ["block0", "3 heads can't share 10"]),
        ("bert-base", {}, ("digits", {}), ["pooler", "leave the data out"]),
        ("resnet-50", {}, None, ["'resnet-50'", "did you mean 'resnet50'"]),
        ("bert-bsae", {}, None, ["did you mean 'bert-base'"]),
        ("gpt2-xl", {"sequence": 2000}, None, ["sequence", "2000", "at most 1024"]),
        ("vgg16", {"clases": 3}, None, ["'clases'", "did you mean 'classes'"]),
    ],
)
def test_what_does_not_fit_is_said(kind, options, data, words):
    with pytest.raises(ScenarioError) as error:
        build_model(kind, options, data and build_data(*data), 4)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
