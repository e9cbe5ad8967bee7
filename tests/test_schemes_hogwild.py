"""Hogwild! and HogBatch: one worker is sequential SGD, disjoint supports a serial run; lost updates and torn reads."""

import json

import pytest
import torch

import parasim
from calibration.checking.statistics import distance
from parasim import closed_form
from parasim.errors import ProgramError
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from parasim.scenario import from_document
from tests.effort import attempted
from tests.golden import golden_path
from tests.schemes_real import executed, learning, same_payload, same_weights
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, steady, weights

EXACT = {"data": EXACT_DATA, "dtype": "float64", "learn": True}
QUADRATIC = {
    "model": {"kind": "quadratic"},
    "data": {"kind": "quadratic", "dimension": 12, "integers": True, "noise": 2.0, "condition": 4.0},
    "dtype": "float64",
    "learn": True,
}
"""H is diagonal: an element's gradient depends on that element alone."""
NOISE = {"kind": "gamma", "shape": 1.0}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def crowd(kind, workers, **settings):
    """On one host with a core for each worker."""
    return run(kind, 1, workers=workers, cores=workers, **settings)


def changes(monkeypatch):
    """What every addition should add, as it is made."""
    made = []
    optimize = Context.optimize

    def spy(self, replica, gradient, **rest):
        result = yield from optimize(self, replica, gradient, **rest)
        made.append(replica.parameters.values.clone())
        return result

    monkeypatch.setattr(Context, "optimize", spy)
    return made


# equalities ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize("access", ["atomic", "plain", "locked"])
def test_one_worker_is_sequential_sgd_in_every_bit(name, access):
    model, steps = EXACT_MODELS[name]
    alone = run("sequential", 1, model=model, steps=steps, batch=1, **EXACT)
    found = crowd("hogwild", 1, model=model, steps=steps, batch=1, access=access, parts=3, **EXACT)
    assert torch.equal(weights(found, range(1)), weights(alone, range(1)))
    assert found.summary["staleness"]["max"] == 0


@pytest.mark.parametrize("rule", [{"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adam", "lr": 0.01}])
def test_one_worker_is_sequential_sgd_on_digits_to_rounding(rule):
    settings = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "batch": 1, "optimizer": rule}
    alone, found = run("sequential", 1, **settings), crowd("hogwild", 1, **settings)
    torch.testing.assert_close(weights(found, range(1)), weights(alone, range(1)), rtol=1e-4, atol=1e-6)


