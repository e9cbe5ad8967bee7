"""What all asynchronous schemes with servers have in common: laws, traffic, closed forms, and both runtimes."""

from dataclasses import replace

import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.schemes import SCHEMES
from parasim.schemes.asynchronous import Asynchronous
from tests.schemes_real import (
    executed,
    learning,
    same_in_both,
    same_payload,
    same_weights,
    same_when_replayed,
    versions,
)
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, updates_of, weights
from tests.test_schemes_downpour import NOISES, window

CASES = {  # scheme, options, vectors as long as the parameters that a worker pushes and fetches per step
    "downpour": ("downpour", {}, 1, 1),
    "downpour, warm start": ("downpour", {"warm_start": 2}, 1, 1),
    "downpour, threads": ("downpour", {"threads": True}, 1, 1),
    "downpour, every other step": ("downpour", {"n_push": 2, "n_fetch": 2}, 1 / 2, 1 / 2),
    "ssp": ("ssp", {"slack": 50, "cache": False}, 1, 1),
    "ssp, a barrier": ("ssp", {"slack": 0}, 1, 1),
    "softsync": ("softsync", {"n": 1}, 1, 1),
    "dcasgd, constant": ("dcasgd", {"adaptive": False, "strength": 0.04}, 1, 1),
    "dcasgd, adaptive": ("dcasgd", {}, 1, 1),
    "compute_groups": ("compute_groups", {"groups": 3}, 1, 1),
    "dynsgd": ("dynsgd", {"local_steps": 2}, 1 / 2, 1 / 2),
    "agn": ("agn", {"local_steps": 2}, 1 / 2, 1 / 2),
    "adag, message": ("adag", {"local_steps": 2, "scaled_by": "message"}, 1, 1 / 2),
    "adag, server": ("adag", {"local_steps": 2, "scaled_by": "server"}, 1 / 2, 1 / 2),
    "adag, worker": ("adag", {"local_steps": 2, "scaled_by": "worker", "normalise": True}, 1 / 2, 1),
}
ALONE = {  # what equals sequential SGD with one worker
    "ssp": ("ssp", {"slack": 0}),
    "softsync": ("softsync", {}),
    "dcasgd, constant": ("dcasgd", {"adaptive": False, "strength": 0.04}),
    "dcasgd, adaptive": ("dcasgd", {}),
    "compute_groups": ("compute_groups", {}),
    "dynsgd": ("dynsgd", {"local_steps": 1}),
    "agn": ("agn", {"local_steps": 1}),
    "adag, message": ("adag", {"local_steps": 1, "scaled_by": "message"}),
    "adag, server": ("adag", {"local_steps": 1, "scaled_by": "server"}),
    "adag, worker": ("adag", {"local_steps": 1, "scaled_by": "worker"}),
}
REAL = {
    "downpour, warm start": ("downpour", {"warm_start": 2, "servers": 2}),
    "downpour, zealous": ("downpour", {"zealous": 3, "service": "serial"}),
    "downpour, threads": ("downpour", {"threads": True}),
    "ssp, cached": ("ssp", {"slack": 1, "service": "serial"}),
    "softsync": ("softsync", {"n": 1, "workers": 3}),
    "dcasgd, adaptive": ("dcasgd", {}),
    "compute_groups": ("compute_groups", {"groups": 2}),
    "dynsgd": ("dynsgd", {"local_steps": 2}),
    "agn": ("agn", {"local_steps": 2, "service": "serial"}),
    "adag, message": ("adag", {"local_steps": 2, "scaled_by": "message", "service": "serial"}),
    "adag, worker": ("adag", {"local_steps": 2, "scaled_by": "worker", "normalise": True}),
}
ALSO_REAL = {  # with more shards, or eager fetches
    "ssp": ("ssp", {"slack": 50, "cache": False, "service": "serial"}),
    "dcasgd, two shards": ("dcasgd", {"servers": 2}),
    "adag, two shards": ("adag", {"local_steps": 2, "scaled_by": "worker", "servers": 2}),
}
SERVICES = pytest.mark.parametrize("service", ["serial", "concurrent"])
RULES = ({"kind": "sgd", "lr": 0.125}, {"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adagrad", "lr": 0.05})


