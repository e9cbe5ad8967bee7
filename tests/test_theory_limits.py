"""Limits of parallelism, work and depth: against searches and graphs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.errors import ProgramError
from parasim.theory.limits import amdahl_speedup, data_parallel_limit, seide_limit
from parasim.theory.work_depth import WorkDepth, convolution, fully_connected, mlp_step, pooling


# limits --------------------------------------------------------------------------------------------------------------
@given(st.integers(1, 9), st.integers(1, 2000), st.integers(1, 4096), st.floats(1e9, 1e14), st.floats(1e7, 1e11))
def test_at_the_limit_the_ring_takes_as_long_as_computing(layers, width, batch, flops, bandwidth):
    """For many workers, whatever the network (without latency)."""
    limit = data_parallel_limit(batch, flops, bandwidth)
    computing, exchanging = 6 * batch * layers * width**2 / flops, 8 * layers * width**2 / bandwidth
    assert computing / limit == pytest.approx(exchanging)
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
    assert pooling(2, 8, (2, 2), (3, 3)).forward == WorkDepth(2 * 8 * 9 * 4, 2)


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
