"""Local SGD, BMUF and one-shot averaging: what equals what, exactly; all replicas equal after averaging; drift."""

import pytest
import torch

from parasim.learning.build import pin_threads
from parasim.program import Context
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, closed_form, meets

HEAVY_BALL = {"kind": "sgd", "lr": 0.125, "momentum": 0.5}
NESTEROV = {**HEAVY_BALL, "nesterov": True}
PLAIN = {"kind": "sgd", "lr": 0.125}
ADAGRAD = {"kind": "adagrad", "lr": 0.125}


def exact(kind, hosts, model="one layer", steps=3, **settings):
    pin_threads()
    model, _ = EXACT_MODELS[model]
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


def alike(one, other, ranks=range(4)):
    return all(torch.equal(weights(one, range(r, r + 1)), weights(other, range(r, r + 1))) for r in ranks)


# local SGD -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "momentum", "equal"),
    [
        (PLAIN, "keep", True),
        (HEAVY_BALL, "keep", True),  # the buffers' recursion is linear: their mean is the buffer of the mean
        (NESTEROV, "keep", True),
        (HEAVY_BALL, "average", True),
        (HEAVY_BALL, "reset", False),
        (ADAGRAD, "keep", False),  # not linear
    ],
)
def test_averaging_every_step_is_synchronous_sgd(rule, momentum, equal):
    """SCHEMES S6.7, to the last bit; and where it does not hold, it does not."""
    local = exact("local_sgd", 4, period=1, momentum=momentum, optimizer=rule, batch=4)
    assert alike(local, exact("allreduce", 4, optimizer=rule, batch=4)) == equal


def test_averaging_keeps_the_mean_and_makes_all_equal(monkeypatch):
    """Whatever the workers did: the mean of all models before an averaging is what all have after it."""
    pin_threads()
    math = Context.math

    def spy(self, function, touches, reads=(), **rest):
        if function.__name__ == "scale":
            sums.setdefault(self.rank, []).append(touches[0].values.clone())
        result = yield from math(self, function, touches, reads, **rest)
        if function.__name__ == "scale":
            after.setdefault(self.rank, []).append(touches[0].values.clone())
        return result

    sums, after = {}, {}
    monkeypatch.setattr(Context, "math", spy)
    result = exact("local_sgd", 4, period=2, steps=4, batch=4)
    assert all(len(after[rank]) == 2 for rank in range(4))
    for averaging in range(2):
        for rank in range(4):
            assert torch.equal(after[rank][averaging], after[0][averaging])
            assert torch.equal(after[rank][averaging], sums[rank][averaging] / 4)
    assert torch.equal(weights(result, range(1)), after[0][1])


def test_local_steps_are_those_of_independent_workers():
    """With one averaging at the end, the mean of what N runs of SGD give, each on its share: one-shot averaging."""
    local = exact("local_sgd", 4, period=100, batch=4)
    one_shot = exact("one_shot", 5, workers=4, batch=4)
    assert torch.equal(weights(local, range(1)), weights(one_shot, range(4, 5)))
    alone = torch.stack([weights(one_shot, range(rank, rank + 1)) for rank in range(4)])
    assert not torch.equal(alone[0], alone[1])
    assert torch.equal(weights(one_shot, range(4, 5)), alone.mean(0))


def test_post_local_sgd_is_synchronous_until_it_is_local():
    sync = exact("local_sgd", 4, period=8, local_from=3, batch=4)
    assert alike(sync, exact("allreduce", 4, batch=4))
    late = exact("local_sgd", 4, period=8, local_from=1, batch=4)
    assert not alike(late, sync)
    averaged = [row.step for row in late.trace if row.buffer == "averaged" and row.rank == 0]
    assert averaged == [0, 2]


def test_momentum_is_kept_reset_or_averaged():
    """Over several steps to a period, the three differ."""
    models = [
        weights(exact("local_sgd", 4, period=2, steps=4, momentum=momentum, optimizer=HEAVY_BALL, batch=4), range(1))
        for momentum in ("keep", "reset", "average")
    ]
    assert not torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
    assert not torch.equal(models[1], models[2])


