"""Compute groups: all-reduce at g = 1, Downpour at g = N, and the momentum that asynchrony brings in between."""

import numpy as np
import pytest
import torch

from parasim import closed_form, load, simulate
from parasim.learning.build import make_learner, pin_threads
from parasim.program import Context
from tests.golden import ROOT
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, updates_of, weights
from tests.test_scenarios import golden

NOISE = {"kind": "lognormal", "sigma": 0.5}
LAYERS = {"kind": "layers", "layers": [{"parameters": 2520, "forward_flops": 5040.0, "output_elements": 32}]}
ALGORITHMS = ("ring", "binomial", "recursive_doubling", "rabenseifner", "naive", "direct")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("servers", [1, 2])
def test_one_group_equals_allreduce_and_sequential_in_every_bit(servers, algorithm):
    """SCHEMES 17: S17 with g = 1 is S3."""
    pin_threads()
    model, steps = EXACT_MODELS["two layers"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": steps}
    result = run("compute_groups", 6, workers=4, servers=servers, groups=1, batch=4, algorithm=algorithm, **work)
    together = weights(result, range(4, 4 + servers))
    assert torch.equal(together, weights(run("allreduce", 4, batch=4, **work), range(1)))
    assert torch.equal(together, weights(run("sequential", 1, batch=16, **work), range(1)))


@pytest.mark.parametrize("service", ["serial", "concurrent"])
def test_groups_of_one_equal_downpour_in_every_bit(service):
    """SCHEMES 17: S17 with g = N is S9."""
    pin_threads()
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "noise": NOISE, "service": service}
    groups = run("compute_groups", 5, workers=3, servers=2, groups=3, **work)
    downpour = run("downpour", 5, workers=3, servers=2, **work)
    assert torch.equal(weights(groups, range(5)), weights(downpour, range(5)))
    assert updates_of(groups, 4) == updates_of(downpour, 4)
    assert groups.summary["seconds"] == downpour.summary["seconds"]


def test_workers_of_a_group_hold_equal_parameters():
    pin_threads()
    result = run("compute_groups", 7, workers=6, groups=2, steps=4, data={"kind": "digits"}, learn=True, noise=NOISE)
    held = [weights(result, range(rank, rank + 1)) for rank in range(6)]
    for group in (held[:3], held[3:]):
        assert all(torch.equal(group[0], other) for other in group)
    assert not torch.equal(held[0], held[3])


@pytest.mark.parametrize(("workers", "groups"), [(4, 2), (6, 3), (6, 1)])
def test_mean_staleness_is_one_less_than_the_groups(workers, groups):
    steps = 30
    result = run("compute_groups", workers + 1, workers=workers, groups=groups, steps=steps, noise=NOISE)
    applied = updates_of(result, workers)
    assert {worker for worker, _, _ in applied} == set(range(0, workers, workers // groups))
    assert len(applied) == steps * groups
    assert abs(sum(version - read for _, read, version in applied) - (groups - 1) * len(applied)) <= groups**2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_one_group_meets_its_closed_form(workers, algorithm):
    options = {"workers": workers, "groups": 1, "algorithm": algorithm, "model": LAYERS}
    form = closed_form(make("compute_groups", workers + 1, **options))
    met = steady("compute_groups", workers + 1, **options)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))


@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize(("workers", "groups"), [(4, 2), (8, 4)])
def test_several_groups_are_bound_by_their_closed_form(workers, groups, bandwidth):
    options = {"workers": workers, "groups": groups, "model": LAYERS, "bandwidth": bandwidth}
    form = closed_form(make("compute_groups", workers + 1, **options))
    met = steady("compute_groups", workers + 1, steps=8, **options)
    assert form.seconds_per_step * (1 - 1e-9) <= met[0] <= form.at_most * (1 + 1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))


def test_groups_must_be_equal():
    with pytest.raises(ValueError, match="5 workers do not form 2 equal groups"):
        make("compute_groups", 6, workers=5, groups=2)


# momentum ------------------------------------------------------------------------------------------------------------
def fitted(path, most=12):
    """Momentum and rate of ``d_t+1 = momentum d_t - rate w_t`` on average, from a long stationary run.

    Gradients have noise of mean zero that nothing before knows of, so each equation may be multiplied by any earlier
    w_t-k, k = 1 .. `most`, and averaged over time and dimensions: a linear system of moments, solved by least squares.
    `path` holds w_0, w_1, ... in its rows; the optimum is 0.
    """
    moved = np.diff(path, axis=0)
    left, right = [], []
    for lag in range(1, most + 1):
        past = path[100 : -lag - 2]
        now, step, following = path[100 + lag : -2], moved[99 + lag : -2], moved[100 + lag : -1]
        left.append([(past * step).mean(), -(past * now).mean()])
        right.append((past * following).mean())
    return np.linalg.lstsq(np.array(left), np.array(right), rcond=None)[0]


def path_of(monkeypatch, variant, updates):
    """Distances from the optimum of the server's parameters, after every update of a long run of the scenario."""
    path, update = [], Context.update

    def spy(self, replica, *arguments, **rest):
        if not path:
            path.append(replica.parameters.values.numpy().copy())
        updated = yield from update(self, replica, *arguments, **rest)
        path.append(replica.parameters.values.numpy().copy())
        return updated

    monkeypatch.setattr(Context, "update", spy)
    groups = int(variant.split()[0])
    overrides = [f"run.steps={updates // groups}", "run.trace=aggregate"]
    scenario = load(ROOT / "scenarios" / "schemes" / "compute_groups.yaml", overrides, variant=variant)
    simulate(scenario)
    work = scenario.workload
    learner = make_learner(work.model_kind, work.model_options, work.data_kind, work.data_options, 0, work.dtype)
    return np.array(path) - learner.data.optimum.numpy()


@pytest.mark.parametrize(
    "groups", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(8, marks=pytest.mark.slow)]
)
def test_asynchrony_begets_momentum(monkeypatch, groups):
    """SCHEMES S17.7: 1 - 1/g and 0.2 / g, up to what chance does in so few updates."""
    momentum, rate = fitted(path_of(monkeypatch, f"{groups} groups", 2000))
    assert momentum == pytest.approx(1 - 1 / groups, abs=0.03)
    assert rate == pytest.approx(0.2 / groups, rel=0.15)


def test_scenario():
    """What scenarios/schemes/compute_groups.yaml expects of staleness; of momentum: above."""
    staleness, updates = (golden("schemes_compute_groups", figure) for figure in ("staleness", "updates"))
    assert set(staleness["1 group"]["histogram"]) == {"0"}
    for groups in (2, 4, 8):
        assert updates[f"{groups} groups"] == 30 * groups
        assert staleness[f"{groups} groups"]["mean"] == pytest.approx(groups - 1, rel=0.2)
        assert staleness[f"{groups} groups"]["max"] > 2 * groups
    constant = staleness["4 groups, constant times"]["histogram"]
    assert constant == {"0": 1, "1": 1, "2": 1, "3": 4 * 30 - 3}
    assert updates["2 groups of 4"] == 2 * 30
