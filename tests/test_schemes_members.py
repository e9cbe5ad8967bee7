"""Several models at once: ensembles and codistillation. Members are runs of their own, to the last bit."""

import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import make_learner, pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.program.predicting import soften
from tests.golden import ROOT
from tests.schemes_real import executed, learning, same_in_both, same_payload, same_when_replayed
from tests.schemes_setup import make, run, steady, weights
from tests.test_evaluation import evaluated, points
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS, meets

DIGITS = {"data": {"kind": "digits"}, "learn": True, "steps": 6}
HEAVY_BALL = {"kind": "sgd", "lr": 0.125, "momentum": 0.5}
NETWORKS = {
    "digits": ("mlp", {"width": 16}, "digits", {}),
    "numbers": ("mlp", {"width": 8}, "regression", {"outputs": 3}),
    "tokens": ("gpt", {"layers": 1, "hidden": 8, "heads": 2, "tied": False}, "characters", {"sequence": 8}),
}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def alike(one, other, ranks):
    return all(torch.equal(weights(one, range(r, r + 1)), weights(other, range(r, r + 1))) for r in ranks)


# ensembles -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fast_paths", ["all", "none"])
def test_members_are_sequential_runs_with_seeds_of_their_own(fast_paths):
    together = run("ensemble", 3, optimizer=HEAVY_BALL, seed=5, fast_paths=fast_paths, **DIGITS)
    for member in range(3):
        alone = run("sequential", 1, optimizer=HEAVY_BALL, seed=5 + member, **DIGITS)
        assert torch.equal(weights(together, range(member, member + 1)), weights(alone, range(1)))


def test_members_of_several_workers_are_synchronous_runs():
    together = run("ensemble", 4, group_size=2, **DIGITS)
    for member in range(2):
        alone = run("allreduce", 2, seed=member, **DIGITS)
        for rank in range(2):
            mine = weights(together, range(2 * member + rank, 2 * member + rank + 1))
            assert torch.equal(mine, weights(alone, range(rank, rank + 1)))


def test_members_that_begin_alike_on_the_same_samples_stay_alike():
    same = run("ensemble", 3, start="common", samples="common", **DIGITS)
    assert torch.equal(weights(same, range(1)), weights(same, range(2, 3)))
    for samples in ("own_order", "bootstrap", "shares"):
        other = run("ensemble", 3, start="common", samples=samples, **DIGITS)
        assert not torch.equal(weights(other, range(1)), weights(other, range(2, 3)))


def test_a_bag_has_two_thirds_of_the_samples_and_shares_are_those_of_one_model():
    learner = make_learner("mlp", {}, "digits", {}, 0, "float32")
    count = learner.data.spec.samples
    epochs = [learner.member(2, bagged=True).samples(step, 0, count, count) for step in range(2)]
    assert 0.6 < len(epochs[0].unique()) / count < 0.67  # 1 - 1/e
    assert torch.equal(epochs[0].sort().values, epochs[1].sort().values)
    assert not torch.equal(epochs[0], epochs[1])
    other = make_learner("mlp", {}, "digits", {}, 2, "float32")
    assert torch.equal(learner.member(2).samples(0, 0, 9, 9), other.samples(0, 0, 9, 9))


def test_an_ensemble_is_evaluated_by_its_mean_prediction_and_members_by_themselves():
    result = parasim.simulate(evaluated("ensemble", workers=3))
    last = points(result)[-1]
    case = learning("ensemble")
    learner = make_learner("mlp", {"width": 32, "depth": 3}, "digits", {}, case.run.seed, "float32")
    models = [torch.from_numpy(values) for values in result.returns]
    each = [learner.evaluate(model) for model in models]
    assert [(m["worker"], m["loss"], m["accuracy"]) for m in last["members"]] == [(i, *each[i]) for i in range(3)]
    inputs, labels, chances = learner.data.held_out_inputs, learner.data.held_out_targets, 0.0
    for model in models:
        first, second, third = (
            w.view(-1, n) for w, n in zip(model.split([2048, 1024, 320]), (64, 32, 32), strict=True)
        )
        chances += torch.softmax(((inputs @ first.T).tanh() @ second.T).tanh() @ third.T, 1) / 3
    assert last["loss"] == pytest.approx(float(-chances[range(len(labels)), labels].log().mean()), rel=1e-5)
    assert last["accuracy"] == pytest.approx(float((chances.argmax(1) == labels).double().mean()))
    start = learner.loss(learner.member(1).initial(learner.model.whole))
    assert points(result)[0]["members"][1]["loss"] == pytest.approx(start)


@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_that_are_judged_give_the_loss_of_an_evaluation(network):
    learner = make_learner(*NETWORKS[network], 0, "float64")
    model = learner.initial(learner.model.whole)
    loss, accuracy = learner.judge(learner.predict_held_out(model, learner.held_out))
    assert (loss, accuracy) == (pytest.approx(learner.evaluate(model)[0], rel=1e-9), learner.evaluate(model)[1])


