"""EASGD: elastic exchanges conserve, the centre finds the mean, and the regions of stability are those of theory."""

import itertools

import pytest
import torch

from parasim import simulate
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from tests.schemes_real import executed, learning, same_in_both, same_payload, same_when_replayed
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, weights
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, RULES, closed_form, meets, steady

ORDERS = ["asynchronous", "round_robin", "synchronous"]
DETERMINED = ["round_robin", "synchronous"]


def exact(kind, hosts, steps=2, **settings):
    pin_threads()
    model, _ = EXACT_MODELS["one layer"]
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, steps=steps, **settings)


# invariants ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("order", "servers"), [*((order, 1) for order in ORDERS), ("asynchronous", 3)])
def test_without_elasticity_all_are_independent(order, servers):
    """alpha = 0 (SCHEMES S8.7 a): N runs of sequential SGD, and the centre stays where it began."""
    work = {"steps": 3, "batch": 4}
    easgd = exact("easgd", 6, workers=3, servers=servers, moving_rate=0.0, order=order, period=1, **work)
    alone = exact("one_shot", 4, workers=3, **work)
    for rank in range(3):
        assert torch.equal(weights(easgd, range(rank, rank + 1)), weights(alone, range(rank, rank + 1)))
    start = initial_weights(make("sequential", 1, model=EXACT_MODELS["one layer"][0], data=EXACT_DATA, dtype="float64"))
    assert torch.equal(weights(easgd, range(3, 3 + servers)), start)
    assert not torch.equal(weights(easgd, range(1)), weights(easgd, range(1, 2)))


@pytest.mark.parametrize("order", DETERMINED)
@pytest.mark.parametrize("kind", ["easgd", "eamsgd"])
def test_shards_of_the_centre_are_the_centre(kind, order):
    """Element by element nothing differs, and a shard for each of two servers costs a message more."""
    options = {"workers": 3, "order": order, "period": 2, "data": {"kind": "digits"}, "learn": True, "steps": 5}
    pin_threads()
    one, two = (run(kind, 5, servers=servers, **options) for servers in (1, 2))
    assert torch.equal(weights(two, range(3)), weights(one, range(3)))
    assert torch.equal(weights(two, range(3, 5)), weights(one, range(3, 4)))
    traffic = [[r.summary[f"{what}_sent_per_worker_per_step"] for what in ("bytes", "messages")] for r in (one, two)]
    assert traffic[1] == [traffic[0][0], 2 * traffic[0][1]]


@pytest.mark.parametrize(
    ("order", "momentum", "moves", "servers"),
    [
        *itertools.product(ORDERS, (0.0, 0.5), ("with_gradient", "after_steps"), (1,)),
        *itertools.product(ORDERS, (0.0,), ("after_steps",), (3,)),
    ],
)
def test_exchanges_conserve_the_sum(monkeypatch, order, momentum, moves, servers):
    """Sum of all x_i and c changes by the gradient steps alone (SCHEMES S8.7 b): all numbers are dyadic."""
    changes = []
    math = Context.math

    def spy(self, function, touches, reads=(), **rest):
        own = function.__name__ == ("move" if momentum else "update")
        counted = own and self.role == "worker" and rest.get("way", 1.0) == 1.0
        before = touches[0].values.clone() if counted else None
        result = yield from math(self, function, touches, reads, **rest)
        if counted:
            changes.append(touches[0].values - before)
        return result

    monkeypatch.setattr(Context, "math", spy)
    options = {"workers": 4, "moving_rate": 1.0, "order": order, "period": 2, "momentum": momentum, "moves": moves}
    result = exact("easgd", 7, servers=servers, steps=3, batch=4, speeds={1: 0.4}, **options)
    start = initial_weights(make("sequential", 1, model=EXACT_MODELS["one layer"][0], data=EXACT_DATA, dtype="float64"))
    held = [weights(result, range(rank, rank + 1)) for rank in range(4)]
    total = torch.stack([*held, weights(result, range(4, 4 + servers))]).sum(0)
    assert len(changes) == 4 * 3
    assert torch.equal(total, 5 * start + torch.stack(changes).sum(0))


