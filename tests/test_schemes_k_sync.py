"""K-sync and K-batch-sync: K gradients of one version in every update, and nobody waits for the slowest."""

import itertools

import pytest
import torch

from parasim import closed_form, simulate
from parasim.learning.build import pin_threads
from parasim.theory.order_statistics import harmonic
from tests.schemes_real import executed, learning, same_payload, same_when_replayed
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, updates_of, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, RULES, meets

EXPONENTIAL = {"kind": "gamma", "shape": 1.0}
MANY_LAYERS = {
    "kind": "layers",
    "layers": [{"parameters": 4, "forward_flops": 1e4, "output_elements": 1, "repeat": 12}],
}
FREE = {"bandwidth": 1e15, "latency": 0.0, "memory_bandwidth": 1e15}


def exact(kind, hosts, model, steps, **settings):
    pin_threads()
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("kind", ["k_sync", "k_async"])
def test_k_of_k_workers_are_sequential_sgd_in_every_bit(kind, servers):
    model, steps = EXACT_MODELS["two layers"]
    whole = weights(exact("sequential", 1, model, steps, batch=16), range(1))
    result = exact(kind, 7, model, steps, workers=4, servers=servers, k=4, batch=4, speeds={1: 0.4})
    assert torch.equal(weights(result, range(4, 4 + servers)), whole)
    assert result.summary["staleness"]["histogram"] == {0: 4 * steps * servers}
    assert result.summary["messages_sent_per_worker_per_step"] == servers


@pytest.mark.parametrize(("kind", "k"), [("k_sync", 2), ("k_batch_sync", 5)])
def test_every_shard_takes_k_gradients_of_its_version_whoever_comes_first_there(kind, k):
    """One of three shards shares a worker's link: others come first there."""
    steps, workers, servers = 20, 5, 3
    options = {"workers": workers, "servers": servers, "k": k, "steps": steps, "noise": EXPONENTIAL}
    placement = {"worker": list(range(workers)), "server": [5, 6, 0]}
    result = run(kind, 7, bandwidth=3e7, placement=placement, **options)
    shards = [updates_of(result, workers + shard) for shard in range(servers)]
    for updates in shards:
        assert [version for _, _, version in updates] == [v for v in range(steps) for _ in range(k)]
        assert all(read == applied for _, read, applied in updates)
    assert shards[0] != shards[2]


@pytest.mark.parametrize(("kind", "k"), [("k_sync", 1), ("k_sync", 3), ("k_batch_sync", 3), ("k_batch_sync", 9)])
def test_every_update_takes_k_gradients_of_its_version(kind, k):
    steps, workers = 20, 5
    speeds = {0: 4.0} if kind == "k_batch_sync" else {}  # so fast that it pushes twice before others have once
    result = run(kind, 6, workers=workers, k=k, steps=steps, noise=EXPONENTIAL, speeds=speeds)
    updates = updates_of(result, workers)
    assert all(read == applied for _, read, applied in updates)
    groups = [[peer for peer, _, _ in group] for _, group in itertools.groupby(updates, lambda update: update[2])]
    assert [len(group) for group in groups] == [k] * steps
    distinct = [len(set(group)) == k for group in groups]
    assert all(distinct) == (kind == "k_sync")
    assert result.summary["updates"] == result.summary["steps"] == steps


def test_the_slowest_are_cancelled_and_hold_nothing():
    """A worker of a tenth of the speed never pushes; its time is that of cancelled work, layer by layer."""
    result = run("k_sync", 4, workers=3, k=2, steps=6, speeds={2: 0.1}, model=MANY_LAYERS)
    assert {peer for peer, _, _ in updates_of(result, 3)} == {0, 1}
    sent = [row for row in result.trace if row.rank == 2 and row.op == "Send"]
    assert sent == []
    full = run("parameter_server", 4, workers=3, steps=6, speeds={2: 0.1}, model=MANY_LAYERS)
    assert result.summary["seconds"] < 0.4 * full.summary["seconds"]
    held = [row for row in result.trace if row.rank == 2 and row.buffer == "activations"]
    assert {row.label for row in held} == {"hold", "release"}
    assert sum(row.held_bytes for row in held) == 0


