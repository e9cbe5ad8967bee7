"""Token vectors that the outputs share: one parameter of sequential SGD, a copy and a sum in pipelines."""

import pytest
import torch

from parasim import ScenarioError, closed_form, simulate
from parasim.learning.build import make_learner, make_optimizer, pin_threads
from parasim.metrics.memory import course_of, tensors_of
from parasim.program import Planning
from tests.schemes_real import same_in_both
from tests.schemes_setup import but_messages, make, run, steady

GPT = {"kind": "gpt", "layers": 2, "hidden": 16, "heads": 4}
TEXT = {"kind": "characters", "sequence": 8}
ADAM = {"kind": "adam", "lr": 0.01}
WORK = {"model": GPT, "data": TEXT, "dtype": "float64", "batch": 8, "learn": True}
TABLE = 27 * 16
"""Elements of the token vectors."""
PIPELINES = {
    "layerwise": ("layerwise", 3, {}),
    "gpipe": ("gpipe", 4, {}),
    "recomputing": ("gpipe", 2, {"recompute": True}),
    "1F1B": ("pipedream_flush", 3, {}),
    "interleaved": ("interleaved_1f1b", 2, {"chunks": 2}),
    "zero bubble": ("zb_h1", 2, {}),
    "two copies, halves": ("three_d", 8, {"pipeline": 2, "tensor": 2}),
    "padded vocabulary": ("three_d", 4, {"pipeline": 2, "tensor": 2, "vocabulary_multiple": 8}),
    "all vectors": ("three_d", 4, {"pipeline": 2, "tensor": 2, "vocabulary_multiple": 0}),
    "chunks": ("three_d", 2, {"pipeline": 2, "tensor": 1, "chunks": 2}),
}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def learner(tied, how=""):
    return make_learner(
        "gpt",
        {"layers": 2, "hidden": 16, "heads": 4, "tied": tied},
        "characters",
        {"sequence": 8},
        0,
        "float64",
        tied=how,
    )


def flat(result, ranks):
    """The parameters of these ranks, chunk by chunk, stage by stage."""
    chunks = [found if isinstance(found, list) else [found] for found in (result.returns[rank] for rank in ranks)]
    return torch.cat([torch.from_numpy(chunk) for level in zip(*chunks, strict=True) for chunk in level])


def without_copy(vector):
    """The token vectors are first; the copy of them is last."""
    assert torch.equal(vector[:TABLE], vector[-TABLE:])
    return vector[:-TABLE]


def sequential(**more):
    return flat(run("sequential", 1, **{**WORK, **more}), [0])


@pytest.mark.parametrize("halves", [False, True])
def test_the_gradient_of_shared_vectors_is_the_sum_of_both(halves):
    """Against the same network with weights of its own for the outputs, which have the same values."""
    shared, apart = learner(True, "whole"), learner(False)
    weights = shared.initial(shared.model.whole)
    samples = shared.samples(0, 0, 4, 4)
    found = []
    for one, parameters in ((shared, weights), (apart, torch.cat([weights, weights[:TABLE]]))):
        whole = one.model.whole
        loss, saved = one.forward(whole, parameters, one.inputs(samples), samples)
        if halves:
            gradient = one.backward_weights(whole, saved, one.backward_inputs(whole, saved, None)[1])
        else:
            gradient = one.backward(whole, saved, None)[1]
        found.append((loss, gradient))
    (loss, mine), (other, theirs) = found
    assert torch.equal(loss, other)
    summed = theirs[:-TABLE].clone()
    summed[:TABLE] += theirs[-TABLE:]
    assert theirs[-TABLE:].abs().max() > 1e-3
    assert torch.equal(mine, summed)


def test_a_copy_begins_as_the_vectors_do_and_nothing_else_changes():
    shared, copied = learner(True, "whole"), learner(True, "copies")
    first, second = (one.initial(one.model.whole) for one in (shared, copied))
    assert copied.model.whole.parameters == shared.model.whole.parameters + TABLE
    assert torch.equal(without_copy(second), first)
    costs = [(layer.forward_flops, layer.stored_elements, layer.signature) for layer in shared.model.layers]
    assert costs == [(layer.forward_flops, layer.stored_elements, layer.signature) for layer in copied.model.layers]


