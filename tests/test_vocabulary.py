"""Token vectors and output layer split along the vocabulary, the loss fused (Shoeybi et al. 2019, section 3; S22)."""

import pytest
import torch

from parasim import closed_form, simulate
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.scenario import from_document
from parasim.workload import build_data, build_model
from tests.schemes_real import same_in_both
from tests.schemes_setup import make, run, steady, weights
from tests.shards_setup import TEXT, TRANSFORMER, whole_of

EVEN = {"kind": "gpt", "layers": 2, "hidden": 16, "heads": 4, "sequence": 8, "vocabulary": 64, "tied": False}
LEARNING = {"model": TRANSFORMER, "data": TEXT, "dtype": "float64", "learn": True, "batch": 4}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


@pytest.mark.parametrize(("workers", "multiple"), [(1, 128), (2, 1), (2, 8), (3, 128), (4, 0)])
def test_it_learns_as_sequential_sgd_however_the_vocabulary_is_padded(workers, multiple):
    """28 characters: rows of 14 each; of 16, four of them padding; 384, of which two workers know none; not split."""
    settings = {**LEARNING, "model": {**TRANSFORMER, "heads": 12, "hidden": 24}, "steps": 3}
    case = make("tensor_parallel", workers, split="pairs", vocabulary_multiple=multiple, **settings)
    found, whole = simulate(case), run("sequential", 1, **settings)
    together = whole_of(case, found.returns, "pairs")
    torch.testing.assert_close(together, weights(whole, range(1)), rtol=1e-12, atol=1e-12)
    assert found.summary["loss"]["last"] == pytest.approx(whole.summary["loss"]["last"], rel=1e-12)
    assert found.summary["loss"]["last"] < found.summary["loss"]["first"]


def test_padding_is_left_out_where_the_model_is_evaluated():
    settings = {**LEARNING, "steps": 2}
    found = []
    for kind, options in (("sequential", {}), ("tensor_parallel", {"split": "pairs", "vocabulary_multiple": 8})):
        document = make(kind, 2 if options else 1, **settings, **options).document
        case = from_document({**document, "run": {**document["run"], "evaluate": {"every": "2 steps"}}})
        found.append([point["loss"] for point in simulate(case).summary["evaluation"]["points"]])
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    assert len(found[0]) == 2