@pytest.mark.parametrize("period", [1, 3])
def test_bytes_are_those_of_an_all_reduce_per_period(period):
    """8 L n**2 (N - 1) / N / period (SCHEMES 12 and S6.5): 4 layers of 32 by 32, in float32, on a ring of 4."""
    for kind in ("local_sgd", "bmuf"):
        summary = run(kind, 4, steps=6, period=period).summary
        assert summary["bytes_sent_per_worker_per_step"] == pytest.approx(8 * 4 * 32**2 * (3 / 4) / period)
        assert summary["staleness"]["histogram"] == {0: 4 * 6}
    one_shot = run("one_shot", 5, workers=4, steps=6).summary
    assert one_shot["bytes_sent_per_worker_per_step"] * 6 == 4 * 4 * 32**2
    assert one_shot["bytes_received_per_worker_per_step"] == 0


@pytest.mark.parametrize("kind", ["local_sgd", "bmuf"])
@pytest.mark.parametrize("momentum", ["keep", "reset", "average"])
@pytest.mark.parametrize(("algorithm", "period"), [("ring", 1), ("ring", 3), ("recursive_doubling", 2)])
def test_closed_forms_are_exact(kind, algorithm, period, momentum):
    options = {"algorithm": algorithm, "period": period, "momentum": momentum}
    meets(kind, 4, steps=period, model=LAYERS, optimizer=HEAVY_BALL, **options)
    meets(kind, 5, steps=period, model=LAYERS, optimizer={"kind": "adam"}, **options)


def test_closed_form_of_one_shot_averaging_is_that_of_its_steps():
    meets("one_shot", 4, workers=3, model=LAYERS, optimizer=HEAVY_BALL, launch=1e-6)


def test_one_worker_is_sequential_sgd():
    pin_threads()
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 5, "optimizer": HEAVY_BALL}
    whole = weights(run("sequential", 1, **work), range(1))
    assert torch.equal(weights(run("local_sgd", 1, period=2, **work), range(1)), whole)
    assert torch.equal(weights(run("one_shot", 2, workers=1, **work), range(1)), whole)


def test_one_step_on_a_common_start_is_a_synchronous_step():
    one_shot = exact("one_shot", 5, workers=4, steps=1, batch=4)
    assert torch.equal(weights(one_shot, range(4, 5)), weights(exact("allreduce", 4, steps=1, batch=4), range(1)))


def test_variance_of_one_shot_averaging_falls_like_one_over_n_and_bias_does_not():
    """SCHEMES S5.8: of 16 workers on a noisy quadratic of 64 dimensions, means of 4 vary a quarter as much (15 %)."""
    pin_threads()
    work = {
        "data": {"kind": "quadratic", "dimension": 64, "noise": 1.0, "samples": 4096},
        "model": {"kind": "quadratic"},
        "dtype": "float64",
        "batch": 1,
        "learn": True,
        "steps": 12,
    }
    result = run("one_shot", 17, workers=16, **work)
    models = weights(result, range(16)).view(16, 64)
    fours = models.view(4, 4, 64).mean(1)
    assert float(fours.var(0).mean() / models.var(0).mean()) == pytest.approx(1 / 4, rel=0.15)
    noiseless = weights(run("sequential", 1, **{**work, "data": {**work["data"], "noise": 0.0}}), range(1))
    optimum = optimum_of(make("one_shot", 17, workers=16, **work))
    assert float((models.mean(0) - optimum).norm()) == pytest.approx(float((noiseless - optimum).norm()), rel=0.05)


# BMUF ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", ["classical", "nesterov"])
def test_bmuf_without_momentum_is_local_sgd(block):
    """eta = 0, zeta = 1 (SCHEMES S7.7); Nesterov's then is the classical one."""
    options = {"period": 2, "steps": 4, "momentum": "keep", "optimizer": HEAVY_BALL, "batch": 4}
    bmuf = exact("bmuf", 4, block=block, block_momentum=0.0, **options)
    assert alike(bmuf, exact("local_sgd", 4, **options))


