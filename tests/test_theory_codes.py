"""Closed forms of schemes whose gradients or models travel in code, against the simulator."""

import pytest

from parasim import closed_form
from parasim.compression import COMPRESSORS
from tests.schemes_setup import make
from tests.test_schemes_closed_forms import meets, ratio

MATRICES = {"kind": "mlp", "width": 24, "depth": 4}
"""Four matrices of 24 x 24: alike in every cut by four, and in halves."""
FIXED = [name for name, code in COMPRESSORS.items() if not code.varying]
SUMMED = [name for name in FIXED if COMPRESSORS[name].rounds]
QUICK = {"latency": 1e-4, "bandwidth": 1e7, "launch": 0.0}


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("code", FIXED)
def test_gathered_and_served_sums_are_exact(code, workers):
    for mode in ("gather", "server"):
        meets("allreduce", workers, model=MATRICES, compression={"kind": code, "aggregation": mode}, **QUICK)


@pytest.mark.parametrize("algorithm", ["ring", "recursive_doubling", "rabenseifner"])
@pytest.mark.parametrize("code", SUMMED)
def test_sums_of_codes_are_exact(code, algorithm):
    compression = {"kind": code, "aggregation": "reduce"}
    compression |= {"density": 1 / 24} if code.startswith("randomk") else {}  # 96 elements: even pieces
    meets("allreduce", 4, model=MATRICES, algorithm=algorithm, compression=compression, **QUICK)


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("code", ["onebit", "topk", "qsgd", "powersgd", "ef_signsgd"])
def test_error_feedback_has_its_price(code, feedback):
    meets("allreduce", 4, model=MATRICES, compression={"kind": code, "error_feedback": feedback}, **QUICK)


@pytest.mark.parametrize("servers", [1, 2, 4])
@pytest.mark.parametrize("code", FIXED)
def test_messages_to_servers_are_exact(code, servers):
    options = {"workers": 3, "servers": servers, "model": MATRICES}
    meets("parameter_server", 3 + servers, compression={"kind": code}, **options, **QUICK)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("accumulation", {"micro_batches": 4}),
        ("pipe_sgd", {"cores": 2}),
        ("local_sgd", {"period": 2, "steps": 2}),
        ("bmuf", {"period": 2, "steps": 2}),
    ],
)
@pytest.mark.parametrize("code", ["fp16", "topk", "onebit"])
def test_who_else_sums_in_code_has_a_form(kind, options, code):
    meets(kind, 4, model=MATRICES, compression={"kind": code}, **QUICK, **options)


def test_overlapped_buckets_in_code_are_exact_with_a_core_for_coding():
    options = {"model": MATRICES, "bucket_bytes": 4 * 24 * 24, "compression": {"kind": "onebit"}, **QUICK}
    meets("allreduce", 4, cores=2, **options)
    assert 1 < ratio("allreduce", 4, steps=1, cores=1, **options) < 1.2


@pytest.mark.parametrize("code", ["threshold", "onebit"])
def test_what_values_or_schedules_decide_is_an_estimate(code):
    """Where no values are, messages are as long as is expected, and the form is met all the same."""
    more = {"uncompressed_steps": 4} if code == "onebit" else {}
    compression = {"kind": code, **more}
    assert closed_form(make("allreduce", 4, model=MATRICES, compression=compression)).meaning == "estimate"
    if code == "threshold":
        assert ratio("allreduce", 4, steps=1, model=MATRICES, compression=compression, **QUICK) == pytest.approx(1)


def test_uneven_shards_are_an_estimate_and_bytes_are_met():
    options = {"model": {"kind": "mlp", "width": 25, "depth": 3}, "compression": {"kind": "onebit"}}
    assert ratio("allreduce", 4, steps=1, **options) == pytest.approx(1, rel=0.05)
    assert ratio("parameter_server", 6, steps=1, workers=4, servers=2, **options) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("order", ["combine_then_adapt", "adapt_then_combine"])
def test_gossip_in_half_precision_is_exact(order):
    meets("dpsgd", 4, model=MATRICES, compression={"kind": "fp16"}, order=order, **QUICK)


@pytest.mark.parametrize("code", [name for name in FIXED if not COMPRESSORS[name].keeps_error])
def test_gossip_of_changes_is_exact(code):
    options = {"order": "adapt_then_combine", "consensus": 0.5, "model": MATRICES}
    meets("dpsgd", 4, compression={"kind": code}, **options, **QUICK)


@pytest.mark.parametrize("options", [{}, {"graph": "ring"}, {"graph": "complete"}])
def test_pushes_in_half_precision_are_exact(options):
    meets("sgp", 4, steps=2, model=MATRICES, compression={"kind": "bf16"}, **options, **QUICK)


@pytest.mark.parametrize("graph", ["ring", "complete"])
@pytest.mark.parametrize("code", [name for name in FIXED if not COMPRESSORS[name].keeps_error])
def test_pushed_changes_are_exact(code, graph):
    meets("sgp", 4, graph=graph, model=MATRICES, compression={"kind": code}, **QUICK)
