"""Networks of the zoo trained by schemes: losses fall, stages change no bit, real ranks agree with simulated ones."""

import numpy as np
import pytest

from parasim.errors import ScenarioError
from parasim.learning.build import make_learner, pin_threads
from parasim.report.table import results_table
from tests.schemes_setup import initial_weights, make, run

LENET = {"model": {"kind": "lenet5"}, "data": {"kind": "digits"}}
RESNET = {
    "model": {"kind": "resnet20"},
    "data": {"kind": "images", "size": 8, "classes": 4, "samples": 64},
}
GPT = {
    "model": {"kind": "gpt", "layers": 2, "hidden": 32, "heads": 4, "tied": False},
    "data": {"kind": "characters", "sequence": 16},
}
MOMENTUM = {"kind": "sgd", "lr": 0.05, "momentum": 0.9}
ADAM = {"kind": "adam", "lr": 0.01}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def learner_of(scenario):
    work = scenario.workload
    return make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, scenario.run.seed, work.dtype
    )


def held_out(scenario, result):
    """Loss and accuracy on held-out data, before training and after it."""
    import torch

    learner = learner_of(scenario)
    weights = torch.from_numpy(result.returns[0])
    initial = learner.initial(learner.model.whole)
    return [(learner.loss(w), learner.accuracy(w)) for w in (initial, weights)]


@pytest.mark.parametrize(
    ("network", "optimizer", "steps", "batch", "accuracy"),
    [
        pytest.param(LENET, MOMENTUM, 60, 32, 0.75, id="lenet5"),
        pytest.param(RESNET, {"kind": "sgd", "lr": 0.05}, 16, 4, 0.85, id="resnet20"),
        pytest.param(GPT, ADAM, 60, 16, 0.35, id="gpt"),
    ],
)
def test_the_loss_goes_down(network, optimizer, steps, batch, accuracy):
    from parasim import simulate

    scenario = make("sequential", 1, workers=1, learn=True, steps=steps, batch=batch, optimizer=optimizer, **network)
    result = simulate(scenario)
    (loss_before, right_before), (loss_after, right_after) = held_out(scenario, result)
    assert loss_after < 0.7 * loss_before
    assert 2 * right_before < accuracy < right_after
    assert result.summary["loss"]["first"] == pytest.approx(loss_before, rel=0.5)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("network", [LENET, GPT, RESNET], ids=["lenet5", "gpt", "resnet20"])
def test_any_number_of_stages_gives_the_same_bits(network, recompute):
    """With BatchNorm too: micro-batches have statistics of their own, but the same ones wherever the chain is cut."""
    weights = []
    for stages in (1, 2, 3, 4):
        result = run(
            "gpipe", 4, workers=stages, micro_batches=2, recompute=recompute, learn=True, steps=3, batch=8, **network
        )
        weights.append(np.concatenate([result.returns[rank] for rank in range(stages)]))
    assert not np.array_equal(weights[0], initial_weights(make("sequential", 1, workers=1, **network)).numpy())
    for others in weights[1:]:
        assert np.array_equal(others, weights[0])


@pytest.mark.parametrize("network", [LENET, RESNET, GPT], ids=["lenet5", "resnet20", "gpt"])
def test_two_workers_stay_equal_and_learn(network):
    result = run(
        "allreduce", 2, workers=2, learn=True, steps=20, batch=4, optimizer={"kind": "adam", "lr": 0.005}, **network
    )
    assert np.array_equal(result.returns[0], result.returns[1])
    assert result.summary["loss"]["last"] < result.summary["loss"]["first"]


def test_results_say_of_which_data_they_are():
    digits, images, text, nothing = (
        run("sequential", 1, workers=1, steps=1, batch=2, learn=learn, **network).summary
        for network, learn in ((LENET, True), (RESNET, True), (GPT, False), ({}, False))
    )
    assert digits["data"] == {"kind": "digits", "synthetic": False}
    assert images["data"] == {"kind": "images", "synthetic": True}
    assert text["data"] == {"kind": "characters", "synthetic": True}
    assert nothing["data"] is None

    def marks(*summaries):
        lines = results_table(summaries, [summary["scenario"] for summary in summaries]).splitlines()
        return [line for line in lines if line.startswith("SYNTHETIC DATA")]

    sentence = "the loss is of generated data (images), not of a real data set."
    assert marks(images) == [f"SYNTHETIC DATA: {sentence}"]
    assert marks(digits, images, text) == [f"SYNTHETIC DATA (1 of 2 losses): {sentence}"]
    assert marks(digits) == marks(text, nothing) == []  # no loss of generated data is shown


@pytest.mark.real
def test_a_model_that_cannot_be_trained_is_refused_before_it_runs_for_real(pool):
    import calibration

    gpt = {**GPT, "model": {"kind": "gpt", "layers": 1, "hidden": 8, "heads": 2}}
    with pytest.raises(ScenarioError, match=r"^document: workload.model: model gpt shares weights .* tied: false$"):
        calibration.execute(make("allreduce", 2, workers=2, **gpt), pool=pool)


@pytest.mark.real
@pytest.mark.parametrize(
    ("scheme", "network"),
    [
        pytest.param({"kind": "allreduce"}, LENET, id="lenet5 on two workers"),
        pytest.param({"kind": "allreduce"}, RESNET, id="resnet20 on two workers"),
        pytest.param({"kind": "gpipe", "micro_batches": 2}, GPT, id="gpt on two stages"),
    ],
)
def test_real_ranks_give_the_simulated_weights(pool, scheme, network):
    import calibration
    from parasim import simulate

    scenario = make(**scheme, hosts=2, workers=2, learn=True, steps=3, batch=8, **network)
    measured, simulated = calibration.execute(scenario, pool=pool), simulate(scenario)
    assert measured.summary["loss"] == simulated.summary["loss"]
    assert measured.summary["data"] == simulated.summary["data"]
    for ours, theirs in zip(measured.returns, simulated.returns, strict=True):
        assert np.array_equal(ours, theirs)