@pytest.mark.parametrize("block", ["classical", "nesterov"])
def test_block_momentum_follows_its_equations(block):
    """One worker on f = h x**2 / 2 with blocks of one step, against the recursion written out."""
    pin_threads()
    data = {"kind": "quadratic", "dimension": 1, "condition": 1.0, "curvature": 0.5}
    work = {"data": data, "model": {"kind": "quadratic"}, "dtype": "float64", "learn": True, "batch": 1, "steps": 6}
    options = {"period": 1, "block": block, "block_momentum": 0.5, "block_rate": 0.75, "optimizer": PLAIN}
    found = weights(run("bmuf", 1, **options, **work), range(1))
    optimum = optimum_of(make("bmuf", 1, **options, **work))
    model = start = initial_weights(make("bmuf", 1, **options, **work)) - optimum
    delta = torch.zeros_like(model)
    for _ in range(6):
        mean = start - 0.125 * 0.5 * start
        delta = 0.5 * delta + 0.75 * (mean - start)
        model = model + delta
        start = model + 0.5 * delta if block == "nesterov" else model
    torch.testing.assert_close(found - optimum, model, rtol=1e-12, atol=1e-12)


def optimum_of(scenario):
    from parasim.learning.build import make_learner

    work = scenario.workload
    learner = make_learner(work.model_kind, work.model_options, work.data_kind, work.data_options, 0, work.dtype)
    return learner.data.optimum


def test_a_constant_drift_is_multiplied_by_n():
    """Delta goes to zeta d / (1 - eta), which is N d at the defaults (SCHEMES S7.7): what averaging divides by N."""
    from parasim.learning.tensors import TorchTensors
    from parasim.schemes.bmuf import block_filter

    xp, drift, workers = TorchTensors("float64"), 0.25, 4
    for ahead in (0.0, 1 - 1 / workers):
        model, delta, start = xp.zeros(1), xp.zeros(1), xp.zeros(1)
        for _ in range(200):
            mean = start + drift
            block_filter(xp, mean, model, delta, 1 - 1 / workers, 1.0, ahead)
            start = mean
        assert float(delta) == pytest.approx(workers * drift, rel=1e-9)


def test_all_replicas_are_equal_at_the_end_of_a_block():
    result = run(
        "bmuf", 4, data={"kind": "digits"}, learn=True, steps=8, period=4, noise={"kind": "lognormal", "sigma": 1}
    )
    first = weights(result, range(1))
    assert all(torch.equal(weights(result, range(rank, rank + 1)), first) for rank in range(1, 4))
    assert closed_form(make("bmuf", 4, algorithm="native")) is None


def test_a_block_momentum_must_be_one():
    with pytest.raises(ValueError, match=r"block_momentum -0\.5: give 0 or more, or -1 for 1 - 1/N"):
        make("bmuf", 4, block_momentum=-0.5)


# what is learned -----------------------------------------------------------------------------------------------------
def test_drift_grows_with_the_period():
    """The models of a run that is not averaged are those of local SGD before its first averaging."""
    pin_threads()
    drift = []
    for period in (1, 4, 16):
        options = {"data": {"kind": "digits"}, "learn": True, "steps": period, "optimizer": PLAIN}
        result = run("one_shot", 5, workers=4, **options)
        models = torch.stack([weights(result, range(rank, rank + 1)) for rank in range(4)])
        drift.append(float((models - models.mean(0)).norm(dim=1).mean()))
    assert drift[1] > 1.5 * drift[0]
    assert drift[2] > 1.5 * drift[1]


def test_losses_grow_with_the_drift_and_time_falls():
    """Expected outcome of scenarios/schemes/local_sgd.yaml."""
    losses, seconds = golden("schemes_local_sgd", "loss"), golden("schemes_local_sgd")
    last = [losses[f"every {n}"]["last"] for n in ("step", "4 steps", "16 steps")]
    assert last[2] > 1.2 * last[1] > 1.2 * last[0]
    assert seconds["every step"] > 3 * seconds["every 4 steps"] > 6 * seconds["every 16 steps"]


def test_scenarios_have_their_expected_outcomes():
    losses = golden("schemes_bmuf", "loss")
    assert losses["classical"]["last"] < losses["plain averages"]["last"]
    assert losses["nesterov"]["last"] < losses["plain averages"]["last"]
    seconds = golden("schemes_one_shot")
    assert seconds["all-reduce"] > 50 * seconds["one shot"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("local_sgd", {"workers": 2, "period": 2, "momentum": "average"}),
        ("bmuf", {"workers": 2, "period": 3}),
        ("one_shot", {"workers": 2}),
    ],
)
def test_real_runs_give_the_same_bits(kind, options, pool):
    same_in_both(learning(kind, **options), pool)
