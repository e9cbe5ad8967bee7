"""Queues and parameter servers: against balance equations and the simulator."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim import closed_form
from parasim.errors import ProgramError
from parasim.theory.collectives import parameter_server_seconds
from parasim.theory.parameter_server import (
    Servers,
    asynchronous_throughput,
    asynchronous_worst_seconds,
    synchronous_step_seconds,
)
from parasim.theory.queueing import closed_network, mean_value_analysis
from tests.schemes_setup import make, steady

TIMES = st.floats(0.01, 10)


def machine_repairman(workers, think, service):
    """Throughput of one exponential server and exponential thinking, by its birth and death equations."""
    states = [1.0]
    for waiting in range(workers):
        states.append(states[-1] * (workers - waiting) / think * service)
    return (1 - states[0] / sum(states)) / service


def two_stations(workers, first, second):
    """Throughput of two exponential stations in a circle, from the generator of its Markov chain."""
    size = workers + 1
    generator = np.zeros((size, size))
    for at_first in range(size):
        if at_first:
            generator[at_first, at_first - 1] += 1 / first
        if at_first < workers:
            generator[at_first, at_first + 1] += 1 / second
        generator[at_first, at_first] = -generator[at_first].sum()
    equations = np.vstack([generator.T, np.ones(size)])
    shares = np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]
    return (1 - shares[0]) / first


@given(st.integers(1, 30), TIMES, TIMES)
def test_mean_value_analysis_of_the_machine_repairman(workers, think, service):
    found = mean_value_analysis(workers, think, [service])
    assert found == pytest.approx(machine_repairman(workers, think, service), rel=1e-9)


@given(st.integers(1, 12), TIMES, TIMES)
def test_mean_value_analysis_of_two_stations(workers, first, second):
    found = mean_value_analysis(workers, 0.0, [first, second])
    assert found == pytest.approx(two_stations(workers, first, second), rel=1e-6)


@given(st.integers(1, 50), TIMES, st.lists(TIMES, max_size=4))
def test_bounds_hold_the_estimate_and_more_workers_do_more(workers, think, demands):
    here, more = closed_network(workers, think, demands), closed_network(workers + 1, think, demands)
    slack = 1 + 1e-12
    assert here.lower <= here.estimate * slack
    assert here.estimate <= here.upper * slack
    assert here.estimate <= more.estimate * slack
    assert here.upper <= more.upper * slack
    if demands:  # the two parts of the upper bound meet at N*
        alone = 1 / (think + sum(demands))
        assert here.saturation * alone == pytest.approx(1 / max(demands))
    else:
        assert here.saturation == math.inf
    assert closed_network(1, think, demands).upper == pytest.approx(closed_network(1, think, demands).lower)


def test_networks_that_cannot_be_are_refused():
    with pytest.raises(ProgramError, match="a closed network of 0 workers: give 1 or more"):
        closed_network(0, 1.0, [1.0])
    for think, demands in ((-1.0, [2.0]), (0.0, [0.0])):
        with pytest.raises(ProgramError, match="times must be 0 or more, and not all 0"):
            mean_value_analysis(1, think, demands)


# parameter servers ---------------------------------------------------------------------------------------------------
def test_synchronous_steps_are_push_and_pull():
    assert synchronous_step_seconds(5.0, 8, 2, 100, 1, 1, 1) == 5 + parameter_server_seconds(8, 2, 100, 1, 1, 1)
    assert synchronous_step_seconds(5.0, 1, 1, 100, 0.5, 0.1) == 5 + 1 + 20


@given(st.integers(1, 40), st.integers(1, 8), TIMES, TIMES, st.floats(0, 5))
def test_asynchronous_throughput_is_bracketed(workers, shards, compute, wire, apply):
    servers = Servers(shards, 1000, 0.01, wire / 1000, apply)
    found = asynchronous_throughput(compute, workers, servers)
    assert found.lower <= found.estimate * (1 + 1e-12) <= found.upper * (1 + 1e-9)
    assert found.lower == pytest.approx(workers / asynchronous_worst_seconds(compute, workers, servers))
    alone = servers.alone_seconds(compute)
    assert alone == pytest.approx(compute + 0.02 + 2 * wire + apply)
    assert found.upper == pytest.approx(min(workers / alone, 1 / max(wire / shards, apply)))
    assert found.saturation == pytest.approx(alone / max(wire / shards, apply))


SWEEP = (1, 2, 4, 6, 8, 12, 24)
STEPS = 16


def sweep(**options):
    """Gradients per second of all workers far from the start, by number of workers, and the theory of it."""
    shards = options.get("servers", 1)
    found = {}
    for workers in SWEEP:
        given_ = {
            "workers": workers,
            "servers": shards,
            "batch": 512,
            "bandwidth": 1e7,
            "trace": "aggregate",
            **options,
        }
        form = closed_form(make("downpour", workers + shards, **given_))
        rate = workers / steady("downpour", workers + shards, steps=STEPS, **given_)[0]
        found[workers] = form, rate
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"servers": 2, "bandwidth": 4e6},
        {"service": "serial"},
        {"bandwidth": 1e8, "memory_bandwidth": 5e7, "batch": 128},
    ],
)
def test_downpour_saturates_where_theory_says(options):
    """Bounds bracket every number of workers; the servers' capacity is never passed, however many there are."""
    found = sweep(**options)
    shards, concurrent = options.get("servers", 1), options.get("service") != "serial"
    alone = found[1][0].seconds_per_step
    capacity = SWEEP[-1] / found[SWEEP[-1]][0].seconds_per_step
    for workers, (form, rate) in found.items():
        assert rate <= min(workers / alone, capacity) * (1 + 1e-9)
        assert rate * (1 + 1e-9) >= workers / (form.at_most or form.seconds_per_step)
    scenario = make(
        "downpour", 1 + shards, workers=1, servers=shards, batch=512, bandwidth=options.get("bandwidth", 1e7)
    )
    nbytes, bandwidth = scenario.workload.model.whole.nbytes, options.get("bandwidth", 1e7)
    apply = (5 if concurrent else 3) * nbytes / shards / options.get("memory_bandwidth", 1e9)
    if concurrent:  # the wire in one direction, or the update with the copy that it replies
        busy = max(nbytes / shards / bandwidth, apply)
    else:
        busy = 2 * (2e-5 + nbytes / bandwidth) + apply
    assert capacity == pytest.approx(1 / busy, rel=1e-9)
    saturation = alone * capacity
    assert 2 < saturation < SWEEP[-1] / 2, "the sweep must go far beyond N*"
    if not concurrent:  # served in turn, without gaps
        beyond = [rate for workers, (_, rate) in found.items() if workers >= 2 * saturation]
        assert beyond == [pytest.approx(capacity, rel=1e-9)] * len(beyond)


def test_one_worker_is_alone():
    for service in ("serial", "concurrent"):
        form = closed_form(make("downpour", 2, workers=1, service=service))
        assert form.exact
        assert (form.at_most, form.about) == (None, None)
