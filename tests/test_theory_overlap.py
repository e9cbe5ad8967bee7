"""Overlap of buckets with the backward pass, against a small scheduler and the simulator."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim import closed_form
from parasim.errors import ProgramError
from parasim.theory.overlap import best_bucket_bytes, fill_buckets, overlap
from tests.schemes_setup import make, run

TIMES = st.lists(st.floats(0, 10), min_size=1, max_size=12)


def scheduled(ready, costs):
    """The same by stepping through events: one channel, first come, first served."""
    free, ends = 0.0, []
    for number in sorted(range(len(ready)), key=lambda j: (ready[j], j)):
        start = ready[number] if ready[number] > free else free
        free = start + costs[number]
        ends.append(free)
    return ends


@given(st.data())
def test_buckets_go_one_after_the_other(data):
    gaps = data.draw(TIMES)
    costs = data.draw(st.lists(st.floats(0, 10), min_size=len(gaps), max_size=len(gaps)))
    ready = [sum(gaps[: j + 1]) for j in range(len(gaps))]
    found = overlap(ready, costs)
    assert list(found.ends) == scheduled(ready, costs)
    assert found.seconds == max(found.ends[-1], ready[-1])
    assert 0 <= found.exposed <= found.communication + 1e-12
    assert max(ready[-1], found.communication) <= found.seconds * (1 + 1e-12)
    assert found.seconds <= ready[-1] + found.communication + 1e-9
    assert -1e-9 <= found.hidden <= 1


def test_limits():
    assert overlap([5.0], [3.0]).exposed == 3.0
    assert overlap([5.0], [3.0]).hidden == 0.0
    assert overlap([1.0, 5.0], [3.0, 0.5]).exposed == 0.5
    assert overlap([1.0, 5.0], [0.0, 0.0]).hidden == 1.0
    with pytest.raises(ProgramError, match="2 buckets and 1 costs: give a cost for each of one or more buckets"):
        overlap([1.0, 2.0], [1.0])
    with pytest.raises(ProgramError, match="0 buckets and 0 costs"):
        overlap([], [])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.integers(1, 300))
def test_buckets_fill_up(sizes, least):
    counts = fill_buckets(sizes, least)
    assert sum(counts) == len(sizes)
    edges = [sum(counts[:j]) for j in range(len(counts) + 1)]
    for low, high in list(pairwise(edges))[:-1]:
        assert sum(sizes[low:high]) >= least > sum(sizes[low : high - 1])


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.integers(1, 50)), min_size=1, max_size=7),
    st.floats(0, 3),
    st.floats(0, 0.3),
)
def test_the_best_bucket_is_best_of_all_sizes(layers, alpha, beta):
    backward, sizes = [seconds for seconds, _ in layers], [size for _, size in layers]
    best = best_bucket_bytes(1.0, backward, sizes, lambda nbytes: alpha + beta * nbytes)

    def step(least):
        counts, at, now, ready, costs = fill_buckets(sizes, least), 0, 1.0, [], []
        for count in counts:
            now += sum(backward[at : at + count])
            ready.append(now)
            costs.append(alpha + beta * sum(sizes[at : at + count]))
            at += count
        return overlap(ready, costs).seconds, len(counts)

    assert step(best.nbytes) == (pytest.approx(best.seconds), best.buckets)
    assert best.seconds <= min(step(least)[0] for least in range(1, sum(sizes) + 1)) * (1 + 1e-12)


def test_best_buckets_at_the_limits():
    """Nothing to pay per bucket: as many as can be. Latency alone: one."""
    assert best_bucket_bytes(1, [1, 1, 1], [5, 5, 5], lambda nbytes: nbytes).buckets == 3
    assert best_bucket_bytes(1, [1, 1, 1], [5, 5, 5], lambda nbytes: 10.0).buckets == 1
    with pytest.raises(ProgramError, match="no gradients to put in buckets"):
        best_bucket_bytes(1, [1], [0], lambda nbytes: nbytes)


def test_the_scan_finds_the_simulators_best_bucket():
    """Simulate all sizes of buckets of a network of unequal layers: none is faster than the one that theory picks."""
    weights = [2520 * units for units in (1, 6, 2, 8, 1, 3)]
    layers = [{"parameters": size, "forward_flops": size / 2, "output_elements": 32} for size in weights]
    model = {"kind": "layers", "layers": layers, "needs_input_gradient": True}
    common = {"model": model, "cores": 2, "latency": 2e-5, "steps": 1, "batch": 64}

    def simulated(least):
        return run("allreduce", 4, bucket_bytes=least, **common).summary["seconds"]

    times = {
        least: simulated(least) for least in sorted({4 * sum(weights[j:k]) for j in range(6) for k in range(j + 1, 7)})
    }
    forms = {least: closed_form(make("allreduce", 4, bucket_bytes=least, **common)).seconds_per_step for least in times}
    assert times == pytest.approx(forms, rel=1e-9)
    assert len({round(seconds, 9) for seconds in times.values()}) > 3
    forward, backward = 64 * sum(weights) / 2 / 1e9, [64 * size / 1e9 for size in reversed(weights)]
    gamma = 3 / 1e9  # of one addition per element: twelve bytes through memory for four of the message
    update = times[4 * sum(weights)] - (forward + sum(backward))

    def ring(nbytes):
        return 6 * 4e-5 + 1.5 * nbytes / 1e8 + 0.75 * nbytes * gamma

    best = best_bucket_bytes(forward, backward, [4 * size for size in reversed(weights)], ring)
    update -= ring(4 * sum(weights))
    assert min(times.values()) == pytest.approx(best.seconds + update, rel=1e-9)
    assert times[int(best.nbytes)] == min(times.values())
