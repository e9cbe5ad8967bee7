"""SGP and Overlap-SGP: push-sum by column-stochastic matrices; sums of models and weights stay; messages are late by
`overlap` iterations at most."""

import json
import math

import numpy as np
import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from parasim.program.graphs import exponential_hops
from tests.golden import golden_path
from tests.schemes_real import learning, same_in_both, same_when_replayed
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, begin_and_stay, initial_weights, make, run, steady, weights

TAILED = [[0, 1], [1, 2], [2, 0], [0, 2], [2, 3], [3, 0]]
"""Workers 0 and 2 send to two others, 1 and 3 to one: weights differ."""
GRAPHS = {
    "exponential": {},
    "two peers": {"peers": 2},
    "complete": {"graph": "complete"},
    "ring": {"graph": "ring"},
    "edges": {"graph": "edges", "edges": TAILED},
}
EXACT = {"data": EXACT_DATA, "dtype": "float64", "batch": 4, "learn": True}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def each(result):
    return torch.stack([weights(result, range(rank, rank + 1)) for rank in range(len(result.returns))])


def push_matrix(scheme, step):
    """P of an iteration: column i holds the shares of worker i."""
    workers = scheme.options.workers
    matrix = np.zeros((workers, workers))
    for i in range(workers):
        targets = scheme.targets(i, step)
        matrix[[i, *targets], i] = 1 / (1 + len(targets))
    return matrix


def push_sum(case):
    """What the definition says, with matrices: X <- P (X - lr G(Z)), w <- P w, Z = X / w."""
    work = case.workload
    learner = make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, case.run.seed, work.dtype
    )
    whole, size, workers = learner.model.whole, work.batch_size, case.scheme.options.workers
    models, mass = torch.stack([learner.initial(whole)] * workers), torch.ones(workers, 1, dtype=torch.float64)
    for step in range(case.run.steps):
        gradients = []
        for i, model in enumerate(models / mass):
            samples = learner.samples(step, i * size, (i + 1) * size, workers * size)
            _, saved = learner.forward(whole, model, learner.inputs(samples), samples)
            gradients.append(learner.backward(whole, saved, None)[1])
        matrix = torch.from_numpy(push_matrix(case.scheme, step))
        models, mass = matrix @ (models - 0.125 * torch.stack(gradients)), matrix @ mass
    return models / mass


def notes(result, label):
    return [row for row in result.trace if row.buffer == label]


def last_weights(result):
    """The weight of every worker at the end."""
    return list({row.rank: row.value for row in notes(result, "weight")}.values())


# the rule ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("graph", GRAPHS)
def test_models_are_those_of_push_sum(graph):
    case = make("sgp", 4, steps=6, data={"kind": "digits"}, learn=True, dtype="float64", **GRAPHS[graph])
    result = parasim.simulate(case)
    torch.testing.assert_close(each(result), push_sum(case), rtol=1e-9, atol=1e-11)
    masses = [row.value for row in notes(result, "weight")]
    assert min(masses) > 0
    assert (max(abs(mass - 1) for mass in masses) < 1e-15) == (graph != "edges")  # 1 on regular graphs
    assert math.fsum(last_weights(result)) == pytest.approx(4, rel=1e-15)


