"""Gradients to servers in code: the identity changes nothing, every code works, bytes are the law's."""

import pytest
import torch

from parasim.compression import COMPRESSORS
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.schemes import SCHEMES
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run

MODEL, STEPS = EXACT_MODELS["two layers"]
PARAMETERS = 16 * 8 + 8 * 4
SERVED = {
    "parameter_server": {"servers": 2},
    "backup_workers": {"servers": 2, "backups": 1},
    "k_sync": {"k": 2},
    "k_batch_sync": {"k": 2},
    "k_async": {"k": 2},
    "k_batch_async": {"k": 2},
    "downpour": {"servers": 2, "n_push": 2},
    "ssp": {"slack": 1, "servers": 2},
    "softsync": {},
    "dcasgd": {},
    "compute_groups": {"groups": 2, "workers": 4},
    "dynsgd": {},
    "agn": {},
    "adag": {"scaled_by": "server"},
}
"""Schemes whose workers send gradients to servers, with some options."""


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def served(kind, compression=None, **settings):
    """Workers of different speeds, so that no two events are at the same time; what coding costs takes no time."""
    options = {"model": MODEL, "data": EXACT_DATA, "batch": 4, "steps": STEPS, "memory_bandwidth": 1e30}
    speeds = {0: 1.0, 1: 0.9, 2: 0.83}
    return run(kind, 6, compression=compression, speeds=speeds, **options | {"workers": 3} | SERVED[kind] | settings)


def same_returns(one, other):
    for mine, yours in zip(one.returns, other.returns, strict=True):
        assert (mine is None) == (yours is None)
        assert mine is None or torch.equal(torch.as_tensor(mine), torch.as_tensor(yours))


def test_schemes_with_servers_are_all_tested():
    assert set(SERVED) == {name for name, scheme in SCHEMES.items() if scheme.compresses == "messages"}


@pytest.mark.parametrize("kind", SERVED)
def test_the_identity_changes_no_bit_of_any_scheme(kind):
    options = {"dtype": "float64", "learn": True, "trace": "aggregate"}
    plain = served(kind, **options)
    for both_ways in ("auto", False):
        coded = served(kind, {"kind": "identity", "both_ways": both_ways}, **options)
        same_returns(plain, coded)
        assert coded.summary["seconds"] == pytest.approx(plain.summary["seconds"], rel=1e-9)


@pytest.mark.parametrize("kind", ["parameter_server", "downpour", "k_async"])
@pytest.mark.parametrize("code", COMPRESSORS)
def test_every_code_can_be_sent_to_servers(code, kind):
    data = {"data": {"kind": "classification"}, "model": {"kind": "mlp", "depth": 2, "width": 24}, "learn": True}
    result = served(kind, {"kind": code}, **data)
    assert result.summary["loss"]["last"] == result.summary["loss"]["last"]  # no NaN


@pytest.mark.parametrize(
    ("compression", "up", "down"),
    [
        ({"kind": "identity"}, 4, 4),
        ({"kind": "fp16"}, 2, 2),
        ({"kind": "fp16", "both_ways": False}, 2, 4),
        ({"kind": "signsgd"}, 1 / 8, 4),
        ({"kind": "topk", "density": 0.1}, 8 / 10, 4),
    ],
)
def test_bytes_are_those_of_the_law(compression, up, down):
    summary = served("parameter_server", compression).summary
    assert summary["bytes_sent_per_worker_per_step"] == pytest.approx(up * PARAMETERS)
    assert summary["bytes_received_per_worker_per_step"] == pytest.approx(down * PARAMETERS)


def test_pulled_parameters_keep_no_error():
    """Of parameters that stay as they are, each pull brings the same half-precision numbers."""
    still = {"kind": "sgd", "lr": 2.0**-200}
    code = {"kind": "fp16", "error_feedback": True, "both_ways": True}
    options = {"learn": True, "optimizer": still, "data": {"kind": "regression"}, "model": {"kind": "mlp", "depth": 2}}
    first, last = (served("parameter_server", code, steps=steps, **options).returns for steps in (1, 2))
    for worker in range(3):
        assert (first[worker] == first[worker].astype("float16")).all()
        assert (first[worker] == last[worker]).all()


def test_a_server_counts_votes():
    """All workers move by the learning rate at once, whatever the gradients are."""
    rule = {"kind": "sgd", "lr": 0.25}
    options = {"learn": True, "dtype": "float64", "optimizer": rule, "steps": 1, "servers": 1}
    moved = served("parameter_server", {"kind": "signsgd"}, **options).returns[-1]
    still = served("parameter_server", **options | {"optimizer": {"kind": "sgd", "lr": 2.0**-200}}).returns[-1]
    assert set(abs(moved - still).tolist()) == {0.25}


@pytest.mark.parametrize("kind", ["parameter_server", "downpour", "softsync", "k_async"])
@pytest.mark.parametrize("code", ["fp16", "topk"])
def test_fast_paths_change_nothing(kind, code):
    one, other = (served(kind, {"kind": code}, fast_paths=paths, steps=5).summary for paths in ("all", "none"))
    for figure in ("seconds", "bytes_sent_per_worker_per_step", "shares"):
        assert one[figure] == pytest.approx(other[figure], rel=1e-12)
    assert one["staleness"] == other["staleness"]


@pytest.mark.real
@pytest.mark.parametrize("compression", [{"kind": "fp16"}, {"kind": "onebit"}])
def test_real_runs_send_the_same_bytes_and_learn_the_same_bits(compression, pool):
    same_in_both(learning("parameter_server", 3, compression=compression, steps=3, workers=2, servers=1), pool)


def test_pulls_of_parameters_need_a_code_for_them():
    with pytest.raises(ScenarioError, match="servers send parameters, and topk is for gradients: write auto"):
        make("downpour", compression={"kind": "topk", "both_ways": True})
    with pytest.raises(ScenarioError, match="models as they are, and topk is for gradients: use identity, fp16, bf16"):
        make("adag", compression={"kind": "topk"}, scaled_by="message")