@pytest.mark.parametrize("gather", ["predictions", "models"])
def test_both_ways_to_gather_find_the_same_mean(gather):
    result = run("ensemble", 4, group_size=2, gather=gather, evaluated=100, **DIGITS)
    notes = result.summary["ensemble"]["mean"]
    learner = make_learner("mlp", {"width": 32, "depth": 4}, "digits", {}, 0, "float32")
    mean = sum(learner.predict_held_out(weights(result, range(rank, rank + 1)), 100) for rank in (0, 2)) / 2
    loss, accuracy = learner.judge(mean)
    assert notes == {"loss": pytest.approx(loss), "accuracy": accuracy}
    sent = sum(row.nbytes for row in result.trace if row.op == "send" and row.tag == "gather")
    assert sent == 4 * (100 * 10 if gather == "predictions" else learner.model.whole.parameters)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_closed_form_of_ensembles(size):
    options = {"gather": "none"} if size > 1 else {"gather": "models"}
    if size > 1:
        meets("ensemble", 4, group_size=size, model=LAYERS, optimizer=HEAVY_BALL, **options)
    else:
        form = closed_form(make("ensemble", 4, model=LAYERS, launch=1e-6))
        assert steady("ensemble", 4, model=LAYERS, launch=1e-6)[0] == pytest.approx(form.seconds_per_step, rel=1e-9)


def test_groups_must_be_full():
    with pytest.raises(parasim.ScenarioError, match="5 workers do not fill groups of 2: use a multiple of 2"):
        make("ensemble", 5, group_size=2)


# codistillation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("exchange", ["synchronous", "asynchronous"])
def test_without_a_weight_it_is_an_ensemble(exchange):
    options = {"burn_in": 1, "period": 2, "exchange": exchange, "optimizer": HEAVY_BALL}
    alone = run("ensemble", 4, group_size=2, optimizer=HEAVY_BALL, **DIGITS)
    assert alike(run("codistillation", 4, group_size=2, weight=0.0, **options, **DIGITS), alone, range(4))
    assert not alike(run("codistillation", 4, group_size=2, **options, **DIGITS), alone, range(4))
    late = {**options, "burn_in": 6}
    assert alike(run("codistillation", 4, group_size=2, **late, **DIGITS), alone, range(4))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_is_that_of_both_losses(network):
    """Against automatic differentiation of phi + weight psi with respect to the outputs."""
    learner = make_learner(*NETWORKS[network], 0, "float64")
    whole, samples = learner.model.whole, learner.samples(0, 0, 4, 4)
    model, teacher = learner.initial(whole), learner.member(1).initial(whole)
    soft = learner.predict(teacher, samples)
    kept = learner.forward(whole, model, learner.inputs(samples), samples)[1]
    outputs = learner._chain.forward(whole, model, learner.inputs(samples).view(4, -1), record=False)[0]
    outputs = outputs.clone().reshape(-1, learner.data.spec.outputs).requires_grad_()
    targets, goal = learner.data.targets[samples], soft.view_as(outputs)
    if network == "numbers":
        loss = 0.5 * ((outputs - targets) ** 2).sum() / 4 + 0.7 * 0.5 * ((outputs - goal) ** 2).sum() / 4
    else:
        cross = torch.nn.functional.cross_entropy
        loss = cross(outputs, targets.flatten()) + 0.7 * cross(outputs, goal)
    (expected,) = torch.autograd.grad(loss, outputs)
    learner.distil(kept, samples, soft, soften, 0.7)
    torch.testing.assert_close(kept.residual.reshape(-1), expected.reshape(-1), rtol=1e-10, atol=1e-14)


def test_teachers_are_the_mean_of_the_others_at_the_last_exchange():
    """One step of three members by hand."""
    result = run("codistillation", 3, exchange="synchronous", burn_in=1, **{**DIGITS, "steps": 2}, dtype="float64")
    learner = make_learner("mlp", {"width": 32, "depth": 4}, "digits", {}, 0, "float64")
    whole = learner.model.whole
    one = {**DIGITS, "steps": 1, "dtype": "float64"}
    before = [weights(run("sequential", 1, seed=k, **one), range(1)) for k in range(3)]
    samples = learner.samples(1, 0, 16, 16)
    _, kept = learner.forward(whole, before[0], learner.inputs(samples), samples)
    soft = (learner.predict(before[1], samples) + learner.predict(before[2], samples)) / 2
    learner.distil(kept, samples, soft, soften, 1.0)
    expected = before[0] - 0.125 * learner.backward(whole, kept, None)[1]
    torch.testing.assert_close(weights(result, range(1)), expected, rtol=1e-12, atol=1e-14)
    xp, residual = TorchTensors("float64"), torch.tensor([0.25, -0.25], dtype=torch.float64)
    soften(xp, residual, torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]), share=1.0, weight=0.0)
    assert residual.tolist() == [0.25, -0.25]


