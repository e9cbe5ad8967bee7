"""D-PSGD: X W' - lr G in both orders, on any graph; the mean moves by the mean gradient, distances shrink by |l_2|."""

import json
import math

import numpy as np
import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from parasim.program.graphs import check_mixing, contraction, metropolis, named_graph
from parasim.report.table import results_table
from tests.golden import golden_path
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, begin_and_stay, initial_weights, make, run, steady, weights
from tests.test_both_runtimes import execute, scenario

ORDERS = ("combine_then_adapt", "adapt_then_combine")
HALVES = [[0.5, 0.25, 0, 0.25], [0.25, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.25], [0.25, 0, 0.25, 0.5]]
"""A ring of four with weights that are powers of two."""
GRAPHS = {
    "ring": {},
    "complete": {"graph": "complete"},
    "line": {"graph": "line"},
    "star": {"graph": "star"},
    "torus": {"graph": "torus"},
    "hypercube": {"graph": "hypercube"},
    "triangle with a tail": {"graph": "edges", "edges": [[0, 1], [1, 2], [2, 0], [2, 3]]},
    "halves": {"matrix": HALVES},
    "identity": {"matrix": np.eye(4).tolist()},
}
EXACT = {"data": EXACT_DATA, "dtype": "float64", "batch": 4, "learn": True}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def each(result):
    return torch.stack([weights(result, range(rank, rank + 1)) for rank in range(len(result.returns))])


def matrix_rule(case, order):
    """What the definition says, with matrices: combine X W - lr G(X), or adapt (X - lr G(X)) W."""
    work = case.workload
    learner = make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, case.run.seed, work.dtype
    )
    whole, size = learner.model.whole, work.batch_size
    mixing = torch.tensor(case.scheme.weights, dtype=learner.initial(whole).dtype)
    workers = len(mixing)
    models = torch.stack([learner.initial(whole)] * workers)
    for step in range(case.run.steps):
        gradients = []
        for i, model in enumerate(models):
            samples = learner.samples(step, i * size, (i + 1) * size, workers * size)
            _, saved = learner.forward(whole, model, learner.inputs(samples), samples)
            gradients.append(learner.backward(whole, saved, None)[1])
        change = 0.125 * torch.stack(gradients)
        models = mixing @ models - change if order == "combine_then_adapt" else mixing @ (models - change)
    return models


# the rule ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_models_are_those_of_the_matrix_rule(graph, order):
    case = make("dpsgd", 4, order=order, data={"kind": "digits"}, learn=True, dtype="float64", **GRAPHS[graph])
    found = each(parasim.simulate(case))
    torch.testing.assert_close(found, matrix_rule(case, order), rtol=1e-9, atol=1e-11)
    assert (graph == "complete" and order == "adapt_then_combine") == torch.equal(found[0], found[2])


@pytest.mark.parametrize("order", ORDERS)
def test_without_mixing_workers_run_alone_in_every_bit(order):
    model, steps = EXACT_MODELS["one layer"]
    case = make("dpsgd", 4, order=order, steps=steps, model=model, matrix=np.eye(4).tolist(), **EXACT)
    result = parasim.simulate(case)
    assert torch.equal(each(result), matrix_rule(case, order))
    assert result.summary["bytes_sent_per_worker_per_step"] == 0


@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize("workers", [2, 4])
def test_adapting_and_then_mixing_all_equals_allreduce_in_every_bit(name, workers):
    """Combining first leaves every replica with its own last gradient (SCHEMES S18.7)."""
    model, steps = EXACT_MODELS[name]
    results = {}
    for order in ORDERS:
        results[order] = each(run("dpsgd", workers, graph="complete", order=order, model=model, steps=steps, **EXACT))
    expected = each(run("allreduce", workers, model=model, steps=steps, **EXACT))
    assert torch.equal(results["adapt_then_combine"], expected)
    assert not torch.equal(results["combine_then_adapt"][0], results["combine_then_adapt"][1])


