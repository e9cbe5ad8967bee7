"""Limits of parallelism, the survey's forms, work and depth: against searches, graphs and the simulator."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.errors import ProgramError
from parasim.theory import survey
from parasim.theory.limits import amdahl_speedup, data_parallel_limit, seide_limit
from parasim.theory.survey import Mlp
from parasim.theory.work_depth import WorkDepth, convolution, fully_connected, mlp_step, pooling
from tests.schemes_setup import run, steady


# limits --------------------------------------------------------------------------------------------------------------
@given(st.integers(1, 9), st.integers(1, 2000), st.integers(1, 4096), st.floats(1e9, 1e14), st.floats(1e7, 1e11))
def test_at_the_limit_the_ring_takes_as_long_as_computing(layers, width, batch, flops, bandwidth):
    """For many workers, whatever the network (without latency)."""
    mlp = Mlp(layers, width, batch, 1 / flops, 0.0, 1 / bandwidth)
    limit = data_parallel_limit(batch, flops, bandwidth)
    assert mlp.compute_seconds / limit == pytest.approx(2 * mlp.parameter_bytes / bandwidth)
    assert data_parallel_limit(batch, flops, bandwidth, compression=32) == pytest.approx(32 * limit)


def test_the_published_case():
    """46 million parameters at 122 us a frame on a K20X, b = 1024: 0.4 to 2.7 workers (SCHEMES 0.3)."""
    flops = 6 * 46e6 / 122e-6
    assert flops == pytest.approx(2.3e12, rel=0.02)
    assert data_parallel_limit(1024, flops, 1.2e9) == pytest.approx(0.4, abs=0.05)
    assert data_parallel_limit(1024, flops, 8e9) == pytest.approx(2.7, abs=0.05)


def test_seide_limit_balances_half_a_batch():
    limit = seide_limit(1024, 122e-6, 0.2, post_seconds=9e-3, update_seconds=4e-3, compression=16)
    computing = (512 * 122e-6 + 9e-3) / limit
    assert computing == pytest.approx(0.2 / 16 - 4e-3)
    with pytest.raises(ProgramError, match="the update limits the speed-up; see amdahl_speedup"):
        seide_limit(1024, 122e-6, 0.1, update_seconds=4e-3, compression=32)


@given(st.floats(0.001, 0.999), st.integers(1, 10**6))
def test_amdahl(serial, workers):
    assert amdahl_speedup(workers, serial) == pytest.approx(1 / (serial + (1 - serial) / workers))
    assert amdahl_speedup(1, serial) == pytest.approx(1)
    assert amdahl_speedup(workers, serial) <= min(workers, 1 / serial) * (1 + 1e-9)


# the survey ----------------------------------------------------------------------------------------------------------
CLUSTER = {"flops": 1e9, "memory_bandwidth": 1e18, "bandwidth": 1e8, "latency": 1e-5}
LAYERS, WIDTH = 4, 32


def mlp(batch, *, alpha=2e-5, beta=1e-8):
    """The default network and cluster of these tests; the star has two links on each way."""
    return Mlp(LAYERS, WIDTH, batch, 1e-9, alpha, beta)


def slope(kind, hosts, scale, **options):
    """What so many more samples add to a step: updates and reductions, which the survey leaves out, cancel."""
    model = {"kind": "mlp", "width": WIDTH, "depth": LAYERS}
    few, many = (
        steady(kind, hosts, model=model, batch=batch, **{**CLUSTER, **options})[0] for batch in (16, 16 * scale)
    )
    return many - few


def test_sequential_and_all_reduce_compute_as_the_survey_says():
    found = slope("sequential", 1, 4)
    assert found == pytest.approx(survey.sequential(mlp(64)).seconds - survey.sequential(mlp(16)).seconds, rel=1e-9)
    forms = [survey.all_reduce(mlp(workers_batch), 8).seconds for workers_batch in (8 * 16, 8 * 64)]
    assert slope("allreduce", 8, 4) == pytest.approx(forms[1] - forms[0], rel=1e-9)


def test_all_reduce_communicates_as_the_survey_says():
    """Ten times slower links and longer cables, less the same with both as they are: the two terms of the ring."""
    near = run("allreduce", 8, steps=1, **CLUSTER).summary
    far = run("allreduce", 8, steps=1, **{**CLUSTER, "bandwidth": 1e7, "latency": 1e-3}).summary
    forms = [survey.all_reduce(mlp(128, **wire), 8) for wire in ({}, {"alpha": 2e-3, "beta": 1e-7})]
    assert far["seconds"] - near["seconds"] == pytest.approx(forms[1].seconds - forms[0].seconds, rel=1e-9)
    assert near["bytes_sent_per_worker_per_step"] == pytest.approx(forms[0].bytes_per_worker)


def test_gpipe_is_as_the_survey_says():
    """Where transfers are shorter than passes. All stages but the last repeat a forward pass while they wait."""
    wire, quick = {"alpha": 2e-7, "beta": 1e-9}, {"latency": 1e-7, "bandwidth": 1e9}
    for micros, recompute in itertools.product((2, 8), (False, True)):
        few, many = (survey.gpipe(mlp(batch, **wire), 4, micros, recompute=recompute).seconds for batch in (16, 64))
        found = slope("gpipe", 4, 4, micro_batches=micros, recompute=recompute, **quick)
        hidden = 3 * 2 * (48 / micros) * WIDTH**2 / 1e9 if recompute else 0.0
        assert found == pytest.approx(many - few - hidden, rel=1e-9)
    inner = survey.gpipe(mlp(16), 4, 4).bytes_per_worker
    sent = run("gpipe", 4, steps=1, micro_batches=4, **CLUSTER).summary["bytes_sent_per_worker_per_step"]
    assert sent == pytest.approx(inner * 3 / 4)  # three boundaries, four stages


def test_downpour_and_adpsgd_are_as_the_survey_says():
    wires = [{"bandwidth": 1e8, "latency": 1e-5}, {"bandwidth": 5e7, "latency": 2e-5}]
    times = [steady("downpour", 2, workers=1, **{**CLUSTER, **wire})[0] for wire in wires]
    forms = [survey.downpour(mlp(16, alpha=2 * w["latency"], beta=1 / w["bandwidth"]), 1).seconds for w in wires]
    assert times[1] - times[0] == pytest.approx(forms[1] - forms[0], rel=1e-9)
    assert survey.downpour(mlp(16), 5).staleness == 4
    slow = [{**CLUSTER, "bandwidth": 1e5, "latency": latency} for latency in (1e-5, 1e-3)]
    times = [steady("adpsgd", 2, cores=2, **cluster)[0] for cluster in slow]
    forms = [survey.adpsgd(mlp(16, alpha=2 * c["latency"], beta=1e-5), 2).seconds for c in slow]
    assert times[1] - times[0] == pytest.approx(2 * (forms[1] - forms[0]), rel=1e-9)  # there and back, not at once
    assert math.isnan(survey.adpsgd(mlp(16), 2).staleness)


def test_the_survey_of_servers():
    assert survey.parameter_server(mlp(16), 4, 4).seconds == pytest.approx(
        survey.sequential(mlp(16)).seconds / 4 + 4e-5 + 2 * 16384 * 1e-8
    )
    crowded = survey.parameter_server(mlp(16), 4).seconds - survey.parameter_server(mlp(16), 4, 4).seconds
    assert crowded == pytest.approx(3 * 2 * 16384 * 1e-8)


@given(st.integers(1, 64))
def test_one_worker_is_sequential(batch):
    free = Mlp(3, 8, batch, 1e-9, 0.0, 0.0)
    alone = survey.sequential(free).seconds
    assert survey.all_reduce(free, 1) == survey.StepCost(pytest.approx(alone), 0.0)
    for form in (
        survey.downpour(free, 1),
        survey.parameter_server(free, 1),
        survey.gpipe(free, 1, 4),
        survey.adpsgd(free, 1),
    ):
        assert form.seconds == pytest.approx(alone)


# work and depth ------------------------------------------------------------------------------------------------------
def summed(depths):
    """Depth of a sum of terms that are there at these depths, the earliest two first."""
    depths = sorted(depths)
    while len(depths) > 1:
        first, second, *rest = depths
        depths = sorted([*rest, max(first, second) + 1])
    return depths[0]


def graph_of_mlp(layers, width, samples):
    """Multiply-adds and depth (of sums alone) of a training step, node by node."""
    work, at = 0, [[0] * width for _ in range(samples)]
    entering = []
    for _ in range(layers):
        entering.append(at)
        work += samples * width * width
        at = [[summed(row) for _ in range(width)] for row in at]
    deepest = 0
    for layer in reversed(range(layers)):
        work += 2 * samples * width * width
        for i, j in itertools.product(range(width), range(width)):
            deepest = max(deepest, summed([max(entering[layer][s][i], at[s][j]) for s in range(samples)]))
        at = [[summed(row) for _ in range(width)] for row in at]
        deepest = max(deepest, *(max(row) for row in at))
    return work, deepest


@pytest.mark.parametrize(("layers", "width", "samples"), [(1, 2, 1), (1, 5, 4), (2, 3, 7), (3, 4, 2), (2, 4, 8)])
def test_an_mlp_step_node_by_node(layers, width, samples):
    """The form lets the gradients to the first layer's weights wait for those to its inputs: log2 n more at most."""
    work, depth = graph_of_mlp(layers, width, samples)
    form = mlp_step(layers, width, samples)
    assert form.work == work == 3 * samples * layers * width**2
    assert form.depth == 2 * layers * (width - 1).bit_length() + (samples - 1).bit_length()
    assert depth <= form.depth <= depth + (width - 1).bit_length()


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_a_fully_connected_layer_is_a_convolution_of_one_point(samples, inputs, outputs):
    point = (1, 1)
    assert convolution(samples, (inputs, outputs), point, point, point) == fully_connected(samples, inputs, outputs)


