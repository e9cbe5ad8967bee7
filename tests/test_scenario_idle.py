"""Nothing that a file says of its scheme is ignored without a word."""

import warnings

import pytest

from parasim import ScenarioWarning
from tests.schemes_setup import make


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "allreduce",
            {"rows": 2},
            "scheme.rows: has no effect: rows are of algorithm: torus or hierarchical, not ring",
        ),
        ("local_sgd", {"algorithm": "binomial", "rows": 2}, "scheme.rows: has no effect"),
        ("allreduce", {"overlap": False, "bucket_bytes": 64}, "scheme.bucket_bytes: has no effect: without overlap"),
        ("dpsgd", {"workers": 2, "graph": "line", "matrix": [[0.5, 0.5], [0.5, 0.5]]}, "scheme.graph: has no effect"),
        ("hogwild", {"workers": 1, "touched": 2, "parts": 4}, "scheme.touched: has no effect: of support: all"),
        ("dcasgd", {"adaptive": False, "decay": 0.5}, "scheme.decay: has no effect: a constant strength"),
        (
            "compute_groups",
            {"workers": 2, "groups": 2, "algorithm": "naive"},
            "scheme.algorithm: has no effect: a group",
        ),
        (
            "allreduce",
            {"algorithm": "binomial", "compression": {"kind": "topk"}},
            r"scheme.algorithm: has no effect: in compression topk nothing is all-reduced \(aggregation: gather\)",
        ),
        (
            "pipe_sgd",
            {"algorithm": "naive", "compression": {"kind": "onebit"}},
            r"scheme.algorithm: has no effect: in compression onebit nothing is all-reduced \(aggregation: server\)",
        ),
    ],
)
def test_what_has_no_effect_is_said(kind, options, message):
    hosts = 1 if kind == "hogwild" else 4
    with pytest.warns(ScenarioWarning, match=message):
        make(kind, hosts, **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("allreduce", {"rows": 0, "overlap": False, "bucket_bytes": 25 * 2**20}),  # as it is anyway
        ("allreduce", {"algorithm": "torus", "rows": 2}),
        ("allreduce", {"algorithm": "binomial", "compression": {"kind": "fp16"}}),
        ("allreduce", {"algorithm": "ring", "compression": {"kind": "topk"}}),
        ("hogwild", {"workers": 1, "support": "drawn", "touched": 2, "parts": 4}),
        ("compute_groups", {"workers": 2, "groups": 1, "algorithm": "naive"}),
    ],
)
def test_what_has_an_effect_is_not(kind, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(kind, 1 if kind == "hogwild" else 4, **options)
