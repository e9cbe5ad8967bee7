"""Backup workers: N gradients of one version in every update, no time lost to the e slowest, no deadlock up to e."""

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

FREE = {"bandwidth": 1e15, "latency": 0.0, "memory_bandwidth": 1e15}
"""Messages and updates that take no time."""
SLOW_NOW_AND_THEN = {"kind": "mixture", "probability": 0.2, "slowdown": 8.0}
NEVER = 1e-6
"""Speed of a worker that is as good as dead."""


def exact(kind, hosts, model, steps, **settings):
    pin_threads()
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


def update_times(result, server):
    """When each version came to be."""
    rows = [row for row in result.trace if row.rank == server and row.label == "applied"]
    return [max(row.t_end for row in group) for _, group in itertools.groupby(rows, lambda row: row.version_applied)]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_without_backups_it_is_sequential_sgd_in_every_bit(momentum):
    model, steps = EXACT_MODELS["two layers"]
    rule = {"kind": "sgd", "lr": 0.125, "momentum": momentum}
    whole = weights(exact("sequential", 1, model, steps, batch=16, optimizer=rule), range(1))
    for kind, options in (("backup_workers", {"backups": 0}), ("parameter_server", {})):
        for servers in (1, 3):
            work = {"workers": 4, "servers": servers, "batch": 4, "optimizer": rule, "speeds": {1: 0.4}, **options}
            assert torch.equal(weights(exact(kind, 7, model, steps, **work), range(4, 4 + servers)), whole)


@pytest.mark.parametrize("backups", [0, 1, 3])
def test_every_update_takes_n_gradients_of_its_version(backups):
    steps, workers = 30, 6
    result = run("backup_workers", 7, workers=workers, backups=backups, steps=steps, noise=SLOW_NOW_AND_THEN)
    updates = updates_of(result, workers)
    assert [version for _, _, version in updates] == [v for v in range(steps) for _ in range(workers - backups)]
    for version in range(steps):
        peers = [peer for peer, _, applied in updates if applied == version]
        assert len(set(peers)) == workers - backups
    assert all(read == applied for _, read, applied in updates)
    assert len({peer for peer, _, _ in updates}) == workers  # not always the same ones
    assert result.summary["updates"] == result.summary["steps"] == steps


def test_every_shard_takes_n_gradients_of_its_version_whoever_comes_first_there():
    """One of three shards shares a worker's link: others come first there, and who is behind is asked."""
    steps, workers, servers = 30, 6, 3
    options = {"workers": workers, "backups": 3, "servers": servers, "steps": steps, "noise": SLOW_NOW_AND_THEN}
    placement = {"worker": list(range(workers)), "server": [6, 7, 0]}
    result = run("backup_workers", 8, bandwidth=3e7, placement=placement, **options)
    shards = [updates_of(result, workers + shard) for shard in range(servers)]
    for updates in shards:
        assert [version for _, _, version in updates] == [v for v in range(steps) for _ in range(workers - 3)]
        assert all(read == applied for _, read, applied in updates)
    assert len({tuple(sorted(updates)) for updates in shards}) > 1
    assert result.summary["control_messages_per_worker_per_step"] > 0
    assert result.summary["updates"] == result.summary["steps"] == steps


@pytest.mark.parametrize("seed", range(4))
def test_never_later_than_any_n_workers_alone(seed):
    """Of the same draws, version by version: by the time that N given workers have pushed, N have. (Messages: 1e-7.)"""
    options = {"steps": 20, "noise": SLOW_NOW_AND_THEN, "seed": seed, **FREE}
    backed = update_times(run("backup_workers", 6, workers=5, backups=2, **options), 5)
    alone = update_times(run("backup_workers", 4, workers=3, backups=0, **options), 3)  # the first 3, with their draws
    assert len(backed) == len(alone) == 20
    assert all(one <= other * (1 + 1e-6) for one, other in zip(backed, alone, strict=True))
    assert backed[-1] < 0.8 * alone[-1]


def test_a_dead_worker_is_a_backup_less():
    options = {"steps": 8, "noise": SLOW_NOW_AND_THEN, **FREE}
    one_dead = update_times(run("backup_workers", 7, workers=6, backups=2, speeds={5: NEVER}, **options), 6)
    one_less = update_times(run("backup_workers", 6, workers=5, backups=1, **options), 5)
    assert one_dead == pytest.approx(one_less, rel=1e-6)