def test_the_gradient_is_that_before_the_elastic_move():
    """Two steps of one worker, against the equations written out."""
    pin_threads()
    optimum, found, start = one_dimension("round_robin", workers=1, curvature=0.5, rate=0.5, alpha=0.25, steps=2)
    x = c = start - optimum
    for _ in range(2):
        moved = 0.25 * (x - c)
        x, c = x - moved - 0.5 * 0.5 * x, c + moved
    assert found[0] - optimum == pytest.approx(x, rel=1e-12)
    assert found[1] - optimum == pytest.approx(c, rel=1e-12)


def test_momentum_follows_its_equations():
    """EAMSGD: ``v = delta v - lr g(x + delta v)``, ``x += v`` and the elastic move."""
    pin_threads()
    settings = {"workers": 1, "curvature": 0.5, "rate": 0.5, "alpha": 0.25, "steps": 4, "momentum": 0.5}
    optimum, found, start = one_dimension("round_robin", kind="eamsgd", **settings)
    x, c, v = start - optimum, start - optimum, 0.0
    for _ in range(4):
        moved = 0.25 * (x - c)
        v = 0.5 * v - 0.5 * 0.5 * (x + 0.5 * v)
        x, c = x - moved + v, c + moved
    assert found[0] - optimum == pytest.approx(x, rel=1e-12)
    assert found[1] - optimum == pytest.approx(c, rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_hermans_takes_the_steps_first(order):
    """Two steps, then the move, from there on; the fifth step is left without one."""
    pin_threads()
    settings = {"workers": 1, "curvature": 0.5, "rate": 0.5, "alpha": 0.25, "steps": 5, "moves": "after_steps"}
    optimum, found, start = one_dimension(order, **{**settings, "period": 2})
    x = c = start - optimum
    for step in range(5):
        x -= 0.5 * 0.5 * x
        if step % 2:
            moved = 0.25 * (x - c)
            x, c = x - moved, c + moved
    assert found[0] - optimum == pytest.approx(x, rel=1e-12)
    assert found[1] - optimum == pytest.approx(c, rel=1e-12)


def test_exchanges_come_early_where_the_pull_undoes_the_step():
    """SCHEMES S8.7 e: lengths of step and pull differ by less than lr; until then every third step."""
    pin_threads()
    options = {"period": 3, "moves": "after_steps", "early": True}
    lr, curvature, alpha = 1 / 64, 16.0, 0.75
    settings = {"workers": 1, "curvature": curvature, "rate": lr, "alpha": alpha, "steps": 40}
    optimum, found, start = one_dimension("asynchronous", **settings, **options)
    x = c = start - optimum
    since, fetched, exchanges = 0, None, []
    for step in range(40):
        g = curvature * x
        x, since = x - lr * g, since + 1
        undone = fetched is not None and abs(lr * abs(g) - alpha * abs(x - fetched)) < lr
        if undone or since == 3:
            fetched, moved, since = c, alpha * (x - c), 0
            x, c = x - moved, c + moved
            exchanges.append(step)
    assert found[0] - optimum == pytest.approx(x, rel=1e-12)
    assert found[1] - optimum == pytest.approx(c, rel=1e-12)
    gaps = {later - earlier for earlier, later in itertools.pairwise(exchanges)}
    assert gaps == {1, 3}


def test_early_exchanges_wait_for_nobody():
    with pytest.raises(ValueError, match="early exchanges need order: asynchronous and moves: after_steps"):
        make("easgd", 4, early=True)


def one_dimension(order, *, workers, curvature, rate, alpha, steps, kind="easgd", **options):
    """Optimum of f = h x**2 / 2, where all end (workers, then the centre), and the common start."""
    work = {
        "data": {"kind": "quadratic", "dimension": 1, "condition": 1.0, "curvature": curvature},
        "model": {"kind": "quadratic"},
        "dtype": "float64",
        "batch": 1,
        "optimizer": {"kind": "sgd", "lr": rate},
    }
    given = {"workers": workers, "moving_rate": alpha * workers, "order": order, "period": 1, **options}
    result = run(kind, workers + 1, learn=True, steps=steps, **given, **work)
    scenario = make(kind, workers + 1, **given, **work)
    kinds = scenario.workload
    learner = make_learner(
        kinds.model_kind, kinds.model_options, kinds.data_kind, kinds.data_options, scenario.run.seed, kinds.dtype
    )
    ends = [float(weights(result, range(rank, rank + 1))) for rank in range(workers + 1)]
    return float(learner.data.optimum), ends, float(learner.initial(learner.model.whole))


def test_the_centre_finds_the_mean_where_nothing_is_learned(monkeypatch):
    """lr = 0 in effect, unequal starts: c goes to the mean of all x_i and c (SCHEMES S8.7 c)."""
    pin_threads()
    initial = Context.initial

    def shifted(self, name="weights", part=None):
        buffer = initial(self, name, part)
        buffer.values.add_(float(self.rank))
        return buffer

    monkeypatch.setattr(Context, "initial", shifted)
    settings = {"workers": 3, "curvature": 1.0, "rate": 1e-300, "alpha": 0.25, "steps": 90}
    _, ends, start = one_dimension("synchronous", **settings)
    mean = start + (0 + 1 + 2 + 3) / 4
    assert ends == pytest.approx([mean] * 4, rel=1e-9)


# stability -----------------------------------------------------------------------------------------------------------
def boundary(order, workers, eta_h):
    """Largest stable alpha on f = h x**2 / 2 with eta_h = lr h (SCHEMES S8.7 d)."""
    if order == "round_robin":
        return (4 - 2 * eta_h) / (4 - eta_h)
    return min(2 - eta_h, (4 - 2 * eta_h) / (2 + workers * (2 - eta_h)))


@pytest.mark.parametrize("order", DETERMINED)
@pytest.mark.parametrize("eta_h", [0.25, 1.0, 1.75])
@pytest.mark.parametrize("workers", [1, 3])
def test_region_of_stability(order, eta_h, workers):
    """7 % inside the boundary distances shrink, 7 % outside they grow."""
    pin_threads()
    sizes = []
    for factor in (0.93, 1.07):
        alpha = factor * boundary(order, workers, eta_h)
        settings = {"workers": workers, "curvature": 1.0, "rate": eta_h, "alpha": alpha}
        distances = []
        for steps in (32, 64):
            optimum, ends, _ = one_dimension(order, steps=steps, **settings)
            distances.append(max(abs(end - optimum) for end in ends))
        sizes.append(distances[1] / distances[0])
    assert sizes[0] < 0.9
    assert sizes[1] > 1.1


def test_region_of_stability_in_a_scenario():
    """Expected outcome of scenarios/schemes/easgd_stability.yaml: the optimum has loss 0."""
    losses = golden("schemes_easgd_stability", "loss")
    for name in ("in turn, alpha 0.6", "in step, alpha 0.3"):
        assert losses[name]["last"] < 1e-3 * losses[name]["first"]
    for name in ("in turn, alpha 0.72", "in step, alpha 0.36", "in step, alpha 0.6"):
        assert losses[name]["last"] > 1e3 * losses[name]["first"]


# costs ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["easgd", "eamsgd"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("period", [1, 3])
def test_bytes_are_2_p_and_messages_2_per_period(kind, order, period):
    """SCHEMES 12: 8 L n**2 / period per worker and step, there and back together."""
    summary = run(kind, 4, workers=3, order=order, period=period, steps=6).summary
    both = summary["bytes_sent_per_worker_per_step"] + summary["bytes_received_per_worker_per_step"]
    assert both == pytest.approx(8 * 4 * 32**2 / period)
    assert summary["messages_sent_per_worker_per_step"] == pytest.approx(1 / period)
    assert summary["messages_received_per_worker_per_step"] == pytest.approx(1 / period)
    assert summary["staleness"]["histogram"] == {0: 3 * 6}


@pytest.mark.parametrize("rule", RULES[:2])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize(("order", "workers"), [("asynchronous", 1), ("round_robin", 4), ("synchronous", 4)])
def test_closed_form_is_exact(order, workers, period, momentum, rule):
    options = {"order": order, "period": period, "momentum": momentum, "optimizer": rule, "launch": 1e-6}
    meets("easgd", workers + 1, steps=4 * period, workers=workers, model=LAYERS, batch=256, **options)


@pytest.mark.parametrize(("order", "workers"), [("asynchronous", 1), ("round_robin", 4), ("synchronous", 4)])
def test_closed_form_is_exact_where_steps_come_first(order, workers):
    options = {"order": order, "period": 3, "moves": "after_steps", "launch": 1e-6}
    meets("easgd", workers + 1, steps=12, workers=workers, model=LAYERS, batch=256, **options)


@pytest.mark.parametrize(("order", "workers"), [("asynchronous", 1), ("round_robin", 4), ("synchronous", 4)])
def test_closed_form_of_shards_is_exact(order, workers):
    options = {"order": order, "period": 2, "servers": 2, "launch": 1e-6, "model": LAYERS, "batch": 256}
    meets("easgd", workers + 2, steps=8, workers=workers, **options)


def test_round_robin_is_bound_by_its_turns():
    meets("easgd", 5, steps=8, workers=4, order="round_robin", period=1, model=LAYERS, bandwidth=1e6)


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
def test_closed_form_of_many_asynchronous_workers_is_a_lower_bound(bandwidth, servers):
    options = {"workers": 4, "servers": servers, "period": 2, "model": LAYERS, "bandwidth": bandwidth}
    form, met = closed_form(make("easgd", 6, **options)), steady("easgd", 6, steps=16, **options)
    assert form.meaning == "lower bound"
    assert form.seconds_per_step * (1 - 1e-9) <= met[0] < 2.1 * form.seconds_per_step  # all fetch, then all push


# what is learned -----------------------------------------------------------------------------------------------------
def test_scenario_has_its_expected_outcome():
    losses, seconds = golden("schemes_easgd", "loss"), golden("schemes_easgd")
    last = {name: variant["last"] for name, variant in losses.items()}
    assert seconds["every 16 steps"] < 0.5 * seconds["every step"]
    assert seconds["every 16 steps"] < seconds["every 16 steps, in step"]
    first = losses["every step"]["first"]
    for name in ("every step", "every 16 steps", "every 16 steps, in turn", "every 16 steps, in step"):
        assert last[name] < 0.3 * first
    assert last["every 16 steps, momentum"] < 0.5 * first
    assert seconds["every 16 steps"] < seconds["up to 16 steps, or early"] < seconds["every step"]
    assert last["up to 16 steps, or early"] < 0.3 * first
    assert last["Downpour every 16 steps"] > first


# both runtimes -------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("order", DETERMINED)
def test_real_runs_give_the_same_bits(order, pool):
    kind, rule = ("eamsgd", {"kind": "sgd", "lr": 0.05}) if order == "round_robin" else ("easgd", None)
    same_in_both(learning(kind, workers=2, order=order, period=2, optimizer=rule), pool)


@pytest.mark.real
@pytest.mark.parametrize(("workers", "servers", "early"), [(3, 1, False), (2, 2, False), (2, 2, True)])
def test_a_recorded_real_run_is_replayed_exactly(workers, servers, early, pool, tmp_path):
    moves = "after_steps" if early else "with_gradient"
    options = {"workers": workers, "servers": servers, "period": 2, "moves": moves, "early": early}
    case = learning("easgd", steps=8, **options)
    real = same_when_replayed(case, pool, tmp_path / "run.json")
    if not early:
        same_payload(real, simulate(case))


@pytest.mark.real
@pytest.mark.slow
def test_payload_of_momentum_is_equal_in_both_runtimes(pool):
    case = learning("eamsgd", workers=2, period=3)
    same_payload(executed(case, pool), simulate(case))