@pytest.mark.parametrize("order", ORDERS)
def test_the_mean_moves_by_the_mean_gradient_exactly(monkeypatch, order):
    applied = []
    update = Context.update

    def spy(self, replica, gradient, **rest):
        applied.append(gradient.values.clone())
        return (yield from update(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "update", spy)
    model, _ = EXACT_MODELS["one layer"]
    case = make("dpsgd", 4, order=order, matrix=HALVES, model=model, steps=3, **EXACT)
    models = each(parasim.simulate(case))
    assert torch.equal(models.sum(0), 4 * initial_weights(case) - 0.125 * torch.stack(applied).sum(0))
    assert len(applied) == 12


@pytest.mark.parametrize("workers", [4, 8])
def test_without_gradients_distances_shrink_by_the_second_eigenvalue(monkeypatch, workers):
    """Models begin as the ring's slowest wave, cos(2 pi i / N): a step multiplies it by 1/3 + 2/3 cos(2 pi / N)."""
    begin_and_stay(monkeypatch, lambda index: 5.0 + math.cos(2 * math.pi * index / workers))
    model, _ = EXACT_MODELS["one layer"]
    found = each(run("dpsgd", workers, model=model, steps=6, **EXACT))[:, 0]
    shrunk = (1 / 3 + 2 / 3 * math.cos(2 * math.pi / workers)) ** 6
    expected = [5.0 + shrunk * math.cos(2 * math.pi * i / workers) for i in range(workers)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert float(found.mean()) == pytest.approx(5.0, rel=1e-15)


# matrices ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("workers", "expected"), [(4, 0.333), (8, 0.805), (16, 0.949), (32, 0.987)])
def test_contraction_of_rings(workers, expected):
    """The numbers of SCHEMES S18.6."""
    matrix = metropolis(named_graph("ring", workers))
    assert contraction(matrix) == pytest.approx(expected, abs=5e-4)
    assert {weight for row in matrix for weight in row if weight} == {1 / 3}


@pytest.mark.parametrize("kind", ["ring", "complete", "line", "star", "torus", "hypercube"])
@pytest.mark.parametrize("workers", [1, 2, 8, 16])
def test_matrices_of_all_graphs_are_symmetric_and_doubly_stochastic(kind, workers):
    graph = named_graph(kind, workers)
    matrix = metropolis(graph)
    check_mixing(matrix, workers)
    assert all((matrix[i][j] > 0) == (j in graph[i]) for i in range(workers) for j in range(workers) if i != j)
    assert contraction(matrix) < 1
    if kind == "complete":
        assert contraction(matrix) == pytest.approx(0, abs=1e-12)


def test_the_spectral_gap_is_shown():
    summary = run("dpsgd", 8).summary
    assert summary["facts"]["spectral gap of W"] == pytest.approx(2 / 3 * (1 - math.cos(math.pi / 4)))
    assert "|lambda_2(W)| = 0.8047, spectral gap of W = 0.1953" in results_table([summary], ["ring"])
    assert "facts" not in run("allreduce", 4).summary


@pytest.mark.parametrize(
    ("workers", "options", "message"),
    [
        (3, {"graph": "hypercube"}, "a hypercube has 2, 4, 8 ... workers, not 3"),
        (4, {"graph": "edges"}, "edges belong to graph: edges, which needs some"),
        (4, {"edges": [[0, 1]]}, "edges belong to graph: edges"),
        (4, {"graph": "edges", "edges": [[0, 1], [2, 3]]}, "no path from worker 0 to worker 2"),
        (3, {"graph": "edges", "edges": [[0, 1], [2, 3]]}, "worker 3 does not exist"),
        (3, {"graph": "edges", "edges": [[0, 1, 2]]}, "has 3 ends"),
        (2, {"matrix": [[1.0]]}, "matrix must have 2 rows of 2 numbers"),
        (2, {"matrix": [[0.5, 0.4], [0.4, 0.5]]}, "row 0 sums to 0.9, not 1"),
        (2, {"matrix": [[1.5, -0.5], [-0.5, 1.5]]}, "row 0 has a negative weight"),
        (3, {"graph": "edges", "edges": [[0, 1], [1, 2], [2, 2]]}, "joins worker 2 with itself: leave it out"),
        (2, {"matrix": [[0.5, 0.5], [0.4, 0.6]]}, "differs from .*: make it symmetric, or use sgp"),
        (2, {"matrix": HALVES, "edges": [[0, 1]]}, "give edges or a matrix, not both"),
    ],
)
def test_what_is_no_graph_or_matrix_is_refused(workers, options, message):
    with pytest.raises(ValueError, match=message):
        make("dpsgd", workers, **options)


# cost ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("bandwidth", [1e6, 1e9])
def test_closed_form(graph, order, bandwidth):
    """Met on these irregular graphs too: everyone waits for the busiest before long."""
    options = {"order": order, "bandwidth": bandwidth, "launch": 1e-6, **GRAPHS[graph]}
    form, met = closed_form(make("dpsgd", 4, **options)), steady("dpsgd", 4, **options)
    assert form.exact == (graph not in ("line", "star", "triangle with a tail"))
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12, abs=1e-9)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12, abs=1e-12)