def test_one_more_dead_than_there_are_backups_and_nothing_goes_on():
    """Nobody dies in this language, so the first update comes when the first of the dead ones has come to life."""
    options = {"steps": 2, "workers": 5, "backups": 1, **FREE}
    alive = update_times(run("backup_workers", 6, speeds={4: NEVER}, **options), 5)
    stuck = update_times(run("backup_workers", 6, speeds={3: NEVER, 4: NEVER}, **options), 5)
    assert stuck[0] > 1e5 * alive[-1]


def test_bytes_and_messages_of_workers_that_are_never_late():
    """2 P per worker and update (SCHEMES 12: all N + e together 2 P (N + e)), of which a late one's push is wasted."""
    steps, nbytes = 6, 4 * 4096
    summary = run("backup_workers", 6, workers=5, backups=2, steps=steps).summary
    assert summary["bytes_sent_per_worker_per_step"] == summary["bytes_received_per_worker_per_step"] == nbytes
    assert summary["messages_sent_per_worker_per_step"] == summary["messages_received_per_worker_per_step"] == 1
    assert summary["staleness"]["count"] == 3 * steps
    assert summary["staleness"]["histogram"] == {0: 3 * steps}


@pytest.mark.parametrize(("workers", "backups", "servers"), [(4, 0, 1), (4, 1, 1), (6, 3, 1), (4, 1, 2), (3, 1, 4)])
def test_closed_form_is_exact_where_all_take_equally_long(workers, backups, servers):
    for rule in RULES:
        options = {"model": LAYERS, "optimizer": rule, "launch": 1e-6, "servers": servers}
        meets("backup_workers", workers + servers, workers=workers, backups=backups, **options)


def test_exponential_times_follow_the_harmonic_law():
    """(H_{N+e} - H_e) / lambda if all begin together (SCHEMES S4.1.5); late ones do not, which costs a little."""
    model = {"kind": "layers", "layers": [{"parameters": 4, "forward_flops": 1e6, "input_flops": 0, "weight_flops": 0}]}
    options = {"model": model, "noise": {"kind": "gamma", "shape": 1.0}, "trace": "aggregate", "workers": 10, **FREE}
    mean = 16 * 1e6 / 1e9
    for backups, most in ((0, 1.1), (2, 1.35)):
        scenario = make("backup_workers", 11, backups=backups, steps=150, **options)
        law = mean * (harmonic(10) - harmonic(backups))
        assert closed_form(scenario).seconds_per_step == pytest.approx(law, rel=1e-3)
        seconds = run("backup_workers", 11, backups=backups, steps=150, **options).summary["seconds_per_step"]
        assert 0.9 < seconds / law < most


def test_too_many_backups_are_refused():
    with pytest.raises(ValueError, match="4 of 4 workers are backups: leave one or more that are required"):
        make("backup_workers", 5, backups=4)


def test_a_few_backups_are_best_of_a_hundred_workers():
    """S4.1.8: an interior maximum at a few percent; its 4 to 6 hold for workers that are never late for two updates."""
    rate = golden("schemes_backup_workers", "samples_per_second")
    assert list(rate) == ["10 backups", "2 backups", "20 backups", "4 backups", "6 backups", "no backups"]
    best = max(rate["6 backups"], rate["10 backups"])
    assert rate["no backups"] < 0.5 * best
    assert rate["no backups"] < rate["2 backups"] < rate["4 backups"] < 0.95 * best
    assert rate["20 backups"] < 0.95 * best


@pytest.mark.real
def test_real_workers_without_backups_are_sequential_sgd_in_every_bit(pool):
    """Gradients are added as they come, so numbers must be exact (SCHEMES 0.5)."""
    model, steps = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": steps}
    case = make("backup_workers", 3, workers=2, backups=0, batch=8, **work)
    real = executed(case, pool)
    same_payload(real, simulate(case))
    assert torch.equal(weights(real, range(2, 3)), weights(run("sequential", 1, batch=16, **work), range(1)))


@pytest.mark.real
@pytest.mark.parametrize(("workers", "servers"), [(3, 1), (2, 2)])
def test_a_recorded_real_run_is_replayed_exactly(workers, servers, pool, tmp_path):
    case = learning("backup_workers", workers=workers, backups=1, servers=servers, steps=8)
    real = same_when_replayed(case, pool, tmp_path / "run.json")
    assert real.summary["staleness"]["histogram"] == {0: (workers - 1) * servers * 8}
