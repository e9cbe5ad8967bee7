"""Synchronous SGD through a parameter server: sequential SGD whatever the servers; all workers equal at every step."""

import pytest
import torch

from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.program import Context
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, updates_of, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, RULES, meets

SERVERS = [1, 2, 3, 0]


def exact(kind, hosts, model, steps, **settings):
    pin_threads()
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


@pytest.mark.parametrize("servers", SERVERS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_equals_sequential_in_every_bit_whatever_the_servers(servers, momentum):
    model, steps = EXACT_MODELS["two layers"]
    rule = {"kind": "sgd", "lr": 0.125, "momentum": momentum}
    whole = weights(exact("sequential", 1, model, steps, batch=16, optimizer=rule), range(1))
    for speeds in ({}, {0: 0.3, 2: 2.0}):  # other orders of arrival
        work = {"workers": 4, "servers": servers, "batch": 4, "optimizer": rule, "speeds": speeds}
        result = exact("parameter_server", 7, model, steps, **work)
        assert torch.equal(weights(result, range(4, 4 + (servers or 4))), whole)


def test_all_workers_hold_the_same_parameters_in_every_step(monkeypatch):
    pin_threads()
    held = {}
    gradient = Context.gradient

    def spy(self, parameters, batch, into):
        held.setdefault(batch.step, []).append(parameters.values.clone())
        return (yield from gradient(self, parameters, batch, into))

    monkeypatch.setattr(Context, "gradient", spy)
    run("parameter_server", 5, workers=3, servers=2, data={"kind": "digits"}, learn=True, steps=3, speeds={1: 0.5})
    for copies in held.values():
        assert len(copies) == 3
        assert all(torch.equal(copy, copies[0]) for copy in copies)
    assert not torch.equal(held[0][0], held[2][0])


@pytest.mark.parametrize("servers", SERVERS)
def test_bytes_messages_and_staleness(servers):
    """2 P bytes and 2 S messages per worker and step (SCHEMES 12), 2 N P / S bytes at a server; nothing is stale."""
    workers, steps, nbytes = 3, 4, 4 * 4096
    summary = run("parameter_server", 6, workers=workers, servers=servers, steps=steps).summary
    shards = servers or workers
    assert summary["bytes_sent_per_worker_per_step"] + summary["bytes_received_per_worker_per_step"] == 2 * nbytes
    assert summary["messages_sent_per_worker_per_step"] == summary["messages_received_per_worker_per_step"] == shards
    server = summary["roles"]["server"]
    both_ways = server["bytes_sent_per_step"] + server["bytes_received_per_step"]
    assert both_ways == pytest.approx(2 * workers * nbytes / shards)
    assert summary["staleness"]["histogram"] == {0: steps * workers * shards}
    assert summary["updates"] == steps


def test_a_server_waits_for_all_and_adds_in_the_order_of_the_workers():
    result = run("parameter_server", 4, workers=3, steps=2, speeds={0: 0.1})
    assert updates_of(result, 3) == [(worker, version, version) for version in (0, 1) for worker in (0, 1, 2)]


@pytest.mark.parametrize(("workers", "servers", "hosts"), [(1, 1, 2), (4, 1, 5), (3, 2, 5), (2, 4, 6), (4, 0, 4)])
@pytest.mark.parametrize("rule", RULES)
def test_closed_form_is_exact(workers, servers, hosts, rule):
    meets("parameter_server", hosts, workers=workers, servers=servers, model=LAYERS, optimizer=rule, launch=1e-6)


def test_closed_form_is_that_of_the_catalogue():
    """``T_c + 2 alpha + 2 max(1, N/S) P beta`` (SCHEMES S2.5), and additions at 3 words of memory traffic each."""
    form = closed_form(make("parameter_server", 6, workers=4, servers=2, model=LAYERS))
    compute = closed_form(make("sequential", 1, model=LAYERS)).seconds_per_step - 3 * 4 * 10080 / 1e9
    nbytes = 4 * 10080
    server = (3 + 1) * 3 * nbytes / 2 / 1e9
    expected = compute + 2 * 2e-5 + 2 * (4 / 2) * nbytes / 1e8 + server
    assert form.seconds_per_step == pytest.approx(expected, rel=1e-9)


def test_workers_take_the_hosts_that_servers_leave():
    assert make("parameter_server", 5, servers=2).scheme.options.workers == 3
    beside = make("parameter_server", 5, servers=0)
    assert beside.scheme.options.workers == 5
    assert beside.placement == (0, 1, 2, 3, 4) * 2


@pytest.mark.real
@pytest.mark.parametrize(("workers", "servers"), [(3, 1), (2, 0)])
def test_real_runs_give_the_same_bits(workers, servers, pool):
    same_in_both(learning("parameter_server", workers=workers, servers=servers), pool)


def test_scenario_has_its_expected_outcome():
    """Equal losses; less time by 2 (max(1, N/S) - max(1, N/S')) P beta, and by what less there is to add and update."""
    seconds, losses = golden("schemes_parameter_server"), golden("schemes_parameter_server", "loss")
    nbytes, beta, memory = 35328, 8e-9, 5e9
    saved = 2 * (4 - 2) * nbytes * beta + (1 - 1 / 2) * 4 * 3 * nbytes / memory
    assert seconds["one server"] - seconds["two servers"] == pytest.approx(saved, rel=0.05)  # the last pull is missing
    assert seconds["a server beside each worker"] < seconds["ring all-reduce"] < seconds["two servers"]
    for variant in losses.values():
        assert variant["last"] == pytest.approx(losses["one server"]["last"], rel=1e-5)
        assert variant["last"] < 0.7 * variant["first"]
