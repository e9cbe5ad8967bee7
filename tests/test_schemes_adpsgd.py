"""AD-PSGD: averaging keeps the sum of all models, staleness is O(1), a slow worker slows nobody else."""

import pytest
import torch

from parasim.learning.build import pin_threads
from parasim.program import Context
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, updates_of, weights

LONG_COMPUTE = {"batch": 512, "bandwidth": 1e9, "latency": 1e-4, "cores": 2}
"""About 13 ms of computing, 0.5 ms for an exchange; averaging has a core of its own."""


def step_ends(result, rank):
    return [row.t_end for row in result.trace if row.rank == rank and row.label == "step"]


def averagings(result):
    """(Rank, partner) of every change of a model by averaging."""
    return [(row.rank, row.peer) for row in result.trace if row.buffer == "averaged"]


@pytest.mark.parametrize(("workers", "graph"), [(2, "complete"), (4, "ring"), (5, "complete")])
def test_averaging_keeps_the_sum_of_all_models(monkeypatch, workers, graph):
    """All numbers are dyadic, so the sum moves by exactly what updates subtract, whatever was averaged meanwhile."""
    pin_threads()
    applied = []
    update = Context.update

    def spy(self, replica, gradient, **rest):
        applied.append(gradient.values.clone())
        return (yield from update(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "update", spy)
    model, _ = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "batch": 4, "learn": True, "steps": 3}
    result = run("adpsgd", workers, graph=graph, speeds={0: 0.7}, bandwidth=1e7, **work)
    start = initial_weights(make("adpsgd", workers, graph=graph, **work))
    models = torch.stack([weights(result, range(rank, rank + 1)) for rank in range(workers)])
    assert torch.equal(models.sum(0), workers * start - 0.125 * torch.stack(applied).sum(0))
    assert len(applied) == 3 * workers
    assert len(averagings(result)) == 2 * 3 * ((workers + 1) // 2)
    assert not torch.equal(models[0], models[1])


def test_averaging_with_nothing_applied_meanwhile_gives_both_the_mean():
    """One long step: the models are averaged long before the first gradient, and stay as they began."""
    pin_threads()
    model, _ = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "batch": 4, "learn": True}
    result = run("adpsgd", 2, steps=1, flops=1e3, optimizer={"kind": "sgd", "lr": 2.0**-40}, **work)
    start = initial_weights(make("adpsgd", 2, **work))
    for rank in (0, 1):
        difference = weights(result, range(rank, rank + 1)) - start
        assert 0 < float(difference.abs().max()) < 2.0**-30


@pytest.mark.parametrize(
    ("speed", "active", "passive"),
    [
        (1.0, [1] * 8, [1] * 8),
        (0.5, [1] * 8, [2, 2, 2, 2, 0, 0, 0, 0]),
        (2.0, [1] * 8, [1, 0, 1, 0, 1, 0, 1, 0]),
    ],
)
def test_staleness_of_two_workers_worked_by_hand(speed, active, passive):
    """The active worker asks when a step begins, and the exchange is over long before the step's gradient.

    So each of its gradients meets one averaging. The passive one is asked at 0, 1, 2, ... 7 (in steps of the active
    worker) and a little. As fast: once per gradient. Half as fast, its gradients take 0 to 2, 2 to 4, ...: twice, and
    not at all once the active worker is done. Twice as fast, 0 to 1/2, 1/2 to 1, ...: every second one, once.
    """
    result = run("adpsgd", 2, steps=8, speeds={1: speed}, **LONG_COMPUTE)
    assert [applied - read for _, read, applied in updates_of(result, 0)] == active
    assert [applied - read for _, read, applied in updates_of(result, 1)] == passive


@pytest.mark.parametrize("slow", [0, 3], ids=["active", "passive"])
def test_a_slow_worker_slows_nobody_else(slow):
    """Slowed 4-fold, one of 4 workers leaves a throughput of (3 + 1/4) / 4; all-reduce falls to 1/4."""
    steps, factor = 24, 4
    nominal = run("adpsgd", 4, steps=steps, **LONG_COMPUTE)
    slowed = run("adpsgd", 4, steps=steps, speeds={slow: 1 / factor}, **LONG_COMPUTE)
    end = nominal.summary["seconds"]
    done = 0
    for rank in range(4):
        ends = step_ends(slowed, rank)
        if rank != slow:
            assert ends[-1] == pytest.approx(end, rel=0.02)  # averaging now takes the slow one 4 times as long
        done += sum(time <= 1.02 * end for time in ends)
    assert done / (4 * steps) == pytest.approx((3 + 1 / factor) / 4, abs=1 / (4 * steps))

    alike = {**LONG_COMPUTE, "bandwidth": 1e15, "latency": 0.0}
    together = [run("allreduce", 4, steps=4, speeds=speeds, **alike).summary for speeds in ({}, {slow: 1 / factor})]
    assert together[1]["samples_per_second"] / together[0]["samples_per_second"] == pytest.approx(1 / factor, rel=1e-3)


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 7, 8, 9])
@pytest.mark.parametrize("graph", ["complete", "ring"])
def test_active_workers_ask_passive_neighbours_only(workers, graph):
    if graph == "ring" and workers % 2:
        with pytest.raises(ValueError, match=f"a ring of {workers} workers is not bipartite; use an even number, or"):
            make("adpsgd", workers, graph=graph)
        return
    result = run("adpsgd", workers, graph=graph, steps=12, noise={"kind": "lognormal", "sigma": 0.3})
    pairs = averagings(result)
    actives = range(0, workers, 2)
    asked = [pair for pair in pairs if pair[0] in actives]
    assert len(asked) == 12 * len(actives)
    answered = [pair for pair in pairs if pair[0] not in actives]
    assert sorted((active, passive) for passive, active in answered) == sorted(asked)
    for active, passive in asked:
        assert passive % 2 == 1
        assert graph == "complete" or (passive - active) % workers in (1, workers - 1)
    neighbours = {(a, p) for a in actives for p in range(1, workers, 2)}
    if graph == "ring":
        neighbours = {(a, p) for a, p in neighbours if (p - a) % workers in (1, workers - 1)}
    assert len(set(asked)) > len(neighbours) / 2  # draws differ from step to step and from worker to worker


def test_one_worker_is_too_few():
    with pytest.raises(ValueError, match="AD-PSGD needs 2 workers or more"):
        make("adpsgd", 1)