def test_convolution_and_pooling_count_what_they_do():
    forward, weights, inputs = convolution(2, (3, 8), (9, 9), (3, 3), (7, 7))
    positions = list(itertools.product(range(2), range(3), range(8), range(3), range(3), range(7), range(7)))
    assert forward.work == weights.work == len(positions)
    assert inputs.work == 2 * 3 * 8 * 9 * 81
    assert (forward.depth, weights.depth, inputs.depth) == (2 + 2 + 2, 1 + 3 + 3, 2 + 2 + 3)
    assert pooling(2, 8, (2, 2), (3, 3)) == WorkDepth(2 * 8 * 9 * 4, 2)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40), st.integers(1, 10))
def test_greedy_schedules_keep_brents_bounds(chains, processors):
    """Chains of unit operations, the longest first on p processors."""
    whole = WorkDepth(0.0, 0.0)
    for length in chains:
        whole = whole.beside(WorkDepth(length, length))
    left, seconds = list(chains), 0
    while left:
        left.sort(reverse=True)
        left = [length - (place < processors) for place, length in enumerate(left)]
        left = [length for length in left if length]
        seconds += 1
    low, high = whole.bounds(processors)
    assert low <= seconds <= high
    assert whole.parallelism == sum(chains) / max(chains)
    assert whole.then(whole) == WorkDepth(2 * whole.work, 2 * whole.depth)