def test_every_relative_is_here():
    relatives = {name for name, scheme in SCHEMES.items() if issubclass(scheme, Asynchronous)}
    assert {kind for kind, *_ in CASES.values()} == relatives
    assert {kind for kind, *_ in ALONE.values()} == relatives - {"downpour"}  # of it: tests/test_schemes_equality.py


# one worker ----------------------------------------------------------------------------------------------------------
@SERVICES
@pytest.mark.parametrize("name", ALONE)
def test_one_worker_equals_sequential_in_every_bit(name, service):
    """SCHEMES 17: S10 to S13 and S17 with N = 1 (and lambda = 1) are S1."""
    pin_threads()
    kind, options = ALONE[name]
    for rule in RULES:
        work = {"data": {"kind": "digits"}, "learn": True, "batch": 32, "steps": 5, "optimizer": rule}
        result = run(kind, 3, workers=1, servers=2, service=service, **options, **work)
        assert torch.equal(weights(result, range(1, 3)), weights(run("sequential", 1, **work), range(1)))
        assert result.summary["staleness"]["histogram"] == {0: 10}


# closed forms --------------------------------------------------------------------------------------------------------
@SERVICES
@pytest.mark.parametrize("name", [*CASES, "ssp, cached"])
def test_one_worker_meets_its_closed_form(name, service):
    """To 1e-9, traffic too; a barrier of serial service is called an estimate, as it is one for several workers."""
    kind, options, *_ = {**CASES, "ssp, cached": ("ssp", {"slack": 2})}[name]
    options = {**options, "workers": 1, "servers": 2, "service": service, "launch": 1e-6}
    if kind == "compute_groups":
        options["groups"] = 1
    form, met = closed_form(make(kind, 3, **options)), steady(kind, 3, steps=6, **options)
    assert form.exact or (kind, service) == ("ssp", "serial")
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))


@SERVICES
@pytest.mark.parametrize("name", CASES)
def test_several_workers_are_bound_by_their_closed_form(name, service):
    kind, options, *_ = CASES[name]
    options = {**options, "workers": 3, "servers": 2, "service": service, "bandwidth": 1e7}
    form, met = closed_form(make(kind, 5, **options)), steady(kind, 5, steps=12, **options)
    if form.exact:
        assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    elif form.meaning == "lower bound":
        assert form.seconds_per_step * (1 - 1e-9) <= met[0] <= (form.at_most or float("inf")) * (1 + 1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))


# traffic -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_payload_is_that_of_the_table_of_schemes(name):
    """SCHEMES 12: 4 L n^2 bytes up and as many down per push and fetch, in S messages each; S12.5 of ADAG's."""
    kind, options, pushed, fetched = CASES[name]
    met = [run(kind, 6, workers=3, servers=2, steps=n, **options).summary for n in (6, 12)]
    for direction, vectors in (("sent", pushed), ("received", fetched)):
        for figure, unit in (("bytes", 4 * 4096), ("messages", 2)):
            short, long = (one[f"{figure}_{direction}_per_worker_per_step"] * one["steps"] for one in met)
            assert (long - short) / 6 == pytest.approx(vectors * unit)


# staleness -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("speeds", "service"), [({}, "serial"), ({0: 0.1, 2: 2.5}, "concurrent")], ids=["equal", "unequal"]
)
@pytest.mark.parametrize("name", [*[name for name in ALONE if name != "ssp"], "ssp, unbounded"])
def test_mean_staleness_is_one_less_than_the_workers(name, speeds, service):
    """The law of SCHEMES 4, for one update per gradient: N - 1, whatever the speeds."""
    kind, options = {**ALONE, "ssp, unbounded": ("ssp", {"slack": 1000, "cache": False})}[name]
    workers, steps = 4, 12
    more = {"compute_groups": {"groups": workers}, "softsync": {"n": workers}}.get(kind, {})
    options = {**options, **more, "workers": workers, "service": service, "steps": steps, "noise": NOISES[1]}
    result = run(kind, workers + 1, speeds=speeds, **options)
    total, updates = window(updates_of(result, workers), workers, steps)
    assert abs(total - (workers - 1) * updates) <= workers**2


