"""K-async and K-batch-async: every gradient is used once, K to an update; the laws of staleness for any speeds."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim import simulate
from parasim.learning.build import pin_threads
from tests.schemes_real import EQUAL, learning, same_when_replayed
from tests.schemes_setup import make, run, steady, updates_of, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, RULES, closed_form, meets

EXPONENTIAL = {"kind": "gamma", "shape": 1.0}
ONE_KERNEL = {
    "kind": "layers",
    "layers": [{"parameters": 4, "forward_flops": 1e6, "input_flops": 0, "weight_flops": 0}],
}
FREE = {"bandwidth": 1e15, "latency": 0.0, "memory_bandwidth": 1e15}


@given(data=st.data())
@settings(deadline=None, max_examples=12)
def test_every_gradient_is_used_once_k_to_an_update(data):
    workers, steps = data.draw(st.integers(1, 5)), 8
    kind = data.draw(st.sampled_from(["k_async", "k_batch_async"]))
    k = data.draw(st.integers(1, workers if kind == "k_async" else workers + 2))
    speeds = data.draw(st.dictionaries(st.integers(0, workers - 1), st.sampled_from([0.1, 0.4, 3.0])))
    result = run(kind, workers + 1, workers=workers, k=k, steps=steps, speeds=speeds, noise=EXPONENTIAL)
    updates = updates_of(result, workers)
    assert sorted(peer for peer, _, _ in updates) == sorted(list(range(workers)) * steps)
    sizes = [len(list(group)) for _, group in itertools.groupby(updates, lambda update: update[2])]
    assert max(sizes) <= k
    if kind == "k_batch_async":
        assert sizes[:-1] == [k] * (len(sizes) - 1)  # the last takes what is left
    assert [version for version, _ in itertools.groupby(u[2] for u in updates)] == list(range(len(sizes)))
    assert all(read <= applied for _, read, applied in updates)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["k_async", "k_batch_async"])
def test_all_shards_use_every_gradient_once_and_no_workers_wait_in_a_circle(kind, seed):
    """Shards on links of unequal speed: gradients come in different orders, which waiting workers must not notice."""
    options = {"workers": 3, "servers": 3, "k": 2, "steps": 12, "noise": EXPONENTIAL, "bandwidth": 1e7, "seed": seed}
    placement = {"worker": [0, 1, 2], "server": [1, 2, 0]}
    result = run(kind, 3, placement=placement, **options)
    shards = [updates_of(result, rank) for rank in (3, 4, 5)]
    for updates in shards:
        assert sorted(peer for peer, _, _ in updates) == sorted([0, 1, 2] * 12)
    assert (shards[0] == shards[1] == shards[2]) == (kind == "k_async")
    assert result.summary["bytes_sent_per_worker_per_step"] == 4 * 4096
    assert result.summary["messages_sent_per_worker_per_step"] == 3


@pytest.mark.parametrize("speeds", [{}, {0: 0.2}, {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_mean_staleness_of_k_batch_async(k, speeds):
    """(N - 1) / K while all workers run; the sum over U updates up to N**2 (SCHEMES 4)."""
    workers = 4
    result = run("k_batch_async", 5, workers=workers, k=k, steps=40, speeds=speeds, noise=EXPONENTIAL)
    updates = updates_of(result, workers)
    first_end = min(max(v for p, _, v in updates if p == peer) for peer in range(workers))
    counted = [applied - read for _, read, applied in updates if applied < first_end]
    pending = [min(read for p, read, applied in updates if p == peer and applied >= first_end) for peer in range(4)]
    open_ends = sum(first_end - min(read, first_end) for read in pending)
    assert abs(sum(counted) + open_ends - (workers - 1) * len(counted) / k) <= workers**2


@pytest.mark.parametrize("speeds", [{}, {0: 0.2}, {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_mean_staleness_of_k_async(k, speeds):
    """A worker reads right after one of its updates, so versions between two of them are the staleness: N/K - 1."""
    workers = 4
    result = run("k_async", 5, workers=workers, k=k, steps=40, speeds=speeds, noise=EXPONENTIAL)
    updates = updates_of(result, workers)
    for peer in range(workers):
        own = [(read, applied) for p, read, applied in updates if p == peer]
        assert [read for read, _ in own] == [0, *(applied + 1 for _, applied in own[:-1])]
    first_end = min(max(v for p, _, v in updates if p == peer) for peer in range(workers))
    counted = [applied - read for _, read, applied in updates if applied < first_end]
    assert sum(counted) / len(counted) == pytest.approx(workers / k - 1, abs=workers**2 / len(counted))


def test_one_worker_is_sequential_sgd_in_every_bit():
    pin_threads()
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "optimizer": RULES[1]}
    whole = weights(run("sequential", 1, **work), range(1))
    for kind in ("k_async", "k_batch_async"):
        assert torch.equal(weights(run(kind, 2, workers=1, k=1, **work), range(1, 2)), whole)


def test_bytes_and_messages():
    steps, nbytes = 6, 4 * 4096
    for kind in ("k_async", "k_batch_async"):
        summary = run(kind, 4, workers=3, k=2, steps=steps).summary
        assert summary["bytes_sent_per_worker_per_step"] == summary["bytes_received_per_worker_per_step"] == nbytes
        assert summary["messages_sent_per_worker_per_step"] == summary["messages_received_per_worker_per_step"] == 1


@pytest.mark.parametrize("rule", RULES)
def test_closed_form_of_all_workers_is_exact(rule):
    meets("k_async", 5, workers=4, k=4, model=LAYERS, optimizer=rule, launch=1e-6)


@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize(
    ("kind", "k", "servers"),
    [
        *(("k_async", 1, 3), ("k_async", 2, 1), ("k_async", 2, 3)),
        *(("k_batch_async", 2, 1), ("k_batch_async", 2, 3), ("k_batch_async", 5, 1)),
    ],
)
def test_closed_form_is_a_lower_bound(kind, k, servers, bandwidth):
    options = {"workers": 4, "k": k, "servers": servers, "model": LAYERS, "bandwidth": bandwidth}
    form, met = closed_form(make(kind, 7, **options)), steady(kind, 7, steps=20, **options)
    assert form.meaning == "lower bound"
    assert form.seconds_per_step * (1 - 1e-9) <= met[0] < 2.5 * form.seconds_per_step  # two rounds, one after the other
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, servers))


def test_k_batch_async_updates_every_k_over_n_gradients():
    """K / (N lambda) of exponential times (SCHEMES S4.2): 4 workers never wait; 5 % for 400 draws and the end."""
    result = run("k_batch_async", 5, workers=4, k=3, steps=100, model=ONE_KERNEL, noise=EXPONENTIAL, **FREE)
    rows = [row for row in result.trace if row.rank == 4 and row.label == "applied"]
    middle = [row.t_end for row in rows if row.version_applied == 100]
    assert middle[0] / 101 == pytest.approx(3 / 4 * 16 * 1e6 / 1e9, rel=0.15)


def test_scenario_has_its_expected_outcome():
    stale = {variant: figures["mean"] for variant, figures in golden("schemes_k_async", "staleness").items()}
    seconds = golden("schemes_k_async", "seconds")
    assert stale["wait for 6"] == 0
    assert stale["wait for 3"] == pytest.approx(6 / 3 - 1, abs=0.2)
    assert stale["any 3"] == pytest.approx(5 / 3, abs=0.4)
    assert stale["one by one"] == pytest.approx(5, abs=1)
    assert seconds["any 3"] < seconds["wait for 3"] < seconds["wait for 6"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "workers", "servers"), [("k_async", 3, 1), ("k_batch_async", 3, 1), ("k_async", 2, 2)]
)
def test_a_recorded_real_run_is_replayed_exactly(kind, workers, servers, pool, tmp_path):
    case = learning(kind, workers=workers, servers=servers, k=workers - 1, steps=8)
    real = same_when_replayed(case, pool, tmp_path / "run.json")
    assert real.summary["staleness"]["count"] == workers * servers * 8
    same_bytes_and_messages(real, simulate(case))


def same_bytes_and_messages(one, other):
    """The number of updates differs: the last ones of a run may be of fewer gradients, as they come."""
    for figure in (figure for figure in EQUAL if figure != "updates"):
        assert one.summary[figure] == pytest.approx(other.summary[figure], rel=1e-12), figure