def test_layers_between_may_be_whole():
    """An LSTM can't be split, its ends along the vocabulary can."""
    settings = {**LEARNING, "model": {"kind": "lstm", "layers": 1, "hidden": 8}, "steps": 3}
    case = make("tensor_parallel", 2, split="pairs", **settings)
    whole = weights(run("sequential", 1, **settings), range(1))
    torch.testing.assert_close(whole_of(case, simulate(case).returns, "pairs"), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("workers", [2, 4])
def test_three_numbers_per_token_are_exchanged_instead_of_all_logits(workers):
    """Beside 4 all-reduces of b s h a block: one of the vectors found, one before the logits; 3 b s for the loss."""
    settings = {"model": EVEN, "batch": 4, "split": "pairs", "memory_bandwidth": 1e18}
    seconds, nbytes, messages = steady("tensor_parallel", workers, **settings)
    tokens, layers, width = 4 * 8, 2, 16
    around = 2 * (workers - 1) / workers * 4
    assert nbytes == pytest.approx(around * tokens * ((4 * layers + 2) * width + 3), rel=1e-12)
    assert messages == 2 * (workers - 1) * (4 * layers + 2 + 2)
    form = closed_form(make("tensor_parallel", workers, **settings))
    assert form.exact
    assert form.seconds_per_step == pytest.approx(seconds, rel=1e-9)
    assert form.bytes_sent_per_worker_per_step == pytest.approx(nbytes, rel=1e-12)
    _, gathered, _ = steady("tensor_parallel", workers, vocabulary_multiple=0, **settings)
    others = (workers - 1) / workers * 4
    assert gathered - nbytes == pytest.approx(others * tokens * (64 - 2 * width - 2 * 3), rel=1e-12)


@pytest.mark.parametrize(("workers", "multiple", "rows"), [(4, 128, 50_688 // 4), (4, 0, 50_257), (2, 128, 25_216)])
@pytest.mark.parametrize(("kind", "layers", "width"), [("gpt2-small", 12, 768), ("gpt2-medium", 24, 1024)])
def test_parameters_of_gpt2_by_worker(kind, layers, width, workers, multiple, rows):
    """Divided: products and their column biases, and the vocabulary; repeated: positions, norms, biases after sums."""
    shards = [build_model(kind, {}, None, 4).split("pairs", i, workers, vocabulary=multiple) for i in range(workers)]
    divided = layers * (12 * width**2 + 3 * width + 4 * width) // workers
    repeated = 1024 * width + layers * (4 * width + 2 * width) + 2 * width
    assert {shard.model.whole.parameters for shard in shards} == {rows * width + divided + repeated}


def test_the_vocabulary_of_gpt2_on_eight_workers_is_padded_as_published():
    """50,257 to 51,200 (Shoeybi et al. 2019, section 5.1): 6,400 rows each; flop of the logits are divided."""
    model = build_model("gpt", {"heads": 16, "hidden": 1536, "layers": 1}, None, 4)
    shards = [model.split("pairs", index, 8, vocabulary=128) for index in range(8)]
    flops = 2 * 1024 * 6400 * 1536
    for shard in shards:
        embedding, output = (shard.model.layers[cut] for cut in (shard.cuts[0], shard.cuts[-2] + 1))
        assert embedding.parameters == 6400 * 1536
        assert (output.forward_flops, output.input_flops, output.weight_flops) == (flops, flops, flops)


def test_recomputing_changes_no_bit_and_repeats_the_exchanges_inside_blocks():
    """4 + 2 all-reduces of b s h a block; of activations a worker keeps the blocks' inputs, and one block."""
    settings = {**LEARNING, "steps": 2, "split": "pairs"}
    kept, again = (run("tensor_parallel", 2, recompute=recompute, **settings) for recompute in (False, True))
    assert all((mine == yours).all() for mine, yours in zip(kept.returns, again.returns, strict=True))
    activations = [memory_of(found.trace)[0].peak_bytes_of["activations"] for found in (kept, again)]
    assert activations[1] < 0.8 * activations[0]
    plain = {"model": EVEN, "batch": 4, "split": "pairs", "memory_bandwidth": 1e18}
    _, nbytes, messages = steady("tensor_parallel", 4, **plain)
    seconds, *more = steady("tensor_parallel", 4, recompute=True, **plain)
    layers, payload = 2, 4 * 8 * 16 * 4
    assert more == [nbytes + 2 * layers * payload * 2 * 3 / 4, messages + 2 * layers * 2 * 3]
    form = closed_form(make("tensor_parallel", 4, recompute=True, **plain))
    assert form.exact
    assert form.seconds_per_step == pytest.approx(seconds, rel=1e-9)
    assert [form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step] == more


def test_no_logits_are_gathered_and_the_loss_keeps_only_its_own_columns():
    options = {name: value for name, value in EVEN.items() if name != "kind"}
    shard = build_model("gpt", options, None, 4).split("pairs", 1, 4, vocabulary=1)
    exchanged = shard.exchanged(shard.model.whole, 5)
    assert {kind for kind, _ in exchanged} == {"all_reduce"}
    assert sorted(nbytes for _, nbytes in exchanged)[:2] == [5 * 8 * 4, 2 * 5 * 8 * 4]
    assert shard.model.layers[-1].stored_elements == 8 * 16


def test_what_is_said_to_be_held_equals_the_tensors_note_by_note():
    """But for what costs leave out: which tokens are one's own is a byte for each, beside what an embedding keeps."""
    momentum = {"kind": "sgd", "lr": 0.1, "momentum": 0.5}
    settings = {**LEARNING, "steps": 2, "dtype": "float32", "optimizer": momentum, "split": "pairs"}
    more = {}
    for multiple in (0, 8):
        trace = run("tensor_parallel", 2, vocabulary_multiple=multiple, **settings).trace
        for rank in range(2):
            said, kept = course_of(trace, rank), tensors_of(trace, rank)
            more[multiple] = {there.total - here.total for here, there in zip(said, kept, strict=True)}
            assert max(held.total for held in said) == memory_of(trace)[rank].peak_bytes
    assert more[8] - {0} == {extra + 4 * 8 for extra in more[0] - {0}}


def test_a_vocabulary_smaller_than_the_group_needs_padding():
    options = {"layers": 1, "hidden": 8, "heads": 8, "sequence": 4, "vocabulary": 6}
    with pytest.raises(ScenarioError, match="the 6 token vectors of embedding can't be split among 8 members"):
        build_model("gpt", options, None, 4).split("pairs", 0, 8, vocabulary=1)
    model = build_model("gpt", options, None, 4)
    assert model.split("pairs", 7, 8, vocabulary=4).model.layers[0].parameters == 4 * 8


def test_models_without_tokens_are_split_as_before():
    for kind, options, data in (("mlp", {"width": 8, "depth": 3}, None), ("lenet5", {}, build_data("digits", {}))):
        model = build_model(kind, options, data, 4)
        one, other = (model.split("pairs", 1, 2, vocabulary=rows) for rows in (0, 128))
        assert (one.model.layers, one.crossings, one.cuts) == (other.model.layers, other.crossings, other.cuts)


@pytest.mark.real
def test_a_real_plan_with_a_split_vocabulary_equals_the_simulated_one(pool):
    settings = {"model": TRANSFORMER, "data": TEXT, "batch": 4, "learn": True, "micro_batches": 2, "steps": 3}
    same_in_both(make("three_d", 4, pipeline=2, tensor=2, vocabulary_multiple=8, **settings), pool)