# both runtimes -------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("name", [*REAL, *(pytest.param(name, marks=pytest.mark.slow) for name in ALSO_REAL)])
def test_real_runs_have_the_simulated_payload_and_are_replayed_exactly(name, pool, tmp_path):
    kind, options = {**REAL, **ALSO_REAL}[name]
    options = {"workers": 2, "servers": 1, "optimizer": {"kind": "sgd", "lr": 0.1}, **options}
    case = learning(kind, **options)
    real = same_when_replayed(case, pool, tmp_path / "record.json")
    if name not in ("downpour, zealous", "ssp, cached"):  # how often these push or fetch depends on who is how far
        same_payload(real, parasim.simulate(case))
    if name in ("downpour, warm start", "dcasgd, adaptive", "compute_groups"):
        for server in range(2, 2 + options["servers"]):
            applied = updates_of(real, server)
            total, updates = window(applied, 2, case.run.steps)
            # The law (N - 1) U presumes that all begin together; a busy machine may let the other push for long before.
            first_reads = {worker: read for worker, read, _ in reversed(applied)}
            assert total == updates - sum(first_reads.values())


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        *("downpour", "ssp", "softsync", "dcasgd, adaptive", "compute_groups", "dynsgd", "adag, server"),
        pytest.param("agn", marks=pytest.mark.slow),
    ],
)
def test_one_real_worker_equals_sequential_in_every_bit(name, pool):
    """The rows of SCHEMES 17 with N = 1, for real."""
    kind, options = {**ALONE, "downpour": ("downpour", {})}[name]
    rule = RULES[1]
    real = same_in_both(learning(kind, workers=1, servers=1, steps=3, optimizer=rule, **options), pool)
    alone = parasim.simulate(learning("sequential", hosts=1, workers=1, steps=3, optimizer=rule))
    assert real.returns[1].tobytes() == alone.returns[0].tobytes()


def synchronous_limit(kind, rate, **options):
    """Two workers that learn with exact numbers, and the weights of S1 at the batch of both."""
    model, steps = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": steps}
    case = make(kind, 3, workers=2, servers=1, batch=8, optimizer={"kind": "sgd", "lr": rate}, **options, **work)
    return case, weights(run("sequential", 1, batch=16, **work), range(1))


@pytest.mark.real
def test_a_real_group_of_all_equals_sequential_in_every_bit(pool):
    """S17 with g = 1 is S3."""
    case, alone = synchronous_limit("compute_groups", 0.125, groups=1)
    real = executed(case, pool)
    same_payload(real, parasim.simulate(case))
    assert torch.equal(weights(real, range(2, 3)), alone)


@pytest.mark.real
def test_real_workers_without_slack_are_synchronous_from_the_second_clock_on(pool, tmp_path):
    """S10 with s = 0 is S2 in the sum form, so S1, if nobody is late at the start.

    The first read waits for nobody: one that a busy machine holds up may find what the other has pushed meanwhile.
    """
    case, alone = synchronous_limit("ssp", 0.0625, slack=0)
    real = same_when_replayed(case, pool, tmp_path / "record.json")
    same_payload(real, parasim.simulate(case))
    reads = [[read for by, read, _ in updates_of(real, 2) if by == worker] for worker in (0, 1)]
    for first, *others in reads:
        assert first in (0, 1)
        assert others == [2 * clock for clock in range(1, case.run.steps)]
    late = any(first for first, *_ in reads)
    assert torch.equal(weights(real, range(2, 3)), alone) or late


LIMITS = {
    "softsync, n = lambda": ("softsync", {"n": 3, "rate": "constant"}),
    "dcasgd, strength 0": ("dcasgd", {"adaptive": False, "strength": 0.0}),
    "agn, lambda = 1": ("agn", {"local_steps": 1}),
    "ssp, no bound": ("ssp", {"slack": 1000, "cache": False}),
    "groups of one": ("compute_groups", {"groups": 3}),
}


@pytest.mark.real
@pytest.mark.parametrize("name", LIMITS)
def test_real_limits_are_downpour_in_every_bit(name, pool, tmp_path):
    """SCHEMES 17: a real run of the limit, and Downpour by the same order of arrivals: versions, weights, losses."""
    kind, options = LIMITS[name]
    more = {"workers": 3, "servers": 1, "optimizer": RULES[1]}
    real = executed(learning(kind, **options, **more), pool, tmp_path / "record.json")
    record = replace(parasim.Record.load(tmp_path / "record.json"), meta={})  # of who was recorded
    downpour = parasim.simulate(learning("downpour", **more), replay=record)
    same_payload(real, downpour)
    same_weights(real, downpour)
    assert versions(real) == versions(downpour)
    assert real.summary["loss"] == downpour.summary["loss"]
