"""AD-PSGD: averaging keeps the sum of all models, staleness is O(1), a slow worker slows nobody else."""

import pytest
import torch

from parasim import load_all, simulate
from parasim.learning.build import pin_threads
from parasim.program import Context
from tests.golden import ROOT
from tests.schemes_real import learning, same_payload, same_when_replayed
from tests.schemes_setup import (
    EXACT_DATA,
    EXACT_MODELS,
    begin_and_stay,
    initial_weights,
    make,
    run,
    updates_of,
    weights,
)

LONG_COMPUTE = {"batch": 512, "bandwidth": 1e9, "latency": 1e-4, "cores": 2}
"""About 13 ms of computing, 0.5 ms for an exchange; averaging has a core of its own."""


def step_ends(result, rank):
    return [row.t_end for row in result.trace if row.rank == rank and row.label == "step"]


def averagings(result):
    """(Rank, partner) of every change of a model by averaging."""
    return [(row.rank, row.peer) for row in result.trace if row.buffer == "averaged"]


@pytest.mark.parametrize(
    ("workers", "graph"),
    [(2, "complete"), (4, "ring"), (5, "complete"), (5, "ring"), (4, "all")],
)
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
    work = {
        "model": model,
        "data": EXACT_DATA,
        "dtype": "float64",
        "batch": 4,
        "learn": True,
        "steps": 3,
    }
    result = run("adpsgd", workers, graph=graph, speeds={0: 0.7}, bandwidth=1e7, **work)
    start = initial_weights(make("adpsgd", workers, graph=graph, **work))
    models = torch.stack([weights(result, range(rank, rank + 1)) for rank in range(workers)])
    assert torch.equal(models.sum(0), workers * start - 0.125 * torch.stack(applied).sum(0))
    assert len(applied) == 3 * workers
    askers = sum(bool(asked) for asked in make("adpsgd", workers, graph=graph).scheme.asked_by)
    assert len(averagings(result)) == 2 * 3 * askers
    assert not torch.equal(models[0], models[1])


def test_averaging_with_nothing_applied_meanwhile_gives_both_the_mean(monkeypatch):
    """They begin with 1 and 2; one averaging, and both have 3/2 (SCHEMES S19.2)."""
    pin_threads()
    begin_and_stay(monkeypatch, lambda index: 2**index)
    model, _ = EXACT_MODELS["one layer"]
    result = run("adpsgd", 2, model=model, data=EXACT_DATA, dtype="float64", batch=4, learn=True, steps=1)
    assert len(averagings(result)) == 2
    for rank in (0, 1):
        found = weights(result, range(rank, rank + 1))
        assert torch.equal(found, torch.full_like(found, 1.5))


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

    rate = "samples_per_second_while_all_work"
    assert slowed.summary[rate] / nominal.summary[rate] == pytest.approx((3 + 1 / factor) / 4, rel=0.02)

    alike = {**LONG_COMPUTE, "bandwidth": 1e15, "latency": 0.0}
    together = [run("allreduce", 4, steps=4, speeds=speeds, **alike).summary for speeds in ({}, {slow: 1 / factor})]
    assert together[1]["samples_per_second"] / together[0]["samples_per_second"] == pytest.approx(1 / factor, rel=1e-3)


@pytest.mark.parametrize(
    ("workers", "graph"),
    [
        *((n, "complete") for n in (2, 3, 4, 5, 7, 8, 9)),
        *((n, "ring") for n in (2, 4, 8)),
    ],
)
def test_active_workers_ask_passive_neighbours_only(workers, graph):
    result = run(
        "adpsgd",
        workers,
        graph=graph,
        steps=12,
        noise={"kind": "lognormal", "sigma": 0.3},
    )
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


GRAPHS = [
    (3, {"graph": "all"}),
    (5, {"graph": "ring"}),
    (8, {"graph": "all"}),
    (9, {"graph": "torus"}),
    (5, {"graph": "edges", "edges": [[0, 1], [1, 2], [2, 0], [2, 3], [3, 4]]}),
]
"""None of them is bipartite."""