def test_the_rate_falls_to_nine_tenths_with_every_epoch(monkeypatch):
    """SCHEMES S14.4: constant in an epoch (here of two steps of two workers), as the paper has it."""
    made, gradients, gradient = changes(monkeypatch), [], Context.gradient

    def spy(self, parameters, batch, into):
        yield from gradient(self, parameters, batch, into)
        gradients.append((batch.step, into.values.clone()))
        return into

    monkeypatch.setattr(Context, "gradient", spy)
    data = {"kind": "regression", "inputs": 4, "outputs": 2, "samples": 16}
    rule = {"kind": "sgd", "lr": 0.5, "schedule": {"kind": "exponential", "by": "epochs"}}
    work = {"model": {"kind": "mlp", "depth": 1}, "data": data, "dtype": "float64", "learn": True, "batch": 4}
    crowd("hogwild", 2, steps=6, optimizer=rule, **work)
    assert len(made) == len(gradients) == 2 * 6 * 4
    sizes = {
        step: {
            round(float((change / found).mean()), 12)
            for change, (at, found) in zip(made, gradients, strict=True)
            if at == step
        }
        for step in range(6)
    }
    assert sizes == {step: {round(-0.5 * 0.9 ** (step // 2), 12)} for step in range(6)}


@pytest.mark.parametrize("name", EXACT_MODELS)
def test_one_worker_with_batches_is_sgd_with_sums_of_gradients(name):
    """The sum of 16 gradients at a sixteenth of the rate is their mean at the rate."""
    model, steps = EXACT_MODELS[name]
    alone = run("sequential", 1, model=model, steps=steps, batch=16, **EXACT)
    rule = {"kind": "sgd", "lr": 0.125 / 16}
    found = crowd("hogbatch", 1, model=model, steps=steps, batch=16, optimizer=rule, **EXACT)
    assert torch.equal(weights(found, range(1)), weights(alone, range(1)))


def test_batches_of_one_sample_are_hogwild():
    settings = {"data": {"kind": "digits"}, "learn": True, "batch": 4, "noise": NOISE, "parts": 2, "access": "plain"}
    one, other = crowd("hogwild", 3, **settings), crowd("hogbatch", 3, at_once=1, **settings)
    assert one.trace.digest() == other.trace.digest()
    assert torch.equal(weights(one, range(3)), weights(other, range(3)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("access", ["atomic", "plain"])
def test_disjoint_supports_are_a_serial_run_in_every_bit(seed, access):
    """Whatever order the workers come in: each part has one writer (SCHEMES S14.7)."""
    options = {"workers": 3, "parts": 6, "support": "own", "access": access}
    case = make("hogwild", 1, cores=3, batch=2, steps=3, noise=NOISE, seed=seed, **options, **QUADRATIC)
    result = parasim.simulate(case)
    work = case.workload
    learner = make_learner(work.model_kind, work.model_options, work.data_kind, work.data_options, seed, "float64")
    whole, (shared,) = learner.model.whole, case.scheme.shared(learner.model)
    expected = learner.initial(whole).clone()
    for worker in (2, 0, 1):
        own = torch.zeros_like(expected)
        for part in range(worker, 6, 3):
            own[slice(*shared.bounds(part))] = 1.0
        for step in range(3):
            for piece in range(2):
                first = 2 * worker + piece
                samples = learner.samples(step, first, first + 1, 6)
                _, saved = learner.forward(whole, expected, learner.inputs(samples), samples)
                expected -= 0.125 * own * learner.backward(whole, saved, None)[1]
    for rank in range(3):
        assert torch.equal(weights(result, range(rank, rank + 1)), expected)
    assert result.summary["lost_updates"] == 0
    assert not torch.equal(expected, learner.initial(whole))


# races ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("access", ["atomic", "locked"])
@pytest.mark.parametrize("kind", ["hogwild", "hogbatch"])
def test_what_is_added_is_there(monkeypatch, kind, access):
    made = changes(monkeypatch)
    model, _ = EXACT_MODELS["one layer"]
    settings = {"model": model, "parts": 3, "access": access, "batch": 4, "steps": 2, "noise": NOISE, **EXACT}
    result = crowd(kind, 3, **settings)
    start = initial_weights(make(kind, 1, workers=3, **settings))
    assert torch.equal(weights(result, range(1)), start + torch.stack(made).sum(0))
    assert len(made) == (24 if kind == "hogwild" else 6)
    assert result.summary["lost_updates"] == 0


def test_plain_additions_lose_what_others_write_meanwhile(monkeypatch):
    made = changes(monkeypatch)
    model, _ = EXACT_MODELS["one layer"]
    settings = {"model": model, "access": "plain", "batch": 4, "steps": 2, **EXACT}
    start = initial_weights(make("hogwild", 1, workers=3, **settings))
    result = crowd("hogwild", 3, **settings)
    assert result.summary["lost_updates"] > 0
    assert not torch.equal(weights(result, range(1)), start + torch.stack(made).sum(0))
    made.clear()
    alone = crowd("hogwild", 1, **settings)
    assert alone.summary["lost_updates"] == 0
    assert torch.equal(weights(alone, range(1)), start + torch.stack(made).sum(0))


def test_reads_of_several_parts_may_be_torn():
    counts = [crowd("hogbatch", 4, parts=parts, steps=80, noise=NOISE).summary["torn_reads"] for parts in (1, 8)]
    assert counts[0] == 0
    assert counts[1] > 40


def test_staleness_is_one_less_than_the_workers_where_gradients_take_the_time():
    """Every write of another falls between a worker's read and its write, but for those beside the read."""
    result = crowd("hogbatch", 4, batch=256, steps=1300, trace="aggregate", noise=NOISE, memory_bandwidth=1e11)
    assert result.summary["staleness"]["count"] == 5200
    assert result.summary["staleness"]["mean"] == pytest.approx(3, rel=0.03)


def test_weight_decay_is_refused():
    with pytest.raises(
        ProgramError, match="hogwild adds -lr g to weights that it does not hold: leave weight_decay out"
    ):
        crowd("hogwild", 1, optimizer={"kind": "sgd", "lr": 0.1, "weight_decay": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": 10**6}, "1000000 parts are more than the"),
        ({"support": "own", "workers": 2, "parts": 3}, "support: own needs parts in a multiple of 2 workers"),
        ({"support": "drawn", "touched": 3, "parts": 2}, "touched: 3 parts of 2"),
    ],
)
def test_what_is_not_there_cannot_be_touched(options, message):
    with pytest.raises(ValueError, match=message):
        make("hogwild", 1, **options)


def test_memory_is_that_of_one_machine():
    with pytest.raises(ValueError, match="its memory is shared, but its actors sit on 2 hosts"):
        make("hogwild", 2, workers=2)


# cost ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"parts": 4},
        {"parts": 4, "access": "plain"},
        {"parts": 4, "support": "own"},
        {"parts": 8, "support": "drawn", "touched": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["hogwild", "hogbatch"])
@pytest.mark.parametrize("workers", [1, 4])
def test_closed_form(kind, workers, options):
    settings = {"workers": workers, "cores": workers, "launch": 1e-7, "batch": 8, **options}
    form, met = closed_form(make(kind, 1, **settings)), steady(kind, 1, steps=4, **settings)
    assert form.exact
    assert met == pytest.approx((form.seconds_per_step, 0.0, 0.0), rel=1e-9)


def test_the_scenario_shows_that_batches_save_lines_between_cores():
    """In step, every write finds the lines written by another: b times a step for samples, once for a batch."""
    found = json.loads(golden_path("scenarios/schemes/hogwild.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    lines = 100e-9 * -(-4 * 4 * 1024 // 64)
    assert seconds["one core, lines cost"] == pytest.approx(seconds["one core"], rel=1e-9)
    extra = seconds["samples, lines cost"] - seconds["samples"]
    assert extra == pytest.approx(16 * lines, rel=0.05)
    assert seconds["batches, lines cost"] - seconds["batches"] == pytest.approx(extra / 16, rel=0.05)


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("access", ["plain", *(pytest.param(a, marks=pytest.mark.slow) for a in ("atomic", "locked"))])
def test_one_real_worker_is_sequential_sgd(access, pool):
    model, steps = EXACT_MODELS["two layers"]
    alone = run("sequential", 1, model=model, steps=steps, batch=1, **EXACT)
    case = make("hogwild", 1, model=model, steps=steps, batch=1, access=access, parts=3, **EXACT)
    same_weights(executed(case, pool), alone)


@pytest.mark.real
@pytest.mark.parametrize("access", ["atomic", pytest.param("locked", marks=pytest.mark.slow)])
def test_real_workers_share_the_weights_and_lose_nothing(access, pool):
    case = learning(
        "hogbatch",
        hosts=1,
        workers=3,
        parts=4,
        access=access,
        steps=8,
        at_once=4,
        optimizer={"kind": "sgd", "lr": 0.02},
    )
    real, simulated = executed(case, pool), parasim.simulate(case)
    same_payload(real, simulated)
    assert real.summary["staleness"]["count"] == simulated.summary["staleness"]["count"] == 3 * 8 * 4
    assert real.summary["lost_updates"] == simulated.summary["lost_updates"] == 0
    assert real.summary["updates"] == simulated.summary["updates"] == 3 * 8 * 4  # of the one vector, by all
    assert real.summary["loss"]["last"] < real.summary["loss"]["first"]
    for weights_of in real.returns[1:]:
        assert weights_of.tobytes() == real.returns[0].tobytes()


@pytest.mark.real
def test_what_plain_additions_of_real_workers_lose_had_been_written_meanwhile(pool):
    """Of some 480 additions dozens are lost in the simulator; of real ones, what the machine's turns have it.

    Whoever overwrites another's addition read before that was made, so its gradient was stale.
    """
    rule = {"kind": "sgd", "lr": 0.01}
    case = learning("hogbatch", hosts=1, workers=3, access="plain", steps=40, at_once=4, optimizer=rule)
    real, simulated = executed(case, pool), parasim.simulate(case)
    for result in (real, simulated):
        staleness = result.summary["staleness"]
        assert staleness["count"] == 480
        assert staleness["mean"] <= 2  # the law's N - 1
        assert result.summary["lost_updates"] <= 480 - staleness["histogram"].get(0, 0)
        assert result.summary["torn_reads"] == 0  # one part
        assert result.summary["bytes_sent_per_worker_per_step"] == 0
    assert simulated.summary["lost_updates"] > 0


def paced(scheme, workers):
    """Workers with drawn times, without values."""
    return from_document(
        {
            "name": "staleness",
            "workload": {"model": {"kind": "mlp", "width": 32, "depth": 4}, "batch_size": 64},
            "cluster": {
                "topology": {"kind": "star", "hosts": 1},
                "host": {"cores": 3},
                "device": {"flops": "40 MFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"},
                "link": {"bandwidth": "10 Gbit/s"},
                "noise": {"kind": "lognormal", "sigma": 0.5},
            },
            "scheme": {"workers": workers, **scheme},
            "run": {"steps": 40, "seed": 1},
            "execute": {"compute": "paced"},
        }
    )


SHARING = pytest.mark.parametrize(
    "scheme",
    [{"kind": "hogbatch"}, pytest.param({"kind": "asysvrg", "pass_steps": 4}, marks=pytest.mark.slow)],
    ids=lambda scheme: scheme["kind"],
)


@pytest.mark.real
@SHARING
def test_mean_staleness_of_real_workers_is_one_less_than_they_are_at_most(scheme, pool):
    """Whoever reads has seen its own last addition: others make (N - 1) additions per gradient, if all were late."""
    for workers in (2, 3):
        staleness = executed(paced(scheme, workers), pool).summary["staleness"]
        assert staleness["count"] == workers * 40
        assert staleness["mean"] <= workers - 1


@pytest.mark.real
@pytest.mark.slow  # judges times
@SHARING
def test_staleness_of_real_workers_is_distributed_as_simulated(scheme, pool):
    """Their interleaving can't be replayed, so whole distributions are compared: three workers, drawn times, paced.

    By Kolmogorov and Smirnov's distance: two samples of 120 gradients are apart by 0.25 once in 1,000 times; two
    workers in place of three, or none that meet, are farther.
    """
    three, two = (parasim.simulate(paced(scheme, workers)).summary["staleness"] for workers in (3, 2))
    real = attempted(
        lambda: executed(paced(scheme, 3), pool).summary["staleness"],
        lambda found: distance(found["histogram"], three["histogram"]) < 0.25,
    )
    assert real["count"] == three["count"] == 3 * 40
    assert distance(real["histogram"], three["histogram"]) < 0.25
    assert distance(two["histogram"], three["histogram"]) > 0.4
