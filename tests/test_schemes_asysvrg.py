"""AsySVRG: one worker is SVRG; the first inner step is the full gradient; variance vanishes at the optimum."""

import json

import pytest
import torch

import parasim
from parasim import closed_form
from parasim.errors import ProgramError
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from tests.golden import golden_path
from tests.schemes_real import executed, learning, same_payload, same_weights
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, weights

EXACT = {"data": EXACT_DATA, "dtype": "float64", "learn": True, "model": EXACT_MODELS["one layer"][0]}
READS = pytest.mark.parametrize("reads", ["consistent", "inconsistent", "unlocked"])
SOME_READS = pytest.mark.parametrize(
    "reads", ["consistent", pytest.param("inconsistent", marks=pytest.mark.slow), "unlocked"]
)
NOISE = {"kind": "gamma", "shape": 1.0}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def crowd(workers, **settings):
    """On one host with a core for each worker."""
    return run("asysvrg", 1, workers=workers, cores=workers, **settings)


def svrg(case, draws):
    """Johnson and Zhang's SVRG on the samples of the first mini-batches, drawing as the worker does."""
    work, options = case.workload, case.scheme.options
    learner = make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, case.run.seed, work.dtype
    )
    whole, size = learner.model.whole, work.batch_size

    def gradient(at, step):
        samples = learner.samples(step, 0, size, size)
        _, saved = learner.forward(whole, at, learner.inputs(samples), samples)
        return learner.backward(whole, saved, None)[1].clone()

    now = learner.initial(whole).clone()
    reads = []
    for step in range(case.run.steps):
        if step % case.scheme.inner == 0:
            if reads and options.output == "average":
                now = sum(reads) / len(reads)
            reads = []
            anchor = now.clone()
            full = sum(gradient(anchor, j) for j in range(options.pass_steps)) / options.pass_steps
        reads.append(now.clone())
        drawn = draws.integer(options.pass_steps, "samples", step)
        now -= 0.125 * (gradient(now, drawn) - gradient(anchor, drawn) + full)
    return now if options.output == "last" else sum(reads) / len(reads)


@pytest.mark.parametrize("output", ["last", "average"])
@READS
def test_one_worker_is_svrg(reads, output):
    """With the last weights of an epoch, or the mean of those read in it; the second epoch is cut short."""
    from parasim.program.draws import Draws

    options = {"reads": reads, "output": output, "pass_steps": 2, "parts": 3}
    case = make("asysvrg", 1, workers=1, steps=6, batch=4, **options, **EXACT)
    expected = svrg(case, Draws(0, "worker", 0))
    found = weights(parasim.simulate(case), range(1))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert float((expected - weights(crowd(1, steps=5, pass_steps=2, batch=4, **EXACT), range(1))).abs().max()) > 0