@pytest.mark.parametrize(("workers", "k", "servers"), [(4, 4, 1), (4, 2, 1), (5, 1, 1), (4, 4, 2), (4, 2, 3)])
def test_closed_form_is_exact_where_all_take_equally_long(workers, k, servers):
    for rule in RULES if servers == 1 else RULES[:1]:
        options = {"workers": workers, "servers": servers, "k": k, "model": LAYERS, "optimizer": rule}
        meets("k_sync", workers + servers, launch=1e-6, **options)


@pytest.mark.parametrize("k", [1, 8])
def test_time_of_an_update_is_the_order_statistic(k):
    """Of sums of 24 exponential times (24 layers' passes); what is under way when news come ends first: at most one."""
    options = {"workers": 8, "k": k, "model": MANY_LAYERS, "noise": EXPONENTIAL, **FREE}
    form = closed_form(make("k_sync", 9, **options)).seconds_per_step
    met = run("k_sync", 9, steps=25, trace="aggregate", **options).summary["seconds_per_step"]
    kernel = 16 * 2e4 / 1e9
    assert 0.9 * form < met < 1.1 * form + 3 * kernel  # the longest of 8 exponential remainders: H_8 = 2.7


@pytest.mark.parametrize(("kind", "workers", "k"), [("k_sync", 8, 5), ("k_batch_sync", 4, 6)])
def test_first_update_of_exponential_times_follows_the_closed_law(kind, workers, k):
    """(H_N - H_(N-K)) / lambda and K / (N lambda) (SCHEMES S4.2): a gradient is one kernel, and all begin together.

    Over 80 seeds, within 3 of the mean's deviations. Later updates begin late with who had a kernel under way.
    """
    model = {"kind": "layers", "layers": [{"parameters": 4, "forward_flops": 1e6, "input_flops": 0, "weight_flops": 0}]}
    options = {"workers": workers, "k": k, "model": model, "noise": EXPONENTIAL, "steps": 1, **FREE}
    mean = 16 * 1e6 / 1e9
    if kind == "k_sync":
        law = mean * (harmonic(workers) - harmonic(workers - k))
        variance = mean**2 * sum(1 / rest**2 for rest in range(workers - k + 1, workers + 1))
        assert closed_form(make(kind, workers + 1, **options)).seconds_per_step == pytest.approx(law, rel=1e-3)
    else:
        law, variance = mean * k / workers, mean**2 * k / workers**2
    times = [
        max(row.t_end for row in run(kind, workers + 1, seed=seed, **options).trace if row.label == "applied")
        for seed in range(80)
    ]
    assert abs(sum(times) / 80 - law) < 3 * (variance / 80) ** 0.5


def test_k_batch_sync_takes_k_times_a_gradient_over_n():
    """K / (N lambda) (SCHEMES S4.2), once K is several per worker; the bound says so, cancelled work costs more."""
    options = {"workers": 4, "k": 40, "model": MANY_LAYERS, "noise": EXPONENTIAL, **FREE}
    form = closed_form(make("k_batch_sync", 5, **options)).seconds_per_step
    met = run("k_batch_sync", 5, steps=10, trace="aggregate", **options).summary["seconds_per_step"]
    assert form == pytest.approx(40 / 4 * 24 * 16 * 1.5e4 / 1e9, rel=0.1)
    assert form < met < 1.15 * form


def test_more_workers_than_there_are_are_refused():
    for kind in ("k_sync", "k_async"):
        with pytest.raises(ValueError, match=f"k 4 gradients of different workers: there are 3; use {kind[0]}_batch_"):
            make(kind, 4, k=4)


def test_scenario_has_its_expected_outcome():
    seconds, stale = golden("schemes_k_sync"), golden("schemes_k_sync", "staleness")
    assert seconds["2 of 8"] < seconds["6 of 8"] < seconds["8 of 8"]
    assert seconds["any 8"] < 0.8 * seconds["8 of 8"]
    assert all(figures["max"] == 0 for figures in stale.values())


@pytest.mark.real
def test_payload_is_equal_in_both_runtimes_where_nothing_is_cancelled(pool):
    case = learning("k_sync", workers=3, k=3)
    same_payload(executed(case, pool), simulate(case))


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "workers", "k", "servers"), [("k_sync", 3, 2, 1), ("k_batch_sync", 3, 4, 1), ("k_sync", 2, 1, 2)]
)
def test_a_recorded_real_run_is_replayed_exactly(kind, workers, k, servers, pool, tmp_path):
    case = learning(kind, workers=workers, k=k, servers=servers, steps=8)
    same_when_replayed(case, pool, tmp_path / "run.json")
