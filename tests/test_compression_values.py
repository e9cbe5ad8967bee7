"""Models in half precision: gossip, elastic averaging, one-shot and hierarchical averaging; gradients of modules."""

import pytest
import torch

from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.schemes import SCHEMES
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run

MODEL, STEPS = EXACT_MODELS["two layers"]
CARRYING = {
    "one_shot": {},
    "dpsgd": {},
    "adpsgd": {},
    "sgp": {"peers": 1},
    "osgp": {},
    "easgd": {"period": 1},
    "eamsgd": {"period": 2},
    "hierarchical_sgd": {"groups": 2, "period": 1},
}
"""Schemes whose workers send models as they are, with some options."""


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def carrying(kind, compression=None, **settings):
    """Workers of different speeds; what coding costs takes no time."""
    options = {"model": MODEL, "data": EXACT_DATA, "batch": 4, "steps": STEPS, "memory_bandwidth": 1e30}
    speeds = {0: 1.0, 1: 0.9, 2: 0.83, 3: 0.71}
    return run(kind, 6, compression=compression, speeds=speeds, **options | {"workers": 4} | CARRYING[kind] | settings)


def same_returns(one, other):
    for mine, yours in zip(one.returns, other.returns, strict=True):
        assert (mine is None) == (yours is None)
        assert mine is None or torch.equal(torch.as_tensor(mine), torch.as_tensor(yours))


def test_schemes_that_send_models_are_all_tested():
    assert set(CARRYING) == {name for name, scheme in SCHEMES.items() if scheme.compresses == "values"}


@pytest.mark.parametrize("kind", CARRYING)
def test_the_identity_changes_no_bit_of_any_scheme(kind):
    options = {"dtype": "float64", "learn": True, "trace": "aggregate"}
    plain, coded = carrying(kind, **options), carrying(kind, {"kind": "identity"}, **options)
    same_returns(plain, coded)
    additions = 0.01 if kind == "hierarchical_sgd" else 1e-9  # pieces are written by adding to zero
    assert coded.summary["seconds"] == pytest.approx(plain.summary["seconds"], rel=additions)