@pytest.mark.parametrize(("workers", "options"), GRAPHS)
def test_no_graph_is_waited_on_in_a_circle(workers, options):
    """Every edge is asked along in one direction, upwards; all end, and every averaging has its two sides."""
    case = make("adpsgd", workers, **options)
    asked = case.scheme.asked_by
    assert all(index < other for index, others in enumerate(asked) for other in others)
    assert any(asked[other] for others in asked for other in others)  # some both ask and answer
    steps = 12
    result = run(
        "adpsgd",
        workers,
        steps=steps,
        noise={"kind": "gamma", "shape": 0.5},
        bandwidth=1e7,
        **options,
    )
    pairs = averagings(result)
    asking = [(rank, peer) for rank, peer in pairs if peer in asked[rank]]
    assert sorted((peer, rank) for rank, peer in pairs if peer not in asked[rank]) == sorted(asking)
    assert len(asking) == steps * sum(bool(others) for others in asked)
    assert result.summary["messages_sent_per_worker_per_step"] == pytest.approx(len(pairs) / workers / steps)


@pytest.mark.parametrize(("workers", "options"), GRAPHS[:2])
def test_who_asks_and_answers_does_not_answer_while_it_asks(workers, options):
    """Between the ask of a worker and its answer its model is averaged with nobody else."""
    result = run(
        "adpsgd",
        workers,
        steps=12,
        noise={"kind": "gamma", "shape": 0.5},
        bandwidth=1e6,
        **options,
    )
    both = 0
    for rank in range(workers):
        asks = [row for row in result.trace if row.rank == rank and row.op == "send" and row.tag == "ask"]
        moved = [row for row in result.trace if row.rank == rank and row.label == "subtract"]
        answers = [row for row in result.trace if row.rank == rank and row.label == "move_half"]
        both += bool(asks and answers)
        for ask, end in zip(asks, moved, strict=True):
            assert not [row for row in answers if ask.t_post < row.t_end and row.t_start < end.t_end]
    assert both


def test_without_gradients_all_agree_in_the_end(monkeypatch):
    """Averaging contracts: the mean stays, distances to it vanish (SCHEMES S19.7)."""
    pin_threads()
    begin_and_stay(monkeypatch, lambda index: 2**index)
    model, _ = EXACT_MODELS["one layer"]
    work = {
        "model": model,
        "data": EXACT_DATA,
        "dtype": "float64",
        "batch": 4,
        "learn": True,
        "steps": 40,
    }
    for workers, options in (
        (4, {"graph": "ring"}),
        (5, {"graph": "ring"}),
        (4, {"graph": "all"}),
    ):
        result = run(
            "adpsgd",
            workers,
            noise={"kind": "lognormal", "sigma": 0.3},
            **work,
            **options,
        )
        models = torch.stack([weights(result, range(rank, rank + 1)) for rank in range(workers)])
        mean = (2**workers - 1) / workers
        torch.testing.assert_close(models.mean(0), torch.full_like(models[0], mean), rtol=1e-13, atol=0)
        assert float((models - mean).abs().max()) < 1e-3


@pytest.mark.real
def test_real_runs_on_a_graph_that_is_not_bipartite_are_replayed_exactly(pool, tmp_path):
    case = learning("adpsgd", steps=16, workers=4, graph="all")
    real = same_when_replayed(case, pool, tmp_path / "run.json")
    same_payload(real, simulate(case))


def test_the_scenario_shows_that_a_slow_worker_slows_nobody_else():
    """While the others work, throughput is (N - 1 + 1/f) / N of nominal; of all-reduce 1/f (SCHEMES S19.7)."""
    rate = {}
    for case in load_all(ROOT / "scenarios" / "schemes" / "adpsgd.yaml"):
        result = simulate(case)
        ends = sorted(step_ends(result, rank) for rank in range(case.scheme.options.workers))
        until = min(last for *_, last in ends)
        rate[case.variant] = sum(time <= until for some in ends for time in some) / until
    slowed, nominal = "gossip, one worker 10 times slower", "gossip"
    assert rate[slowed] / rate[nominal] == pytest.approx((8 - 1 + 1 / 10) / 8, rel=0.05)
    assert rate["all-reduce, one worker 10 times slower"] / rate["all-reduce"] == pytest.approx(1 / 10, rel=0.25)
    assert rate[slowed] > 5 * rate["all-reduce, one worker 10 times slower"]


def test_one_worker_is_too_few():
    with pytest.raises(ValueError, match="AD-PSGD needs 2 workers or more"):
        make("adpsgd", 1)
