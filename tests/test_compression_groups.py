"""Codes where only some workers sum: replicas of stages, copies of pipelines and of shards, owners of pieces (ZeRO)."""

import pytest
import torch

from parasim import simulate
from parasim.compression import COMPRESSORS
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from tests.schemes_real import EQUAL, executed, learning, same_in_both
from tests.schemes_setup import EXACT_DATA, make, run

GROUPED = {
    "pipedream": {"replicas": [2, 2]},
    "pipedream_2bw": {"copies": 2, "micro_batches": 2},
    "three_d": {"pipeline": 2, "micro_batches": 2},
    "three_d, shards": {"pipeline": 1, "tensor": 2, "split": "outputs", "micro_batches": 2},
    "grid": {"groups": 2},
    "zero": {"stage": 1},
    "zero 2": {"stage": 2},
    "zero 3": {"stage": 3},
    "zero, hybrid": {"replicas": 2},
    "zero, replicas alone": {"replicas": 4},
}
"""Schemes, each with options."""
MODEL = {"kind": "mlp", "depth": 2, "width": 8, "activation": "linear", "initial": "exact"}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def grouped(name, compression=None, **settings):
    kind = name.partition(",")[0].split()[0]
    options = {"model": MODEL, "data": EXACT_DATA, "dtype": "float64", "learn": True, "batch": 4, "steps": 2}
    return run(kind, 4, compression=compression, **options | GROUPED[name] | settings)


def numbers(result):
    """All that the workers hold in the end."""
    returned = [part for parts in result.returns for part in (parts if isinstance(parts, tuple | list) else [parts])]
    return torch.cat([torch.as_tensor(part).reshape(-1) for part in returned])


@pytest.mark.parametrize("name", GROUPED)
def test_the_identity_changes_no_bit(name):
    plain, coded = grouped(name), grouped(name, {"kind": "identity", "error_feedback": True})
    assert torch.equal(numbers(plain), numbers(coded))
    assert coded.summary["loss"] == plain.summary["loss"]


@pytest.mark.parametrize("name", ["pipedream", "three_d, shards", "zero, hybrid"])
@pytest.mark.parametrize("code", [code for code, kind in COMPRESSORS.items() if not kind.varying])
def test_every_code_can_be_used(name, code):
    result = grouped(
        name, {"kind": code}, data={"kind": "classification"}, model={"kind": "mlp", "width": 24, "depth": 2}
    )
    assert bool(numbers(result).isfinite().all())


@pytest.mark.parametrize("name", GROUPED)
def test_copies_stay_equal_in_code(name):
    """Workers that hold the same parameters have the same bits after sums in code."""
    options = {"data": {"kind": "classification"}, "model": {"kind": "mlp", "width": 24, "depth": 2}, "steps": 3}
    first, second = (
        grouped(name, {"kind": "topk", "density": 0.1}, **options, **more) for more in ({}, {"fast_paths": "none"})
    )
    assert torch.equal(numbers(first), numbers(second))
    if name in ("pipedream_2bw", "three_d", "three_d, shards", "grid"):
        half = len(first.returns) // 2
        for one, copy in zip(first.returns[:half], first.returns[half:], strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(copy))


def test_bytes_of_coded_pieces_are_the_laws():
    """Two matrices of 32 x 32 among four: 16 elements to a message of 8 signs to the byte; weights come back whole."""
    model, workers = {"kind": "mlp", "width": 32, "depth": 2}, 4
    plain, coded = (
        run("zero", workers, stage=1, model=model, compression=by).summary["bytes_sent_per_worker_per_step"]
        for by in (None, {"kind": "signsgd"})
    )
    gathered = scattered = 2 * 32 * 32 * 4 * (workers - 1) / workers
    assert plain == gathered + scattered
    assert coded == gathered + scattered / 32


@pytest.mark.real
def test_real_copies_of_a_pipeline_send_the_same_bytes_and_learn_the_same_bits(pool):
    same_in_both(learning("pipedream_2bw", 4, compression={"kind": "topk", "density": 0.1}, steps=2, copies=2), pool)