@pytest.mark.parametrize("code", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", CARRYING)
def test_half_precision_halves_all_bytes(kind, code):
    """And the run learns; AD-PSGD chooses as it goes who sends."""
    plain, coded = carrying(kind).summary, carrying(kind, {"kind": code}).summary
    for figure in ("bytes_sent_per_worker_per_step", "bytes_received_per_worker_per_step"):
        assert coded[figure] == pytest.approx(plain[figure] / 2, rel=0.1 if kind == "adpsgd" else 1e-9)
    learned = carrying(kind, {"kind": code}, learn=True, data={"kind": "classification"}, steps=12).summary["loss"]
    assert learned["last"] < learned["first"]


@pytest.mark.parametrize("kind", CARRYING)
def test_codes_of_gradients_are_refused(kind):
    with pytest.raises(ScenarioError, match=f"scheme {kind} sends models as they are, and topk is for gradients"):
        carrying(kind, {"kind": "topk"})


def test_models_keep_no_error():
    with pytest.raises(ScenarioError, match="leave no error to send later: write auto"):
        make("dpsgd", compression={"kind": "fp16", "error_feedback": True})
    with pytest.raises(ScenarioError, match="sends models: write auto, or leave compression out"):
        make("dpsgd", compression={"kind": "fp16", "both_ways": False})


# modules -------------------------------------------------------------------------------------------------------------
def modules(compression=None, **settings):
    options = {"model": MODEL, "data": EXACT_DATA, "batch": 4, "steps": STEPS, "modules": 2, "workers": 4}
    return run("fdg_data", 4, compression=compression, combine="average", **options | settings)


@pytest.mark.parametrize("aggregation", ["auto", "gather", "server"])
def test_the_identity_changes_no_bit_of_modules(aggregation):
    plain = modules(dtype="float64", learn=True)
    same_returns(plain, modules({"kind": "identity", "aggregation": aggregation}, dtype="float64", learn=True))


def test_gradients_of_modules_can_be_in_any_code():
    result = modules({"kind": "onebit"}, learn=True, data={"kind": "regression"})
    assert result.summary["bytes_sent_per_worker_per_step"] < modules().summary["bytes_sent_per_worker_per_step"]
    with pytest.raises(ScenarioError, match="scheme fdg_data sends nothing that a compressor works on"):
        make("fdg_data", 4, modules=4, workers=4, compression={"kind": "onebit"})


@pytest.mark.real
def test_real_gossip_sends_the_same_bytes_and_learns_the_same_bits(pool):
    same_in_both(learning("dpsgd", 3, compression={"kind": "bf16"}, steps=3), pool)


# changes of models ---------------------------------------------------------------------------------------------------
def gossip(compression=None, **settings):
    """Four workers on a ring, who mix after adapting."""
    options = {"model": MODEL, "data": EXACT_DATA, "batch": 4, "steps": STEPS, "dtype": "float64", "learn": True}
    return run("dpsgd", 4, compression=compression, **options | {"order": "adapt_then_combine"} | settings)


def mean_of(result):
    return torch.stack([torch.as_tensor(model) for model in result.returns]).mean(0)


def spread_of(result):
    models = torch.stack([torch.as_tensor(model) for model in result.returns])
    return float((models - models.mean(0)).norm())


def test_changes_of_all_elements_are_models():
    """Estimates are the models then, and mixing differences is mixing models."""
    plain, coded = gossip(), gossip({"kind": "topk", "density": 1.0})
    for one, other in zip(plain.returns, coded.returns, strict=True):
        assert torch.allclose(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-12, atol=1e-15)
    assert coded.summary["loss"] == pytest.approx(plain.summary["loss"])


@pytest.mark.parametrize(
    "code", ["topk", "randomk", "onebit", "qsgd", "terngrad", "ef_signsgd", "powersgd", "threshold"]
)
def test_coded_changes_leave_the_mean_of_all_models_alone(code):
    """After one step: all began alike, so the mean moves by the mean gradient, whatever is sent (CHOCO-SGD)."""
    plain, coded = gossip(steps=1), gossip({"kind": code}, steps=1, consensus=0.3)
    assert torch.allclose(mean_of(plain), mean_of(coded), rtol=1e-12, atol=1e-14)


def test_models_find_together_though_a_tenth_of_their_changes_is_sent():
    """At a rate that vanishes after eight steps, distances shrink to next to nothing: nothing is lost for good."""
    rate = {"kind": "sgd", "lr": 0.1, "schedule": {"kind": "step", "at": [8], "factor": 1e-12}}
    options = {"data": {"kind": "classification"}, "optimizer": rate, "consensus": 0.2}
    code = {"kind": "topk", "density": 0.1}
    apart, together = (spread_of(gossip(code, steps=steps, **options)) for steps in (8, 200))
    assert together < 1e-3 * apart


def test_bytes_of_changes_are_the_laws():
    """A tenth of 160 elements, each with its place, to each of two neighbours."""
    summary = gossip({"kind": "topk", "density": 0.1}, dtype="float32").summary
    assert summary["bytes_sent_per_worker_per_step"] == 2 * 16 * 8


@pytest.mark.real
def test_a_real_run_of_coded_gossip_is_the_simulated_one(pool):
    code = {"kind": "topk", "density": 0.1}
    same_in_both(learning("dpsgd", 3, 3, compression=code, order="adapt_then_combine", consensus=0.5), pool)


# changes that are pushed ----------------------------------------------------------------------------------------------
TAILED = [[0, 1], [1, 2], [2, 0], [0, 2], [2, 3], [3, 0]]
"""Workers 0 and 2 send to two others, 1 and 3 to one: weights differ."""
PUSHED = {
    "ring": {"graph": "ring"},
    "complete": {"graph": "complete"},
    "edges": {"graph": "edges", "edges": TAILED},
    "all hops": {"peers": 2},
    "ring, late": {"graph": "ring", "overlap": 1},
}
"""Graphs in which everyone sends to the same workers in every iteration."""


def push(name, compression=None, **settings):
    options = {"model": MODEL, "data": EXACT_DATA, "batch": 4, "steps": STEPS, "dtype": "float64", "learn": True}
    return run("sgp", 4, compression=compression, **options | PUSHED[name] | settings)


def masses(result):
    """Sum of the models as they are before they are divided by their weights, and of the weights."""
    weights = [row.value for row in result.trace if row.buffer == "weight"][-4:]
    ranks = [row.rank for row in result.trace if row.buffer == "weight"][-4:]
    assert sorted(ranks) == [0, 1, 2, 3]
    models = [weight * torch.as_tensor(result.returns[rank]) for rank, weight in zip(ranks, weights, strict=True)]
    return sum(models), sum(weights)


@pytest.mark.parametrize("name", PUSHED)
def test_pushed_changes_of_all_elements_are_shares_of_models(name):
    """Quantised push-sum (Taheri et al. 2020) without a loss is push-sum."""
    plain, coded = push(name), push(name, {"kind": "topk", "density": 1.0})
    for one, other in zip(plain.returns, coded.returns, strict=True):
        assert torch.allclose(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-12, atol=1e-12)
    assert coded.summary["loss"] == pytest.approx(plain.summary["loss"])


@pytest.mark.parametrize("code", ["topk", "randomk", "onebit", "qsgd", "terngrad", "powersgd", "threshold"])
@pytest.mark.parametrize("name", ["edges", "ring"])
def test_pushed_changes_leave_sums_alone(name, code):
    """After one step: all began alike, so the sum of models moves by the gradients, whatever is sent."""
    (plain, _), (coded, mass) = (
        masses(push(name, by, steps=1, **more)) for by, more in ((None, {}), ({"kind": code}, {"consensus": 0.3}))
    )
    assert mass == pytest.approx(4)
    assert torch.allclose(plain, coded, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["edges", "ring, late"])
def test_models_find_together_though_a_tenth_of_what_is_pushed_is_sent(name):
    rate = {"kind": "sgd", "lr": 0.1, "schedule": {"kind": "step", "at": [8], "factor": 1e-12}}
    options = {"data": {"kind": "classification"}, "optimizer": rate, "consensus": 0.2}
    code = {"kind": "topk", "density": 0.1}
    apart, together = (spread_of(push(name, code, steps=steps, **options)) for steps in (8, 250))
    assert together < 1e-3 * apart


def test_bytes_of_pushed_changes_are_the_laws():
    """A tenth of 160 elements, each with its place, to the next worker."""
    summary = push("ring", {"kind": "topk", "density": 0.1}, dtype="float32").summary
    assert summary["bytes_sent_per_worker_per_step"] == 16 * 8


@pytest.mark.real
def test_a_real_run_of_pushed_changes_is_the_simulated_one(pool):
    code = {"kind": "topk", "density": 0.1}
    same_in_both(learning("sgp", 3, 3, compression=code, graph="ring", consensus=0.5), pool)


def test_why_changes_can_not_be_sent_is_said_in_a_line():
    with pytest.raises(ScenarioError, match="or write graph: ring, complete or edges"):
        make("sgp", 4, compression={"kind": "topk"})
    with pytest.raises(ScenarioError, match=r"for gradients \(partners are drawn, .*: use identity, fp16, bf16$"):
        make("adpsgd", 4, compression={"kind": "topk"})


@pytest.mark.parametrize(
    ("options", "compression", "what"),
    [
        ({}, {"kind": "topk"}, "or write order: adapt_then_combine"),
        ({"order": "adapt_then_combine"}, {"kind": "dgc"}, "keeps what it did not send"),
        ({"order": "adapt_then_combine"}, {"kind": "topk", "error_feedback": True}, "in the next change already"),
        ({"order": "adapt_then_combine"}, {"kind": "fp16", "both_ways": False}, "sends models: write auto"),
    ],
)
def test_what_changes_can_not_be_sent_in_is_said_in_a_line(options, compression, what):
    with pytest.raises(ScenarioError, match=what):
        make("dpsgd", 4, compression=compression, **options)
