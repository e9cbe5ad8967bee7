"""Learning rates by their closed forms, what they count, and where they reach the weights."""

import math

import pytest
import torch

from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.learning.optimizers import Scheduled, Sgd
from parasim.learning.rates import Constant, Cosine, Exponential, Polynomial, Rate, Step
from parasim.learning.tensors import TorchTensors
from parasim.program.batches import Batches
from parasim.program.context import Context
from parasim.study.build import build_cast, build_context
from tests.schemes_setup import make, run, weights

DATA = {"kind": "regression", "samples": 256, "inputs": 16, "outputs": 4}


def rate(schedule, lr=0.1, batch=8, pipelines=4, unit=None, steps=100):
    return Rate(schedule, lr, Batches((batch,)), pipelines, unit, steps)


def test_goyals_warm_up_goes_linearly_from_lr_to_the_scaled_rate():
    """Batches of 8192: 3.2 after five epochs of 1.28 million images, then a tenth at epochs 30, 60 and 80."""
    schedule = Step(by="epochs", at=(30, 60, 80), warmup=5, scaling="linear", reference_batch=256)
    images = 1_280_000
    steps = images / 8192
    goyal = rate(schedule, 0.1, 32, 256, float(images), int(90 * steps))
    assert goyal(0) == 0.1
    assert goyal(2.5 * steps) == pytest.approx((0.1 + 3.2) / 2, rel=1e-12)
    for epoch, expected in ((5, 3.2), (29.9, 3.2), (30, 0.32), (60, 0.032), (80, 0.0032), (90, 0.0032)):
        assert goyal(epoch * steps) == pytest.approx(expected, rel=1e-12)


def test_scaling_by_the_root():
    assert rate(Constant(scaling="sqrt", reference_batch=8))(7) == pytest.approx(0.2)


def test_polynomial_decay_ends_at_zero_with_the_run_and_cosine_is_half_way_in_the_middle():
    poly, cosine = rate(Polynomial(power=2.0)), rate(Cosine(until=50, least=0.5))
    assert [poly(step) for step in (0, 50, 100, 200)] == pytest.approx([0.1, 0.025, 0.0, 0.0])
    assert [cosine(step) for step in (0, 25, 50, 99)] == pytest.approx([0.1, 0.075, 0.05, 0.05])


def test_exponential_decay_falls_with_every_epoch():
    """Of 64 samples, two steps each; 0.1 * 3 is rounded down, and still three times 0.1."""
    hogwild = rate(Exponential(by="epochs"), unit=64.0)
    assert [hogwild(step) for step in (0, 1, 2, 3, 4, 20)] == pytest.approx(
        [0.1, 0.1, 0.09, 0.09, 0.081, 0.1 * 0.9**10], rel=1e-12
    )
    assert rate(Exponential(every=0.1, factor=0.5))(0.3) == pytest.approx(0.1 / 8, rel=1e-12)


def test_warm_up_begins_at_zero_or_at_the_rate_that_is_scaled():
    assert [rate(Constant(warmup=10))(step) for step in (0, 5, 9, 10)] == pytest.approx([0.0, 0.05, 0.09, 0.1])
    scaled = rate(Constant(warmup=10, scaling="linear", reference_batch=8))  # of 32
    assert [scaled(step) for step in (0, 5, 9, 10)] == pytest.approx([0.1, 0.25, 0.37, 0.4])


def test_warm_up_ends_where_decay_begins():
    schedule = rate(Polynomial(power=1.0, warmup=20, warmup_from=0.02))
    assert [schedule(step) for step in (0, 10, 20, 60, 100)] == pytest.approx([0.02, 0.06, 0.1, 0.05, 0.0])


def test_epochs_and_samples_are_those_of_all_workers():
    """32 samples in a step: an epoch of 64 is two steps."""
    assert rate(Step(by="epochs", at=(3,)), unit=64.0)(5) == 0.1
    assert rate(Step(by="epochs", at=(3,)), unit=64.0)(6) == pytest.approx(0.01)
    assert rate(Step(by="samples", at=(192,)), unit=1.0)(6) == pytest.approx(0.01)