@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize("workers", [2, 4])
def test_mixing_all_with_all_equals_allreduce_in_every_bit(name, workers):
    model, steps = EXACT_MODELS[name]
    found = each(run("sgp", workers, graph="complete", model=model, steps=steps, **EXACT))
    assert torch.equal(found, each(run("allreduce", workers, model=model, steps=steps, **EXACT)))


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_sums_of_models_and_weights_stay(monkeypatch, overlap):
    """Whatever order messages are absorbed in: all are, in the end."""
    applied = []
    update = Context.update

    def spy(self, replica, gradient, **rest):
        applied.append(gradient.values.clone())
        return (yield from update(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "update", spy)
    model, _ = EXACT_MODELS["one layer"]
    options = {"overlap": overlap, "speeds": {1: 0.3}, "noise": {"kind": "lognormal", "sigma": 0.5}}
    kind = "osgp" if overlap else "sgp"
    case = make(kind, 4, model=model, steps=5, **options, **{**EXACT, "latency": 1e-4})
    result = parasim.simulate(case)
    mass = torch.tensor(last_weights(result), dtype=torch.float64)
    assert float(mass.sum()) == 4.0
    assert float(mass.min()) > 0
    expected = 4 * initial_weights(case) - 0.125 * torch.stack(applied).sum(0)
    torch.testing.assert_close((mass[:, None] * each(result)).sum(0), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_without_gradients_all_agree_after_log2_steps(monkeypatch, workers):
    begin_and_stay(monkeypatch, lambda index: 2**index)
    model, _ = EXACT_MODELS["one layer"]
    steps = workers.bit_length() - 1
    found = each(run("sgp", workers, model=model, steps=steps, **EXACT))
    assert torch.equal(found, torch.full_like(found, (2**workers - 1) / workers))
    if steps > 1:
        early = each(run("sgp", workers, model=model, steps=steps - 1, **EXACT))
        assert not torch.equal(early[0], early[1])


@pytest.mark.parametrize("workers", [2, 4, 8, 16, 32])
def test_consecutive_matrices_mix_all_with_all_exactly(workers):
    scheme = make("sgp", workers).scheme
    period = len(exponential_hops(workers))
    assert 2**period == workers
    for first in range(period):
        product = np.eye(workers)
        for step in range(first, first + period):
            product = push_matrix(scheme, step) @ product
        assert np.array_equal(product, np.full((workers, workers), 1 / workers))


@pytest.mark.parametrize(("workers", "hops"), [(1, ()), (2, (1,)), (3, (1, 2)), (5, (1, 2, 4)), (9, (1, 2, 4, 8))])
def test_hops_of_the_exponential_graph(workers, hops):
    """``floor(log2(N - 1)) + 1`` of them (SCHEMES S20.4)."""
    assert exponential_hops(workers) == hops


@pytest.mark.parametrize("overlap", [1, 2, 4])
def test_messages_are_late_by_no_more_than_the_overlap(overlap):
    """On links so slow that all are awaited they are exactly so late, but for those of the end; on fast ones by 1."""
    noise = {"kind": "gamma", "shape": 1.0}
    for bandwidth, more in ((1e5, {"noise": noise}), (1e7, {"noise": noise}), (1e12, {})):
        result = run("osgp", 4, overlap=overlap, steps=12, bandwidth=bandwidth, **more)
        late = [row.step - row.version_read for row in notes(result, "absorbed")]
        assert len(late) == 4 * 12
        assert max(late) <= overlap
        if bandwidth == 1e5:
            assert late.count(overlap) == 4 * (12 - overlap)
    assert set(late) == {0, 1}


@pytest.mark.parametrize(
    ("workers", "options", "message"),
    [
        (4, {"peers": 3}, "3 peers are too many: this graph of 4 workers has 2"),
        (4, {"graph": "ring", "peers": 2}, "2 peers are too many: this graph of 4 workers has 1"),
        (3, {"graph": "edges"}, "edges belong to graph: edges"),
        (3, {"graph": "edges", "edges": [[0, 1], [1, 2]]}, "no path to worker 0 from worker 1"),
        (3, {"graph": "edges", "edges": [[0, 1], [1, 0]]}, "no path from worker 0 to worker 2"),
        (2, {"graph": "edges", "edges": [[0, 1], [1, 0], [0, 1]]}, "an edge is given twice"),
        (2, {"graph": "edges", "edges": [[0, 0], [1, 0]]}, "does not join two of workers 0..1"),
    ],
)
def test_what_is_no_graph_is_refused(workers, options, message):
    with pytest.raises(ValueError, match=message):
        make("sgp", workers, **options)


# cost ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bandwidth", [1e6, 1e9])
@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize(
    ("workers", "graph"), [(1, "exponential"), (5, "exponential"), *((4, graph) for graph in GRAPHS)]
)
def test_closed_form(workers, graph, overlap, bandwidth):
    options = {"overlap": overlap, "bandwidth": bandwidth, "launch": 1e-6, **GRAPHS[graph]}
    kind = "osgp" if overlap else "sgp"
    form, met = closed_form(make(kind, workers, **options)), steady(kind, workers, steps=6, **options)
    assert form.exact == (graph != "edges")
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)


def test_one_peer_is_one_model_a_step():
    """SCHEMES 12: 4 L n^2 bytes, whatever the number of workers."""
    for workers in (2, 4, 8):
        model = make("sgp", workers).workload.model
        assert steady("sgp", workers)[1:] == (model.whole.nbytes, 1)


def test_the_scenario_shows_the_order_of_the_paper():
    """On slow Ethernet SGP is faster than D-PSGD and that than all-reduce; overlapped it hides the rest."""
    summaries = json.loads(golden_path("scenarios/schemes/sgp.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in summaries.items()}
    assert seconds["overlapped push"] < seconds["push"] < seconds["D-PSGD"] < seconds["all-reduce"]
    assert seconds["push, 16"] == pytest.approx(seconds["push"], rel=1e-9)


def test_the_scenario_shows_that_late_messages_hide_and_absorb_noise():
    """Expected outcome of scenarios/schemes/osgp.yaml."""
    summaries = json.loads(golden_path("scenarios/schemes/osgp.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in summaries.items()}
    assert seconds["no noise, one late"] < 0.6 * seconds["no noise, waiting"]
    assert seconds["four late"] < seconds["two late"] < seconds["one iteration late"] < seconds["waiting for messages"]
    assert seconds["four late"] - seconds["no noise, one late"] < 0.5 * (
        seconds["one iteration late"] - seconds["no noise, one late"]
    )
    last = {name: summary["loss"]["last"] for name, summary in summaries.items()}
    assert last["four late"] < 1.05 * last["waiting for messages"]


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("graph", ["exponential", "edges"])
def test_real_runs_give_the_same_bits_bytes_and_messages(graph, pool):
    real = same_in_both(learning("sgp", workers=4, **GRAPHS[graph]), pool)
    assert real.summary["staleness"]["max"] == 0


@pytest.mark.real
def test_overlapped_real_runs_are_replayed_exactly(pool, tmp_path):
    real = same_when_replayed(learning("osgp", workers=4, overlap=2, steps=8), pool, tmp_path / "run.json")
    assert max(row.step - row.version_read for row in notes(real, "absorbed")) <= 2
    assert math.fsum(last_weights(real)) == 4.0