@pytest.mark.parametrize("optimizer", [{"kind": "sgd", "lr": 0.125, "momentum": 0.5}, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", ["layerwise", "gpipe", "recomputing", "1F1B"])
def test_pipelines_are_sequential_sgd(name, optimizer):
    kind, workers, options = PIPELINES[name]
    result = run(kind, workers, **WORK, optimizer=optimizer, **options)
    assert torch.allclose(without_copy(flat(result, range(workers))), sequential(optimizer=optimizer), atol=1e-12)


@pytest.mark.parametrize("name", list(PIPELINES)[4:])
def test_losses_are_those_of_sequential_sgd(name):
    """Their stages are chunks, or shards."""
    kind, workers, options = PIPELINES[name]
    result = run(kind, workers, **{**WORK, "batch": 4 if workers == 8 else 8}, optimizer=ADAM, **options)
    whole = run("sequential", 1, **WORK, optimizer=ADAM)
    assert result.summary["loss"] == pytest.approx(whole.summary["loss"], rel=1e-11)


def test_all_reduce_without_overlap_is_sequential_sgd():
    whole = flat(run("allreduce", 2, overlap=False, **{**WORK, "batch": 4}), [0])
    assert torch.allclose(whole, sequential(), atol=1e-12)


def test_a_model_of_copies_is_evaluated_as_the_shared_one_is():
    from parasim.scenario import from_document

    found = []
    for kind, workers in (("sequential", 1), ("gpipe", 2)):
        document = make(kind, workers, **WORK).document
        run_too = {**document["run"], "evaluate": {"every": "2 steps"}}
        found.append(simulate(from_document({**document, "run": run_too})).summary["evaluation"]["points"])
    assert [e["loss"] for e in found[0]] == pytest.approx([e["loss"] for e in found[1]], rel=1e-11)
    assert len(found[0]) == 3


def test_copies_that_are_not_summed_would_part():
    """What the sum is for: each stage's own part of the gradient is another."""
    apart = run("gpipe", 2, **{**WORK, "model": {**GPT, "tied": False}})
    whole = run("sequential", 1, **WORK)
    assert apart.summary["loss"]["last"] != pytest.approx(whole.summary["loss"]["last"], rel=1e-4)


@pytest.mark.parametrize("stages", [2, 4])
def test_two_versions_are_one_update_late_for_any_number_of_stages(stages):
    settings = {**WORK, "steps": 5, "micro_batches": 4, "optimizer": {"kind": "sgd", "lr": 0.125}}
    one = flat(run("pipedream_2bw", 1, **settings), [0])
    found = run("pipedream_2bw", stages, **settings)
    assert torch.allclose(without_copy(flat(found, range(stages))), one, atol=1e-12)
    wide = run("pipedream_2bw", 2 * stages, copies=2, **{**settings, "batch": 4, "micro_batches": 4})
    assert torch.allclose(without_copy(flat(wide, range(stages))), one, atol=1e-12)
    assert found.summary["staleness"]["max"] == 1


@pytest.mark.parametrize("name", PIPELINES)
def test_pairs_send_the_gradient_of_the_vectors_once_each_way(name):
    kind, workers, options = PIPELINES[name]
    settings = {**WORK, "dtype": "float32", "steps": 3, **options}
    groups = run(kind, workers, **settings).summary["groups"]["tied"]["between"]
    shards, multiple = options.get("tensor", 1), options.get("vocabulary_multiple", 1)
    rows = shards * 27 if not multiple else multiple * shards * -(-27 // (multiple * shards)) if multiple > 1 else 27
    copies = workers // (2 * shards) if kind == "three_d" else 1
    assert groups["bytes_per_step"] == 2 * copies * rows * 16 * 4
    assert groups["messages_per_step"] == 2 * copies * shards * 2


@pytest.mark.parametrize("bandwidth", [1e12, 1e6])
@pytest.mark.parametrize("name", [*PIPELINES, "2BW"])
def test_closed_forms_are_lower_bounds_and_count_the_bytes(name, bandwidth):
    kind, workers, options = PIPELINES.get(name, ("pipedream_2bw", 3, {"micro_batches": 4}))
    settings = {"model": GPT, "data": TEXT, "batch": 8, "bandwidth": bandwidth, **options}
    form, met = closed_form(make(kind, workers, **settings)), steady(kind, workers, **settings)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=0.01 if "tensor" in options else 1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)


def test_the_sum_takes_its_time():
    """Of GPipe exactly: the first stage, which ends last, waits for it."""
    settings = {"model": GPT, "data": TEXT, "batch": 8, "bandwidth": 1e5, "latency": 0.0, "memory_bandwidth": 1e12}
    shared, apart = (steady("gpipe", 2, **{**settings, "model": {**GPT, "tied": tied}})[0] for tied in (True, False))
    assert shared - apart == pytest.approx(TABLE * 4 / 1e5, rel=1e-3)


@pytest.mark.parametrize("name", ["layerwise", "1F1B", "two copies, halves", "2BW"])
def test_the_copy_is_planned_and_held(name):
    kind, workers, options = PIPELINES.get(name, ("pipedream_2bw", 2, {"micro_batches": 4}))
    settings = {**WORK, "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.5}, **options}
    case, trace = make(kind, workers, **settings), run(kind, workers, **settings).trace
    planned = case.scheme.memory(Planning(case.workload.model, 8, make_optimizer(*case.optimizer), None))
    for rank in range(workers):
        said, counted = course_of(trace, rank), tensors_of(trace, rank)
        for part, nbytes in but_messages(planned[rank]).items():
            assert max(held.bytes_of[part] for held in said) == nbytes
            exact = 0 if part in ("weights", "gradients", "optimizer state", "stashed versions") else 0.02
            assert max(held.bytes_of[part] for held in counted) == pytest.approx(nbytes, rel=exact)
    free = make(kind, workers, **{**settings, "model": {**GPT, "tied": False}})
    assert (
        planned[-1]["weights"]
        == free.scheme.memory(Planning(free.workload.model, 8, make_optimizer(*free.optimizer), None))[-1]["weights"]
    )


@pytest.mark.parametrize(
    "kind", ["pipedream", "pipelined_backprop", "spectrain", "ddg", "fr", "fdg", "fdg_data", "dni"]
)
def test_stages_at_different_versions_do_not_share(kind):
    with pytest.raises(ScenarioError, match=r"different versions here: write tied: false, or take a pipeline with a"):
        make(kind, 2, model=GPT, data=TEXT, batch=8)
    make(kind, 2, model={**GPT, "tied": False}, data=TEXT, batch=8)


@pytest.mark.parametrize("kind", ["allreduce", "zero", "tensor_parallel", "downpour"])
def test_who_cannot_train_them_says_so_and_has_costs(kind):
    options = {"split": "pairs"} if kind == "tensor_parallel" else {"workers": 2} if kind == "downpour" else {}
    hosts = 3 if kind == "downpour" else 2
    with pytest.raises(ScenarioError, match=r"model gpt shares weights .* write tied: false$"):
        make(kind, hosts, **WORK, **options)
    make(kind, hosts, **{**WORK, "learn": False}, **options)


@pytest.mark.real
@pytest.mark.parametrize("name", ["gpipe", "interleaved", "two", "halves"])
def test_real_runs_give_the_simulated_weights(pool, name):
    kind, workers, options = {
        "gpipe": ("gpipe", 2, {}),
        "interleaved": PIPELINES["interleaved"],
        "two": ("pipedream_2bw", 2, {"micro_batches": 4}),
        "halves": ("three_d", 4, {"pipeline": 2, "tensor": 2}),
    }[name]
    case = make(kind, workers, **WORK, **options)
    real = same_in_both(case, pool)
    assert real.summary["groups"]["tied"]["between"]["messages_per_step"] == 2 * (2 if name == "halves" else 1) * 2
    if name == "gpipe":
        assert torch.allclose(without_copy(flat(real, range(2))), sequential(), atol=1e-12)
    assert simulate(case).summary["loss"]["last"] < simulate(case).summary["loss"]["first"]
