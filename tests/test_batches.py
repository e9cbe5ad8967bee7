"""Batches that grow: their sizes, their samples, their figures, and the schedules that they take the place of."""

import copy

import pytest
import torch

from parasim import simulate
from parasim.errors import ScenarioError
from parasim.learning.build import make_optimizer, pin_threads
from parasim.program.batches import Batches, Growth, grown
from parasim.scenario import from_document
from parasim.study.build import build_learner
from parasim.study.theory import closed_form
from tests.schemes_setup import make, weights
from tests.test_scenarios import golden

DATA = {"kind": "regression", "samples": 192, "inputs": 16, "outputs": 4}


def growing(kind, hosts=2, *, growth, steps=8, **settings):
    """As `make`, with a batch that grows."""
    document = copy.deepcopy(dict(make(kind, hosts, steps=steps, **{"batch": 8, "data": DATA, **settings}).document))
    document["workload"]["batch_growth"] = growth
    return from_document(document)


def test_sizes_by_step_and_samples_before_a_step():
    batches = grown(8, Growth(by="steps", at=(2, 5), factor=3), None)
    assert batches == Batches((8, 24, 72), (0, 2, 5))
    assert [batches.size(step) for step in range(7)] == [8, 8, 24, 24, 24, 72, 72]
    assert [batches.before(step) for step in (0, 1, 2, 3.5, 6)] == [0, 8, 16, 52, 160]
    assert batches.spans(6) == [(8, 2), (24, 3), (72, 1)]
    assert batches.spans(2) == [(8, 2)]


@pytest.mark.parametrize("samples", [1, 8, 16, 17, 40, 41, 88, 89, 1000])
def test_steps_are_the_least_that_see_so_many_samples(samples):
    batches = Batches((8, 24, 72), (0, 2, 5))
    steps = batches.steps(samples)
    assert batches.before(steps) >= samples > batches.before(steps - 1)


def test_a_batch_grows_at_the_first_step_of_an_epoch_and_no_larger_than_said():
    """Epochs of 20 samples in steps of 8: the second begins within step 2."""
    assert grown(8, Growth(at=(1, 2), factor=2), 20.0) == Batches((8, 16, 32), (0, 3, 4))
    assert grown(8, Growth(at=(1, 2, 3), factor=4, most=20), 20.0) == Batches((8, 20), (0, 3))


def test_growth_takes_the_place_of_decay():
    """Smith et al. 2018: rate over batch is the same in every epoch, with fewer updates."""
    drops = {"by": "epochs", "at": [2, 4], "factor": 0.5}
    decay = make("allreduce", 2, batch=8, data=DATA, steps=72,
                 optimizer={"kind": "sgd", "lr": 0.5, "schedule": {"kind": "step", **drops}})  # fmt: skip
    grows = growing("allreduce", growth={**drops, "factor": 2}, steps=42, optimizer={"kind": "sgd", "lr": 0.5})
    samples = DATA["samples"]

    def noise(case):
        """Rate over batch at the beginning, in the middle and near the end of each epoch."""
        rule, batches, found = make_optimizer(*case.optimizer), case.workload.batches, []
        for point in (0, 1 / 2, 11 / 12, 1, 3 / 2, 2, 5 / 2, 3, 4, 5, 5.5):
            step = batches.steps(point * samples / 2) if point else 0
            found.append(rule.rate(step) / batches.size(step))
        return found

    assert noise(decay) == pytest.approx(noise(grows), rel=1e-12)
    for case, steps in ((decay, 72), (grows, 42)):  # six epochs
        assert case.workload.batches.steps(6 * samples / 2) == steps
    assert grows.workload.batches.sizes == (8, 16, 32)


@pytest.mark.parametrize("kind", ["allreduce", "parameter_server", "downpour", "local_sgd", "gpipe", "zero"])
def test_samples_per_second_counts_what_was_seen(kind):
    workers = {"parameter_server": 2, "downpour": 2, "gpipe": 1}.get(kind, 2)
    hosts = 3 if kind in ("parameter_server", "downpour") else 2
    figures = simulate(growing(kind, hosts, growth={"by": "steps", "at": [3, 6]}, steps=8)).summary
    assert figures["samples_per_second"] * figures["seconds"] == pytest.approx(workers * (3 * 8 + 3 * 16 + 2 * 32))