def test_momentum_is_corrected_where_the_rate_changes():
    """Goyal et al., equation 10: v = mu (eta' / eta) v + eta' g; w -= v, written out."""
    xp, schedule = TorchTensors("float64"), rate(Step(at=(2, 4), factor=0.5), 0.25)
    rule, w = Scheduled(Sgd(momentum=0.5), schedule), torch.ones(3, dtype=torch.float64)
    slot = torch.zeros(3, dtype=torch.float64)
    expected, v = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for step in range(6):
        gradient = torch.tensor([1.0, -2.0, float(step)], dtype=torch.float64)
        rule.update(xp, w, gradient, (slot,), step, 1.0)
        v = 0.5 * schedule(step) / schedule(max(0, step - 1)) * v + schedule(step) * gradient
        expected -= v
    assert torch.equal(w, expected)


@pytest.mark.parametrize(
    ("kind", "hosts", "holder"),
    [("allreduce", 2, 0), ("parameter_server", 3, 2), ("local_sgd", 2, 0), ("gpipe", 2, 1), ("easgd", 3, 0)],
)
def test_a_rate_of_zero_from_the_second_step_on_leaves_the_weights_of_the_first(kind, hosts, holder):
    pin_threads()
    options = {"data": DATA, "learn": True} | ({"moving_rate": 1e-30} if kind == "easgd" else {})
    stop = {"kind": "sgd", "lr": 0.125, "schedule": {"kind": "polynomial", "until": 1}}
    one = run(kind, hosts, steps=1, **options)
    many = run(kind, hosts, steps=4, optimizer=stop, **options)
    assert torch.equal(weights(many, range(holder, holder + 1)), weights(one, range(holder, holder + 1)))


@pytest.mark.parametrize(
    ("kind", "options", "per_step"),
    [
        ("parameter_server", {}, 1.0),
        ("downpour", {}, 3.0),
        ("downpour", {"n_push": 2, "n_fetch": 2}, 1.5),
        ("softsync", {"n": 1}, 1.0),
        ("k_async", {"k": 2}, 1.5),
        ("compute_groups", {"groups": 3}, 3.0),
        ("backup_workers", {"backups": 1}, 1.0),
    ],
)
def test_servers_count_their_updates_in_steps_of_all_workers(kind, options, per_step):
    """Three workers and a server."""
    case = make(kind, 4, **options)
    cast = build_cast(case)
    server, made = next(actor for actor in cast if actor.role.name == "server"), []

    class Watched(Context):
        def replica(self, *given, **more):
            made.append(super().replica(*given, **more))
            return made[-1]

    next(server.role.program(build_context(case, cast, server.rank, None, kind=Watched)))
    assert [replica.per_step for replica in made] == [per_step]


@pytest.mark.parametrize(
    ("schedule", "what"),
    [
        ({"kind": "step"}, "at: is empty"),
        ({"kind": "step", "at": [3, 2]}, "does not rise"),
        ({"kind": "cosine", "warmup": 5, "until": 4}, "not after warmup"),
        ({"kind": "cosine", "warmup": 5}, "before warmup 5 is over"),
        ({"kind": "constant", "warmup_from": 0.1}, "without warmup"),
        ({"kind": "constant", "by": "epochs"}, "by: epochs are passes over the data"),
        ({"kind": "constnt"}, "did you mean 'constant'"),
        ({"kind": "constant", "at": [3]}, "unknown key"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_in_a_line(schedule, what):
    with pytest.raises(ScenarioError, match=what) as error:
        make("allreduce", 2, optimizer={"kind": "sgd", "schedule": schedule})
    assert "\n" not in str(error.value)
    assert "schedule" in str(error.value)


def test_a_schedule_changes_no_time():
    plain = run("allreduce", 3, steps=5)
    scheduled = run("allreduce", 3, steps=5, optimizer={"kind": "sgd", "schedule": {"kind": "cosine", "warmup": 2}})
    assert scheduled.summary["seconds"] == plain.summary["seconds"]
    assert math.isclose(plain.summary["seconds"], run("allreduce", 3, steps=5, trace="aggregate").summary["seconds"])
