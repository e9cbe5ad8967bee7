"""Laws of staleness against small simulations of their own, and against the simulator."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim import simulate
from parasim.errors import ProgramError
from parasim.theory.staleness import (
    asynchronous_mean,
    asynchronous_probability,
    backup_workers,
    decoupled_backward,
    decoupled_forward_and_backward,
    delayed_by_one,
    pipedream,
    stale_synchronous_window,
)
from tests.schemes_setup import make, updates_of


def asynchronous(workers, per_update, draw, gradients):
    """Staleness of each gradient: every worker pushes and reads at once; an update after every so many gradients."""
    version, held, waiting, found = 0, [0] * workers, [], []
    events = [(draw(i), i) for i in range(workers)]
    heapq.heapify(events)
    while len(found) < gradients:
        now, worker = heapq.heappop(events)
        waiting.append(held[worker])
        if len(waiting) == per_update:
            found += [version - read for read in waiting]
            version, waiting = version + 1, []
        held[worker] = version
        heapq.heappush(events, (now + draw(worker), worker))
    return found


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6))
def test_the_mean_of_asynchronous_staleness_is_conserved(workers, per_update, seed):
    """Whatever the speeds: here they differ by worker and from time to time. Start and end miss less than N updates."""
    source = random.Random(seed)
    speeds = [source.uniform(0.5, 4) for _ in range(workers)]
    found = asynchronous(workers, per_update, lambda i: source.uniform(0.2, 1.8) * speeds[i], 600)
    missing = workers * workers / len(found) * max(speeds) / min(speeds)
    assert asynchronous_mean(workers, per_update) - missing <= sum(found) / len(found)
    assert sum(found) / len(found) <= asynchronous_mean(workers, per_update) + missing


def test_exponential_times_give_a_geometric_law():
    workers, source = 6, random.Random(3)
    found = asynchronous(workers, 1, lambda _: source.expovariate(1.0), 40_000)[1000:]
    for staleness in range(20):
        chance = asynchronous_probability(workers, staleness)
        seen = sum(value == staleness for value in found) / len(found)
        # neighbours in time are dependent: count one in N of them
        assert abs(seen - chance) < 4.5 * (chance * (1 - chance) / (len(found) / workers)) ** 0.5
    assert sum(asynchronous_probability(workers, k) for k in range(2000)) == pytest.approx(1)
    assert sum(k * asynchronous_probability(workers, k) for k in range(2000)) == pytest.approx(
        asynchronous_mean(workers)
    )
    assert asynchronous_probability(workers, -1) == 0


@pytest.mark.parametrize("speeds", [{}, {0: 0.4, 3: 0.9}])
@pytest.mark.parametrize("n_push", [1, 3])
def test_downpour_keeps_the_law(n_push, speeds):
    """Every update falls into one interval of each other worker that still runs: the law, start and end included."""
    workers, pushes = 5, 30
    scenario = make("downpour", 6, workers=workers, steps=pushes * n_push, n_push=n_push, n_fetch=n_push, speeds=speeds)
    result = simulate(scenario)
    updates = updates_of(result, workers)
    last = {worker: place for place, (worker, _, _) in enumerate(updates)}
    missed = sum(place < last[other] for place, (peer, _, _) in enumerate(updates) for other in last if other != peer)
    assert sum(applied - read for _, read, applied in updates) == missed
    mean = result.summary["staleness"]["mean"]
    assert mean == pytest.approx(missed / len(updates))
    if not speeds:  # in turn: only the last round is cut short
        assert mean == pytest.approx(asynchronous_mean(workers) * (1 - 1 / (2 * pushes)))
    assert mean < asynchronous_mean(workers)


def ssp(workers, slack, draw, clocks):
    """Most foreign updates that a gradient misses; the server shows every update at once to whoever may read."""
    clock, version, worst = [0] * workers, [0] * workers, 0
    events = [(draw(i), i, 0) for i in range(workers)]
    blocked = []
    while events:
        now, i, seen = heapq.heappop(events)
        missed = sum(version) - version[i] - seen
        worst = max(worst, missed)
        version[i] += 1
        clock[i] += 1
        blocked.append(i)
        for waiting in list(blocked):
            if clock[waiting] - min(clock) <= slack:
                blocked.remove(waiting)
                if clock[waiting] < clocks:
                    held = sum(version) - version[waiting]
                    heapq.heappush(events, (now + draw(waiting), waiting, held))
    return worst


@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 10**6))
def test_stale_synchronous_gradients_miss_no_more_than_the_window(workers, slack, seed):
    source = random.Random(seed)
    speeds = [source.choice([0.1, 1.0, 7.0]) for _ in range(workers)]
    worst = ssp(workers, slack, lambda i: source.expovariate(1.0) * speeds[i], 40)
    assert worst <= stale_synchronous_window(workers, slack)


def test_the_window_is_reached():
    """One worker is slack clocks behind, reads, and all others go slack clocks beyond its next clock."""
    script = iter([0.5, 100.0])
    times = {0: lambda: next(script, 1e9), 1: lambda: 1.0}
    assert ssp(2, 3, lambda i: times[i](), 20) >= 3 + 1
    assert stale_synchronous_window(2, 0) == 1
    assert stale_synchronous_window(1, 5) == 0
    with pytest.raises(ProgramError, match="slack -1: give 0"):
        stale_synchronous_window(3, -1)


def pipelined(stages, order):
    """Updates between forward and backward of each minibatch at each stage, in ticks of a full pipeline.

    `order(k)` is the number of forward passes that stage k is ahead of its backward passes.
    """
    found = []
    for k in range(stages):
        version, read, delays = 0, {}, []
        for tick in range(60):
            read[tick] = version  # forward of minibatch `tick`
            done = tick - order(k)
            if done >= 0:  # backward, then update
                delays.append(version - read[done])
                version += 1
        found.append(set(delays[stages * 4 :]))
    return found


@pytest.mark.parametrize("stages", [1, 2, 4, 7])
def test_delays_of_pipelines(stages):
    """1F1B runs K-1-k forward passes ahead; with one tick per crossing either way it is twice as many."""
    places = range(stages)
    assert pipelined(stages, lambda k: stages - 1 - k) == [{pipedream(stages, k)} for k in places]
    assert pipelined(stages, lambda k: stages - 1 - k) == [{decoupled_backward(stages, k)} for k in places]
    twice = pipelined(stages, lambda k: 2 * (stages - 1 - k))
    assert twice == [{decoupled_forward_and_backward(stages, k)} for k in places]


def test_published_delays():
    assert [pipedream(4, k) for k in range(4)] == [3, 2, 1, 0]
    assert [pipedream(4, k, vertical_sync=True) for k in range(4)] == [3, 3, 3, 3]
    assert [decoupled_forward_and_backward(3, k) for k in range(3)] == [4, 2, 0]  # FDG, figure of K = 3
    assert [decoupled_forward_and_backward(3, k, backward_first=True) for k in range(3)] == [3, 1, 0]
    assert (backup_workers(), delayed_by_one()) == (0, 1)
    for law in (pipedream, decoupled_backward, decoupled_forward_and_backward):
        with pytest.raises(ProgramError, match="no stage 4 of 4: choose 0 to 3"):
            law(4, 4)
    with pytest.raises(ProgramError, match="both must be 1 or more"):
        asynchronous_mean(4, 0)