def test_steps_take_the_time_of_their_batch():
    """A run with growth is as long as one run per size."""
    whole = growing("allreduce", growth={"by": "steps", "at": [3, 7]}, steps=9)
    parts = [make("allreduce", 2, batch=size, data=DATA, steps=steps) for size, steps in ((8, 3), (16, 4), (32, 2))]
    seconds = sum(simulate(part).summary["seconds"] for part in parts)
    assert simulate(whole).summary["seconds"] == pytest.approx(seconds, rel=1e-12)
    assert closed_form(whole).seconds_per_step * 9 == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize("kind", ["allreduce", "local_sgd", "dpsgd", "downpour", "ssp"])
def test_fast_paths_know_a_growing_batch(kind):
    """Steps that are skipped, and all actors as one, give the time of every message by itself."""
    options = {"growth": {"by": "steps", "at": [5, 41]}, "steps": 60, "trace": "aggregate"}
    fast, slow = (simulate(growing(kind, 4, **options, fast_paths=paths)).summary for paths in ("all", "none"))
    assert fast["seconds"] == pytest.approx(slow["seconds"], rel=1e-12)
    assert fast["samples_per_second"] == pytest.approx(slow["samples_per_second"], rel=1e-12)


def test_a_growing_batch_goes_on_in_the_data_where_it_was():
    """Two workers with growth are one with twice the batch: each sample once per epoch, in the same order."""
    pin_threads()
    two = growing("allreduce", 2, growth={"at": [1]}, steps=14, learn=True, dtype="float64")
    one = growing("sequential", 1, growth={"at": [1]}, steps=14, batch=16, learn=True, dtype="float64")
    assert two.workload.batches.starts == one.workload.batches.starts == (0, 12)
    assert torch.allclose(weights(simulate(two), range(1)), weights(simulate(one), range(1)), rtol=1e-12, atol=1e-14)


def test_every_sample_is_used_once_in_an_epoch():
    case = growing("allreduce", 2, growth={"by": "samples", "at": [96], "factor": 3}, steps=8)
    from parasim.study.build import build_cast, build_context

    cast, learner = build_cast(case), build_learner(case)
    contexts = [build_context(case, cast, rank, learner) for rank in range(2)]
    steps = case.workload.batches.steps(192 / 2)
    seen = torch.cat([me.batch(step).samples(learner) for step in range(steps) for me in contexts])
    assert case.workload.batches == Batches((8, 24), (0, 6))
    assert sorted(seen.tolist()) == list(range(192))


@pytest.mark.parametrize(
    ("kind", "growth", "what"),
    [
        ("k_sync", {"at": [1]}, "batches of k_sync can't grow: cancelled"),
        ("allreduce", {"at": []}, "is empty"),
        ("allreduce", {"at": [2, 2]}, "does not rise"),
        ("allreduce", {"at": [2], "factor": 0.5}, "must be greater than 1"),
        ("allreduce", {"at": [1], "by": "epoch"}, "did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_with_growth_is_said_in_a_line(kind, growth, what):
    with pytest.raises(ScenarioError, match=what) as error:
        growing(kind, 3, growth=growth)
    assert "\n" not in str(error.value)
    assert "batch_growth" in str(error.value)


def test_large_batches_keep_up_where_the_rate_follows():
    """As scenarios/large_batch.yaml says; losses are of the last mini-batches."""
    loss = {variant: values["last"] for variant, values in golden("large_batch", "loss").items()}
    seconds, updates = golden("large_batch", "seconds"), golden("large_batch", "updates")
    assert loss["large, same rate"] > 2 * loss["small"]
    for variant in ("large, scaled", "large, LARS"):
        assert loss[variant] < 1.1 * loss["small"]
        assert seconds[variant] < seconds["small"] / 5
    assert loss["small, growth"] == pytest.approx(loss["small, decay"], rel=0.1)
    assert updates["small, growth"] * 2 == updates["small, decay"]
    assert seconds["small, growth"] < 0.6 * seconds["small, decay"]