@pytest.mark.real
def test_real_owners_of_pieces_send_the_same_bytes_and_learn_the_same_bits(pool):
    case = learning("zero", 2, compression={"kind": "onebit"}, steps=2, stage=3)
    simulated, real = simulate(case), executed(case, pool)
    assert torch.equal(numbers(simulated), numbers(real))
    for figure in EQUAL:
        assert simulated.summary[figure] == real.summary[figure], figure


@pytest.mark.parametrize(
    ("optimizer", "what"),
    [
        ({"kind": "sgd", "lr": 0.1, "momentum": 0.9}, r"sgd has momentum 0.9: write optimizer: {momentum: 0}"),
        ({"kind": "adam"}, r"adam has beta1 0.9: write optimizer: {beta1: 0}, or compression: {momentum: 0}"),
    ],
)
def test_momentum_is_not_applied_twice(optimizer, what):
    with pytest.raises(ScenarioError, match=what):
        make("allreduce", 2, optimizer=optimizer, compression={"kind": "dgc"})
    make("allreduce", 2, optimizer=optimizer, compression={"kind": "dgc", "momentum": 0.0})


@pytest.mark.parametrize(
    ("kind", "options", "compression", "what"),
    [
        ("pipedream", {}, {"kind": "topk"}, "sends nothing that a compressor works on"),
        ("grid", {"groups": 1}, {"kind": "topk"}, "sends nothing that a compressor works on"),
        ("zero", {}, {"kind": "threshold"}, "owners of pieces don't know how long messages of threshold are"),
        ("zero", {}, {"kind": "fp16", "both_ways": True}, "has no servers that send parameters: write auto"),
        ("zero", {}, {"kind": "fp16", "aggregation": "gather"}, "sums nothing over workers: write auto"),
    ],
)
def test_pairs_that_do_not_go_together_are_refused_in_a_line(kind, options, compression, what):
    with pytest.raises(ScenarioError, match=what) as error:
        make(kind, 4, compression=compression, **options)
    assert "\n" not in str(error.value)


def test_copies_of_a_parameter_in_several_shards_need_a_code_that_looks_at_single_elements():
    text = {
        "data": {"kind": "characters", "sequence": 8},
        "model": {"kind": "gpt", "layers": 1, "hidden": 16, "heads": 4},
    }
    options = {"pipeline": 1, "tensor": 2, "micro_batches": 1, **text}
    with pytest.raises(ScenarioError, match="members hold copies of some parameters, and topk makes different ones"):
        make("three_d", 4, compression={"kind": "topk"}, **options)
    make("three_d", 4, compression={"kind": "bf16"}, **options)


STAGES = {
    "three_d": ("three_d", 1, {"pipeline": 2, "tensor": 1, "split": "outputs"}),
    "chunks": ("three_d", 2, {"pipeline": 2, "tensor": 1, "chunks": 2}),
    "two versions": ("three_d", 2, {"pipeline": 2, "tensor": 1, "flush": False}),
    "copies": ("pipedream_2bw", 2, {"copies": 2}),
    "replicas": ("pipedream", 1, {"replicas": [2, 2]}),
    "modules": ("fdg_data", 1, {"modules": 2}),
}


@pytest.mark.parametrize("name", STAGES)
def test_codes_know_which_layers_a_stage_has(name):
    """Of a sample for each of two workers a layer's gradient has rank two, cut as its matrices are: nothing is lost."""
    kind, micros, options = STAGES[name]
    model = {"kind": "mlp", "width": 24, "depth": 4}
    options = {**options, **({"micro_batches": micros} if kind in ("three_d", "pipedream_2bw") else {})}
    settings = {"model": model, "data": {"kind": "digits"}, "dtype": "float64", "learn": True, "batch": micros}
    code = {"kind": "powersgd", "rank": 2 * micros, "error_feedback": False}
    plain, coded = (run(kind, 4, compression=by, steps=3, **settings, **options) for by in (None, code))
    assert torch.allclose(numbers(coded), numbers(plain), rtol=0, atol=1e-12)
    assert coded.summary["bytes_sent_per_worker_per_step"] < plain.summary["bytes_sent_per_worker_per_step"]