def test_an_epoch_may_end_with_the_mean_of_what_all_workers_have_read(monkeypatch):
    read = []
    accumulate = Context.accumulate

    def spy(self, into, other):
        if into.name == "sum of weights read":
            read.append(other.values.clone())
        return (yield from accumulate(self, into, other))

    monkeypatch.setattr(Context, "accumulate", spy)
    settings = {"output": "average", "pass_steps": 2, "batch": 4, "noise": NOISE, **EXACT}
    result = crowd(3, steps=4, **settings)
    assert len(read) == 3 * 4
    for rank in range(3):
        found = weights(result, range(rank, rank + 1))
        torch.testing.assert_close(found, sum(read) / 12, rtol=1e-12, atol=1e-12)
    read.clear()
    crowd(3, steps=8, **settings)
    torch.testing.assert_close(read[12], sum(read[:12]) / 12, rtol=1e-12, atol=1e-12)  # where the second epoch begins


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_first_inner_step_of_an_epoch_is_the_full_gradient(monkeypatch, workers):
    """At u = w_t the two gradients of the drawn samples cancel, whichever were drawn (SCHEMES S16.7)."""
    found = []
    optimize = Context.optimize

    def spy(self, replica, gradient, **rest):
        found.append(gradient.values.clone())
        return (yield from optimize(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "optimize", spy)
    settings = {"pass_steps": 2, "steps": 1, "batch": 4, **EXACT}
    case = make("asysvrg", 1, workers=workers, **settings)
    crowd(workers, **settings)
    work = case.workload
    learner = make_learner(work.model_kind, work.model_options, work.data_kind, work.data_options, 0, work.dtype)
    whole = learner.model.whole
    at, total = learner.initial(whole), 0.0
    for step in range(2):
        samples = learner.samples(step, 0, 4 * workers, 4 * workers)
        _, saved = learner.forward(whole, at, learner.inputs(samples), samples)
        total = total + learner.backward(whole, saved, None)[1] / 2
    assert len(found) == workers
    assert float(total.abs().max()) > 0
    for vector in found:
        assert torch.equal(vector, total)


@READS
def test_variance_vanishes_and_convergence_is_linear(monkeypatch, reads):
    """Steps shrink by one factor per epoch until nothing is left; those of Hogwild at the same rate do not."""
    sizes = []
    optimize = Context.optimize

    def spy(self, replica, gradient, **rest):
        sizes.append(float(gradient.values.norm()))
        return (yield from optimize(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "optimize", spy)
    data = {"kind": "regression", "inputs": 8, "outputs": 2, "noise": 0.5}
    settings = {"model": {"kind": "mlp", "depth": 1}, "data": data, "learn": True, "dtype": "float64", "batch": 4}
    rule = {"kind": "sgd", "lr": 0.02}
    crowd(3, reads=reads, pass_steps=4, steps=96, noise=NOISE, optimizer=rule, **settings)
    epochs = [max(sizes[i : i + 48]) for i in range(0, len(sizes), 24)]
    for epoch in (4, 8, 11):
        assert epochs[epoch] < 0.5 * epochs[epoch - 3]
    sizes.clear()
    run("hogbatch", 1, workers=3, cores=3, steps=96, noise=NOISE, optimizer={"kind": "sgd", "lr": 0.005}, **settings)
    assert max(sizes[-24:]) > 0.05 * max(sizes[:24])


def test_locks_decide_what_is_torn_or_lost():
    counts = {}
    for reads in ("consistent", "inconsistent", "unlocked"):
        summary = crowd(4, reads=reads, parts=6, steps=64, noise=NOISE, pass_steps=2).summary
        counts[reads] = summary["torn_reads"], summary["lost_updates"]
    assert counts["consistent"] == (0, 0)
    assert counts["inconsistent"][0] > 0
    assert counts["inconsistent"][1] == 0
    assert min(counts["unlocked"]) > 0


def test_two_barriers_an_epoch_and_one_in_the_end():
    """What each worker sends of a barrier's messages, header-only: two for four workers (SCHEMES S16.5)."""
    result = crowd(4, steps=12, pass_steps=2)
    barriers = [row for row in result.trace if row.rank == 0 and row.op == "collective" and row.label == "barrier"]
    assert len(barriers) == 2 * 3 + 1
    assert result.summary["bytes_sent_per_worker_per_step"] == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="1000000 parts are more than the"):
        make("asysvrg", 1, parts=10**6)
    with pytest.raises(ProgramError, match="leave weight_decay out"):
        crowd(1, optimizer={"kind": "sgd", "lr": 0.1, "weight_decay": 0.1})


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        *((n, {"output": "average", "parts": parts}) for n, parts in ((1, 1), (4, 3))),
        *((1, {}), (4, {}), (4, {"parts": 4})),
        (1, {"reads": "consistent", "parts": 3}),
        (4, {"inner": 3, "pass_steps": 2}),
    ],
)
def test_closed_form(workers, options):
    settings = {"workers": workers, "cores": workers, "launch": 1e-7, **options}
    form, met = closed_form(make("asysvrg", 1, **settings)), steady("asysvrg", 1, steps=48, **settings)
    assert form.exact
    assert met == pytest.approx((form.seconds_per_step, 0.0, 0.0), rel=1e-9)


@pytest.mark.parametrize("reads", ["consistent", "inconsistent"])
def test_closed_form_bounds_what_waits_for_locks(reads):
    """By little: of four workers that compute most of the time, one or two wait for a lock."""
    settings = {"workers": 4, "cores": 4, "reads": reads}
    form, met = closed_form(make("asysvrg", 1, **settings)), steady("asysvrg", 1, steps=48, **settings)
    assert form.meaning == "lower bound"
    assert 1 < met[0] / form.seconds_per_step < 1.1


def test_the_scenario_shows_that_less_variance_reaches_the_optimum():
    loss = {
        name: summary["loss"]["last"]
        for name, summary in json.loads(golden_path("scenarios/schemes/asysvrg.yaml").read_text()).items()
    }
    assert loss["AsySVRG, unlocked"] < loss["AsySVRG, averaged"] < 1.5 * loss["AsySVRG, unlocked"]
    assert (
        max(loss[f"AsySVRG, {reads}"] for reads in ("consistent", "inconsistent", "unlocked")) < 0.8 * loss["HogBatch"]
    )


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@SOME_READS
def test_one_real_worker_is_svrg(reads, pool):
    options = {"reads": reads, "output": "last" if reads == "unlocked" else "average", "pass_steps": 2, "parts": 3}
    case = make("asysvrg", 1, workers=1, steps=6, batch=4, **options, **EXACT)
    same_weights(executed(case, pool), parasim.simulate(case))


@pytest.mark.real
@SOME_READS
def test_real_workers_share_the_weights(reads, pool):
    rule = {"kind": "sgd", "lr": 0.05}
    case = learning("asysvrg", hosts=1, workers=3, parts=4, reads=reads, pass_steps=2, steps=12, optimizer=rule)
    real, simulated = executed(case, pool), parasim.simulate(case)
    same_payload(real, simulated)
    assert real.summary["staleness"]["count"] == simulated.summary["staleness"]["count"] == 36
    if reads != "unlocked":
        assert real.summary["lost_updates"] == 0
    if reads == "consistent":
        assert real.summary["torn_reads"] == 0
    assert real.summary["loss"]["last"] < real.summary["loss"]["first"]
    for weights_of in real.returns[1:]:
        assert weights_of.tobytes() == real.returns[0].tobytes()
