"""Hierarchical local SGD: every step of all it is all-reduce; groups of one are local SGD; what crosses slow links."""

import json

import pytest
import torch

from parasim import closed_form
from parasim.learning.build import pin_threads
from tests.golden import golden_path
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, weights

EXACT = {"data": EXACT_DATA, "dtype": "float64", "batch": 4, "learn": True}
LAYERS = {
    "kind": "layers",
    "layers": [{"parameters": 2520, "forward_flops": 5040.0, "output_elements": 32, "repeat": 4}],
}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def each(kind, workers, **settings):
    result = run(kind, workers, **EXACT, **settings)
    return torch.stack([weights(result, range(rank, rank + 1)) for rank in range(workers)])


@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_averaging_every_step_equals_allreduce_in_every_bit(name, groups):
    model, steps = EXACT_MODELS[name]
    found = each("hierarchical_sgd", 4, model=model, steps=steps, groups=groups, period=1)
    assert torch.equal(found, each("allreduce", 4, model=model, steps=steps))


@pytest.mark.parametrize("period", [2, 3])
def test_one_group_is_allreduce_and_groups_of_one_are_local_sgd(period):
    model, steps = EXACT_MODELS["one layer"]
    settings = {"model": model, "steps": steps, "period": period}
    one = each("hierarchical_sgd", 4, groups=1, **settings)
    assert torch.equal(one, each("allreduce", 4, model=model, steps=steps))
    alone = each("hierarchical_sgd", 4, groups=4, **settings)
    assert torch.equal(alone, each("local_sgd", 4, **settings))
    assert not torch.equal(alone, one)


def test_members_of_a_group_stay_equal_while_groups_drift():
    """Three steps without an averaging but the last: then all agree again."""
    model, steps = EXACT_MODELS["one layer"]
    found = each("hierarchical_sgd", 4, model=model, steps=steps, groups=2, period=8)
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert not torch.equal(found, each("allreduce", 4, model=model, steps=steps))


def test_groups_must_be_equal():
    with pytest.raises(ValueError, match="5 workers do not fill 2 groups: use a multiple of 2"):
        make("hierarchical_sgd", 5, groups=2)


@pytest.mark.parametrize("bandwidth", [1e6, 1e9])
@pytest.mark.parametrize(
    ("workers", "groups", "period"), [(1, 1, 1), (4, 2, 1), (6, 2, 3), (6, 3, 2), (4, 4, 2), (5, 1, 2)]
)
def test_closed_form(workers, groups, period, bandwidth):
    options = {"model": LAYERS, "groups": groups, "period": period, "bandwidth": bandwidth}
    form = closed_form(make("hierarchical_sgd", workers, **options))
    met = steady("hierarchical_sgd", workers, steps=6, **options)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)
    nbytes = 4 * 4 * 2520
    members = workers // groups
    inside, across = (members - 1) / members, 2 * (groups - 1) / workers
    assert met[1] == pytest.approx(nbytes * (2 * inside + (across + inside) / period), rel=1e-12)


def test_the_scenario_shows_that_the_slow_link_is_crossed_now_and_then():
    found = json.loads(golden_path("scenarios/schemes/hierarchical_sgd.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    assert seconds["every 16 steps"] < 0.3 * seconds["every 4 steps"] < 0.09 * seconds["every step"]
    assert seconds["every step"] < seconds["all-reduce of all"]
    last = {name: summary["loss"]["last"] for name, summary in found.items()}
    assert last["every 16 steps"] == pytest.approx(last["all-reduce of all"], rel=0.2)


@pytest.mark.real
@pytest.mark.parametrize("period", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_real_runs_give_the_same_bits_bytes_and_messages(period, pool):
    same_in_both(learning("hierarchical_sgd", workers=4, groups=2, period=period), pool)