def test_a_ring_sends_two_models_and_takes_no_longer_with_more_workers():
    """SCHEMES 12: ``max(T_c, alpha + 2 P beta)``; 2 P bytes; no N in it."""
    four, sixteen = (steady("dpsgd", workers, bandwidth=1e6) for workers in (4, 16))
    nbytes = make("dpsgd", 4).workload.model.whole.nbytes
    assert four[1:] == sixteen[1:] == (2 * nbytes, 2)
    assert sixteen[0] == pytest.approx(four[0], rel=1e-9)


def test_the_scenario_shows_that_gossip_does_not_wait_for_all():
    summaries = json.loads(golden_path("scenarios/schemes/dpsgd.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in summaries.items()}
    assert seconds["ring of 16"] == pytest.approx(seconds["ring of 4"], rel=1e-9)
    assert 4 < seconds["all-reduce of 16"] / seconds["all-reduce of 4"] < 5
    gaps = {name: summary["facts"]["spectral gap of W"] for name, summary in summaries.items() if "facts" in summary}
    assert (gaps["ring of 4"], gaps["ring of 16"]) == pytest.approx((2 / 3, 0.0507), rel=1e-3)
    assert gaps["16 on a hypercube"] > 5 * gaps["ring of 16"]


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    ("graph", "order"),
    [
        ("triangle with a tail", "combine_then_adapt"),
        pytest.param("triangle with a tail", "adapt_then_combine", marks=pytest.mark.slow),
        pytest.param("ring", "combine_then_adapt", marks=pytest.mark.slow),
        pytest.param("ring", "adapt_then_combine", marks=pytest.mark.slow),
    ],
)
def test_real_runs_give_the_same_bits_bytes_and_messages(graph, order, pool):
    case = scenario({"kind": "dpsgd", "workers": 4, "order": order, **GRAPHS[graph]})
    real, simulated = execute(case, pool=pool), parasim.simulate(case)
    for one, other in zip(real.returns, simulated.returns, strict=True):
        assert one.tobytes() == other.tobytes()
    for figure in ("bytes_sent", "messages_sent", "bytes_received", "control_messages"):
        assert real.summary[f"{figure}_per_worker_per_step"] == simulated.summary[f"{figure}_per_worker_per_step"]
    assert real.summary["facts"] == simulated.summary["facts"]
    assert real.summary["staleness"]["max"] == simulated.summary["staleness"]["max"] == 0
    assert real.summary["loss"] == simulated.summary["loss"]


@pytest.mark.real
def test_a_real_run_that_mixes_all_equals_sequential_sgd_exactly(pool):
    model, steps = EXACT_MODELS["one layer"]
    mixing = make("dpsgd", 2, graph="complete", order="adapt_then_combine", model=model, steps=steps, **EXACT)
    alone = run("sequential", 1, model=model, steps=steps, **{**EXACT, "batch": 8})
    for found in execute(mixing, pool=pool).returns:
        assert found.tobytes() == alone.returns[0].tobytes()