@pytest.mark.parametrize(("members", "size"), [(2, 1), (4, 1), (2, 2)])
def test_closed_form_of_codistillation_in_step(members, size):
    options = {"period": 2, "burn_in": 0, "exchange": "synchronous", "group_size": size}
    meets("codistillation", members * size, steps=2, model=LAYERS, optimizer=HEAVY_BALL, **options)


def test_as_they_come_exchanges_hide_behind_steps():
    options = {"period": 4, "burn_in": 0, "model": LAYERS, "batch": 64}
    form = closed_form(make("codistillation", 4, **options))
    seconds, sent, messages = steady("codistillation", 4, steps=8, **options)
    assert form.meaning == "lower bound"
    assert form.seconds_per_step <= seconds * (1 + 1e-12) <= 1.02 * form.seconds_per_step
    assert sent == pytest.approx(form.bytes_sent_per_worker_per_step) == pytest.approx(3 * 4 * 4 * 2520 / 4)
    assert messages == pytest.approx(form.messages_sent_per_worker_per_step)


def test_teachers_are_held_and_their_age_is_noted():
    result = run("codistillation", 3, period=2, burn_in=0, exchange="synchronous", steps=4)
    nbytes = 4 * 4 * 32**2
    plain = run("ensemble", 3, steps=4).summary["memory_bytes_per_worker"]
    assert result.summary["memory_bytes_per_worker"] == plain + 2 * nbytes
    ages = {row.version_read for row in result.trace if row.buffer == "teacher"}
    assert ages == {0, 2}


# outcomes ------------------------------------------------------------------------------------------------------------
def curves(name):
    """Points of every variant that learns."""
    cases = parasim.load_all(ROOT / "scenarios" / "schemes" / f"{name}.yaml")
    return {case.variant: points(parasim.simulate(case)) for case in cases if case.run.learn}


@pytest.mark.slow
def test_an_ensemble_is_better_than_its_members():
    """Expected outcome of scenarios/schemes/ensemble.yaml."""
    for variant, found in curves("ensemble").items():
        if variant != "one model":
            accuracies = [member["accuracy"] for member in found[-1]["members"]]
            assert found[-1]["accuracy"] > sum(accuracies) / len(accuracies), variant
    seconds, sent = golden("schemes_ensemble"), golden("schemes_ensemble", "bytes_sent_per_worker_per_step")
    assert seconds["one model"] > 1.5 * seconds["two members of two"] > 15 * seconds["models at the end"]
    assert seconds["models at the end"] > seconds["four members"]
    assert sent["bags"] == sent["shares"] == sent["four members"]


@pytest.mark.slow
def test_members_that_are_taught_learn_less_by_heart():
    """Expected outcome of scenarios/schemes/codistillation.yaml; no sooner at what is best."""
    losses = {variant: [point["loss"] for point in found] for variant, found in curves("codistillation").items()}
    best = {variant: min(range(len(found)), key=found.__getitem__) for variant, found in losses.items()}
    for taught in ("every 10 steps", "every 10 steps, in step", "every 40 steps", "after 80 steps"):
        assert losses[taught][-1] < 0.98 * losses["alone"][-1], taught
        assert best[taught] in (3, 4)
    assert best["alone"] in (3, 4)
    assert losses["ensemble"][-1] < 0.95 * min(found[-1] for name, found in losses.items() if name != "ensemble")
    seconds = golden("schemes_codistillation")
    assert seconds["alone"] < seconds["every 40 steps"] < seconds["every 10 steps"] < seconds["every 10 steps, in step"]


# real runs -----------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ensemble", {"workers": 3}),
        ("ensemble", {"workers": 4, "group_size": 2, "gather": "models", "samples": "bootstrap"}),
        ("codistillation", {"workers": 3, "burn_in": 2, "period": 2, "exchange": "synchronous"}),
        ("codistillation", {"workers": 4, "group_size": 2, "burn_in": 0, "period": 3, "exchange": "synchronous"}),
    ],
)
def test_real_runs_give_the_same_bits(kind, options, pool):
    same_in_both(learning(kind, **options), pool)


@pytest.mark.real
def test_a_real_run_as_they_come_is_replayed(pool, tmp_path):
    case = learning("codistillation", workers=3, burn_in=0, period=2)
    real = same_when_replayed(case, pool, tmp_path / "record")
    same_payload(real, parasim.simulate(case))


@pytest.mark.real
def test_real_ensembles_are_evaluated_alike(pool):
    case = evaluated("ensemble", workers=3)
    real, simulated = (points(result) for result in (executed(case, pool), parasim.simulate(case)))
    assert [(p["loss"], p["members"]) for p in real] == [(p["loss"], p["members"]) for p in simulated]
