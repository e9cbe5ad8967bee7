"""Networks split inside their blocks: what members hold, exchange and compute (SCHEMES S22)."""

import pytest

from parasim.errors import ScenarioError
from parasim.program.shards import Crossing, Split
from parasim.workload import build_data, build_model
from parasim.workload.models import build_network
from parasim.workload.operators import AttentionHeads, Bias, Fork, Join, LayerNorm, Linear
from parasim.workload.sharding import split_network
from parasim.workload.unit import Unit

GPT = {"layers": 1, "hidden": 16, "heads": 4, "tied": False, "sequence": 8, "vocabulary": 20}


BIASES_OF_SECONDS = {"mlp": 0, "cnn": 0, "lenet5": 16 + 84, "alexnet": 192 + 256 + 4096 + 1000, "vgg11": 1408 + 4096}


def model(kind="mlp", data=None, **options):
    return build_model(kind, options, data, 4)


def ways(shard):
    return [(crossing.forward, crossing.backward) for crossing in shard.crossings]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("how", ["outputs", "pairs"])
@pytest.mark.parametrize("kind", ["mlp", "cnn", "lenet5", "alexnet", "vgg11"])
def test_shards_share_parameters_and_flop(kind, how, count):
    """All weights and all work are somewhere once; only biases after a sum, which cost no FLOP, are repeated."""
    whole = model(kind).whole
    shards = [model(kind).split(how, index, count).model.whole for index in range(count)]
    assert sum(shard.forward_flops for shard in shards) == pytest.approx(whole.forward_flops, rel=1e-12)
    assert sum(shard.backward_flops for shard in shards) == pytest.approx(whole.backward_flops, rel=1e-12)
    repeated = sum(shard.parameters for shard in shards) - whole.parameters
    assert repeated == (0 if how == "outputs" else (count - 1) * BIASES_OF_SECONDS[kind])


def test_columns_of_every_layer_are_gathered_and_their_gradients_scattered():
    """The survey's network: L gathers and L scatters. With data nobody wants the gradient of the inputs."""
    shard = model(width=8, depth=3).split("outputs", 1, 2)
    assert ways(shard) == [("none", "scatter"), ("gather", "scatter"), ("gather", "scatter"), ("gather", "own")]
    assert shard.exchanged(shard.model.whole, 10) == (
        *[("all_gather", 10 * 8 * 4)] * 3,
        *[("reduce_scatter", 10 * 8 * 4)] * 3,
    )
    digits = model(data=build_data("digits", {}), width=8, depth=3).split("outputs", 1, 2)
    assert len(digits.exchanged(digits.model.whole, 10)) == 5


def test_columns_may_differ_in_size():
    shard = model(width=10, depth=1).split("outputs", 0, 3)
    assert shard.crossings[1] == Crossing("gather", "own", (3, 3, 4))
    assert shard.crossings[1].counts(5) == (15, 15, 20)
    assert [model(width=10, depth=1).split("outputs", i, 3).model.whole.parameters for i in range(3)] == [30, 30, 40]


def test_pairs_sum_once_forward_and_once_backward():
    shard = model(width=8, depth=4).split("pairs", 0, 2)
    assert ways(shard) == [("none", "sum"), ("none", "none"), ("sum", "sum"), ("none", "none"), ("sum", "none")]
    odd = model(width=8, depth=3).split("pairs", 0, 2)
    assert ways(odd)[2:] == [("sum", "sum"), ("gather", "own")]


def test_a_transformer_block_has_two_all_reduces_forward_and_two_backward():
    """Attention by heads, then the pair; normalisation, residual addition and biases in between on every member."""
    data = build_data("characters", {"sequence": 8})
    options = {key: GPT[key] for key in ("layers", "hidden", "heads", "tied")}
    network = build_network("gpt", options, data)
    found = split_network(network, Split("pairs", 1, 2))
    first, stop = found.cuts[1], found.cuts[2]
    block = found.network.blocks[first:stop]
    assert all(isinstance(segment, Unit) for segment in block)
    assert [tuple(map(type, segment.operators)) for segment in block] == [
        (Fork, LayerNorm),
        (AttentionHeads,),
        (Bias, Join, Fork, LayerNorm),
        (Linear, type(network.blocks[1].operators[1].body[2]), Linear),
        (Bias, Join),
    ]
    assert block[1].operators[0] == AttentionHeads(2, 4, causal=True)
    crossings = found.crossings[first : stop + 1]
    assert [c.forward for c in crossings].count("sum") == [c.backward for c in crossings].count("sum") == 2
    wide = 4 * 16 // 2
    assert (block[3].operators[0].outputs, block[3].operators[2].outputs) == (wide, 16)


def test_all_reduces_of_a_transformer_block_carry_samples_x_tokens_x_width():
    """2 + 2 all-reduces of b s h elements a block, whatever the heads; the output layer's own are the rest."""
    for layers in (1, 3):
        shard = model("gpt", **{**GPT, "layers": layers}).split("pairs", 0, 4)
        exchanged = shard.exchanged(shard.model.whole, 5)
        assert exchanged.count(("all_reduce", 5 * 8 * 16 * 4)) == 4 * layers + 1
        assert [kind for kind, _ in exchanged].count("all_gather") == 1


def test_layers_before_the_start_are_whole():
    shard = model("lenet5").split("outputs", 0, 2, start=2)
    assert [part.parameters for part in shard.model.each()][:2] == [part.parameters for part in model("lenet5").each()][
        :2
    ]
    assert ways(shard)[:3] == [("none", "none"), ("none", "none"), ("none", "sum")]


def test_parts_of_the_model_are_runs_of_segments():
    """The last part's segments end with the loss."""
    whole = model("gpt", **GPT)
    shard = whole.split("pairs", 0, 2)
    parts = [shard.of(part) for part in whole.each()]
    assert [part.start for part in parts] == list(shard.cuts[:-1])
    assert parts[-1].stop == len(shard.model.layers)
    assert sum(part.parameters for part in parts) == shard.model.whole.parameters


@pytest.mark.parametrize(
    ("kind", "how", "count", "text"),
    [
        ("mlp", "outputs", 5, "the 4 outputs of linear0 can't be split among 5 members; use 4 at most"),
        ("gpt", "pairs", 5, "the 4 heads of block0 can't be split among 5 members; use 4 at most"),
        ("gpt", "outputs", 2, "block0 is more than one layer and can't be split by outputs alone; use split: pairs"),
    ],
)
def test_what_can_not_be_split_is_refused(kind, how, count, text):
    options = {"width": 4, "depth": 2} if kind == "mlp" else GPT
    with pytest.raises(ScenarioError, match=text):
        model(kind, **options).split(how, 0, count)


def test_layers_that_are_costs_alone_can_not_be_split():
    layers = [{"parameters": 8, "forward_flops": 8.0, "output_elements": 4}]
    with pytest.raises(ValueError, match="layers of model layers are costs alone and can't be split"):
        model("layers", layers=layers).split("outputs", 0, 2)
