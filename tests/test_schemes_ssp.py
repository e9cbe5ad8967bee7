"""SSP: a barrier at slack 0, Downpour without bound, and the gap of clocks at every clock in between."""

import itertools

import pytest
import torch

from parasim.learning.build import pin_threads
from parasim.theory.staleness import stale_synchronous_window
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, run, updates_of, weights
from tests.test_scenarios import golden

NOISE = {"kind": "lognormal", "sigma": 0.6}
CHEAP = {"bandwidth": 1e15, "latency": 0.0, "memory_bandwidth": 1e15, "batch": 4096}
"""Next to gradients all else takes no time: 1e-4 of it at most."""


def step_ends(result, rank):
    return [row.t_end for row in result.trace if row.rank == rank and row.label == "step"]


# limits --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("servers", [1, 2])
def test_slack_0_equals_synchronous_sgd_of_sums_in_every_bit(servers, service):
    """SCHEMES 17: S10 with s = 0 is S2 in the sum form: S1 at the batch of all workers and N times the rate."""
    pin_threads()
    model, steps = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": steps}
    options = {"workers": 4, "servers": servers, "service": service, "slack": 0, "batch": 4, "speeds": {1: 0.4}}
    result = run("ssp", 6, noise=NOISE, optimizer={"kind": "sgd", "lr": 2.0**-5}, **options, **work)
    whole = run("sequential", 1, batch=16, optimizer={"kind": "sgd", "lr": 2.0**-3}, **work)
    assert torch.equal(weights(result, range(4, 4 + servers)), weights(whole, range(1)))
    assert {read % 4 for _, read, _ in updates_of(result, 4)} == {0}


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize(("cache", "n_fetch"), [(False, 1), (True, 100)])
def test_slack_without_bound_equals_downpour_in_every_bit(cache, n_fetch, service):
    """SCHEMES 17: S10 with s = infinity is S9; with the cache, S9 that fetches once."""
    pin_threads()
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "noise": NOISE}
    options = {"workers": 3, "servers": 2, "service": service, **work}
    unbounded = run("ssp", 5, slack=100, cache=cache, **options)
    downpour = run("downpour", 5, n_fetch=n_fetch, **options)
    assert torch.equal(weights(unbounded, range(5)), weights(downpour, range(5)))
    assert updates_of(unbounded, 3) == updates_of(downpour, 3)
    assert unbounded.summary["seconds"] == downpour.summary["seconds"]


# clocks --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("slack", [0, 1, 3])
def test_no_clock_returns_more_than_the_slack_ahead(slack, cache, service):
    """At every clock() but a worker's last, at each server; and reads hold all updates that the bound promises."""
    workers, steps = 4, 16
    options = {"workers": workers, "servers": 2, "service": service, "slack": slack, "cache": cache}
    result = run("ssp", 6, steps=steps, noise=NOISE, speeds={2: 0.3}, **options)
    pushed = {server: dict.fromkeys(range(workers), 0) for server in (4, 5)}
    clocks, gaps = dict.fromkeys(range(workers), 0), []
    for row in result.trace:
        if row.label == "applied":
            pushed[row.rank][row.peer] += 1
        elif row.label == "step":
            clocks[row.rank] += 1
            if clocks[row.rank] < steps:
                gaps += [clocks[row.rank] - min(of.values()) for of in pushed.values()]
    assert max(gaps) == slack
    for server in (4, 5):
        applied = updates_of(result, server)
        done = dict.fromkeys(range(workers), 0)
        for worker, read, version in applied:
            seen = [other for other, _, _ in applied[:read]]
            for other in range(workers):
                if other != worker:  # one's own are in the cache
                    assert seen.count(other) >= done[worker] - slack
            missed = [other for other, _, _ in applied[read:version] if other != worker]
            assert len(missed) <= stale_synchronous_window(workers, slack)
            done[worker] += 1


@pytest.mark.parametrize("slack", [1, 4])
def test_workers_of_equal_speed_never_wait_for_each_other(slack):
    unbounded, bounded = (run("ssp", 5, workers=4, steps=10, slack=s, cache=False) for s in (100, slack))
    assert bounded.summary["seconds"] == unbounded.summary["seconds"]
    assert updates_of(bounded, 4) == updates_of(unbounded, 4)


def test_the_first_clocks_are_free_and_then_all_go_at_the_pace_of_the_slowest():
    """One worker takes 5 times as long: the others are s clocks ahead at first, and then take its time per clock."""
    slack, steps = 3, 12
    result = run("ssp", 4, workers=3, steps=steps, slack=slack, speeds={1: 1 / 5}, **CHEAP)
    fast, slow = step_ends(result, 0), step_ends(result, 1)
    unit = slow[0] / 5
    assert fast[:slack] == pytest.approx([unit * clock for clock in range(1, slack + 1)], rel=1e-4)
    ahead = range(slack + 1, steps)  # the last clock waits for nobody
    for clock in ahead:
        assert fast[clock - 1] == pytest.approx(slow[clock - slack - 1], rel=1e-4)


@pytest.mark.parametrize("slack", [0, 1, 3])
def test_pulls_lie_between_one_per_clock_and_one_per_slack_and_a_clock(slack):
    """SCHEMES S10.5; of one worker alone one in s + 1 clocks."""
    steps = 24
    alone = run("ssp", 2, workers=1, steps=steps, slack=slack).summary
    assert alone["messages_received_per_worker_per_step"] == -(-steps // (slack + 1)) / steps
    several = run("ssp", 4, workers=3, steps=steps, slack=slack, noise=NOISE).summary
    assert 1 / (slack + 1) <= several["messages_received_per_worker_per_step"] <= 1
    assert several["messages_sent_per_worker_per_step"] == 1
    assert several["bytes_sent_per_worker_per_step"] == 4 * 4096


# scenario ------------------------------------------------------------------------------------------------------------
def test_scenario():
    """What scenarios/schemes/ssp.yaml expects."""
    seconds, shares = golden("schemes_ssp"), golden("schemes_ssp", "shares")
    loss, received = golden("schemes_ssp", "loss"), golden("schemes_ssp", "bytes_received_per_worker_per_step")
    names = ["slack 0", "slack 1", "slack 3", "slack 10"]
    for tight, loose in itertools.pairwise(names):
        assert seconds[loose] < seconds[tight]
        assert shares[loose]["transfer"] + shares[loose]["wait"] < shares[tight]["transfer"] + shares[tight]["wait"]
        assert received[loose] < received[tight]
    assert all(found["last"] < 0.6 * found["first"] for found in loss.values())
