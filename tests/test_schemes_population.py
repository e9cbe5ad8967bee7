"""Population-based training and successive halving: rules, decisions, what equals what, and what is sent."""

import math

import pytest
import torch

import parasim
from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.program.draws import Draws
from parasim.report.members import members_line
from parasim.schemes.population import WORST, Hyper, Scored
from parasim.schemes.population_based_training import chosen
from parasim.schemes.successive_halving import survivors
from tests.schemes_real import executed, learning, same_in_both, same_payload
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, weights
from tests.test_evaluation import evaluated, points
from tests.test_scenarios import golden
from tests.test_schemes_closed_forms import LAYERS
from tests.test_schemes_members import alike, curves

DIGITS = {"data": {"kind": "digits"}, "learn": True, "steps": 8}
HEAVY_BALL = {"kind": "sgd", "lr": 0.125, "momentum": 0.5}
PBT = "population_based_training"
ORDERS = pytest.mark.parametrize("order", ["synchronous", "asynchronous"])


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def told(*losses):
    return {member: Scored(loss, Hyper(0.1, 0.0)) for member, loss in enumerate(losses)}


def notes(result, what):
    """(member, step, peer, value) of the notes of a kind, by the workers that made them."""
    rows = [row for row in result.trace if row.label.startswith(f"member {what}")]
    return [(int(row.layer.split()[1]), row.step, row.peer, row.value) for row in rows]


# rules ---------------------------------------------------------------------------------------------------------------
def test_truncation_lets_the_worst_fifth_copy_the_best_fifth():
    found = told(*[0.5, 0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.35])
    sources = {
        member: {chosen("truncation", 0.2, Draws(0), found, member, step) for step in range(64)} for member in found
    }
    assert {member for member, source in sources.items() if source != {member}} == {2, 4}
    assert sources[2] == sources[4] == {1, 3}


def test_a_tournament_is_won_by_the_better_of_two():
    found = told(0.3, 0.1, 0.2)
    sources = [{chosen("binary_tournament", 0.2, Draws(0), found, m, step) for step in range(64)} for m in found]
    assert sources == [{1, 2}, {1}, {1, 2}]


def test_nobody_copies_himself_alone_or_without_exploitation():
    assert chosen("truncation", 0.2, Draws(0), told(0.5), 0, 0) == 0
    assert all(chosen("none", 0.2, Draws(0), told(0.5, 0.1), m, 0) == m for m in range(2))
    assert chosen("truncation", 0.5, Draws(0), told(0.5, 0.5, 0.5), 1, 0) == 1


def test_of_equal_members_the_first_survive():
    assert survivors(told(0.3, 0.2, 0.2, 0.2), 2) == (1, 2)
    assert survivors(told(WORST, 0.3, WORST), 2) == (0, 1)


# population-based training -------------------------------------------------------------------------------------------
@ORDERS
def test_without_exploitation_it_is_an_ensemble(order):
    options = {"lrs": [0.125], "exploit": "none", "ready": 2, "optimizer": HEAVY_BALL, "order": order, "workers": 4}
    alone = run("ensemble", 4, optimizer=HEAVY_BALL, **DIGITS)
    assert alike(run(PBT, 5, **options, **DIGITS), alone, range(4))
    assert not alike(run(PBT, 5, **{**options, "lrs": [0.125, 0.25]}, **DIGITS), alone, range(4))


@ORDERS
def test_who_copies_goes_on_from_the_other_with_a_rate_a_fifth_away(order):
    """Scores given: of four members the first is worst and the second best."""
    options = {"scores": [0.9, 0.1, 0.2, 0.3], "lrs": [0.1, 0.2], "ready": 3, "workers": 4, "order": order}
    result = run(PBT, 5, optimizer=HEAVY_BALL, **options, **{**DIGITS, "steps": 4}, start="common", samples="common")
    if order == "synchronous":
        assert [note[:3] for note in notes(result, "copied")] == [(0, 2, 1)]
        assert notes(result, "lr")[-1][:2] == (0, 2)
    lr = next(value for member, step, _, value in reversed(notes(result, "lr")) if member == 0)
    if order == "synchronous":
        assert lr in (pytest.approx(0.16), pytest.approx(0.24))
        replayed = run("sequential", 1, optimizer={**HEAVY_BALL, "lr": 0.2}, **{**DIGITS, "steps": 3})
        assert not torch.equal(weights(replayed, range(1)), weights(result, range(1)))
        other = run("sequential", 1, optimizer={**HEAVY_BALL, "lr": 0.2}, **{**DIGITS, "steps": 4})
        before, after, mine = (weights(r, range(1)) for r in (replayed, other, result))
        torch.testing.assert_close(mine - before, (after - before) * lr / 0.2, rtol=1e-3, atol=1e-6)
        assert torch.equal(weights(result, range(1, 2)), after)


@ORDERS
def test_workers_of_a_member_stay_alike(order):
    options = {"workers": 6, "group_size": 2, "ready": 2, "order": order, "optimizer": HEAVY_BALL}
    result = run(PBT, 7, tunes="lr_and_momentum", exploit="binary_tournament", **options, **DIGITS)
    assert notes(result, "copied")
    for first in (0, 2, 4):
        assert torch.equal(weights(result, range(first, first + 1)), weights(result, range(first + 1, first + 2)))


def test_a_store_keeps_the_checkpoints_and_a_barrier_none():
    nbytes = 2 * 4 * 4 * 32**2
    options = {"workers": 4, "ready": 2, "optimizer": HEAVY_BALL, "exploit": "none", "steps": 6}
    stored = run(PBT, 5, **options).summary
    assert stored["roles"]["store"]["memory_bytes"] == 4 * nbytes
    assert stored["bytes_sent_per_worker_per_step"] * 6 == 2 * nbytes  # the last comparison is left out
    assert run(PBT, 5, order="synchronous", **options).summary["bytes_sent_per_worker_per_step"] == 0


@ORDERS
@pytest.mark.parametrize("size", [1, 2])
def test_closed_form_without_exploitation(order, size):
    options = {"workers": 4, "group_size": size, "order": order, "ready": 2, "exploit": "none", "model": LAYERS}
    form = closed_form(make(PBT, 5, optimizer=HEAVY_BALL, **options))
    seconds, sent, messages = steady(PBT, 5, steps=4, optimizer=HEAVY_BALL, **options)
    assert seconds == pytest.approx(form.seconds_per_step, rel=1e-9 if form.exact else 0.1)
    assert (sent, messages) == pytest.approx(
        (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step)
    )


def test_models_that_diverge_have_the_worst_score():
    result = run(PBT, 3, workers=2, order="synchronous", ready=2, lrs=[1e38, 0.1], **DIGITS)
    assert any(value == WORST for _, _, _, value in notes(result, "score"))
    assert notes(result, "copied")[0][0] == 0


# successive halving --------------------------------------------------------------------------------------------------
def test_with_one_rung_it_is_an_ensemble():
    alone = run("ensemble", 4, optimizer=HEAVY_BALL, **DIGITS)
    assert alike(run("successive_halving", 4, rungs=1, lrs=[0.125], optimizer=HEAVY_BALL, **DIGITS), alone, range(4))


@pytest.mark.parametrize("freed", ["idle", "join"])
def test_the_survivor_is_what_it_would_have_been_alone(freed):
    """Exact arithmetic: however its mini-batches are cut; workers of dropped members stop, or have its weights."""
    model, _ = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": 4, "batch": 16}
    scores = [0.4, 0.3, 0.1, 0.2]
    result = run("successive_halving", 4, freed=freed, scores=scores, lrs=[0.125, 0.25], **work)
    alone = weights(run("sequential", 1, seed=2, **work), range(1))
    found = {m["member"]: (m["outcome"], m["steps"]) for m in result.summary["members"]}
    assert found == {0: ("dropped", 1), 1: ("dropped", 1), 2: ("survived", 4), 3: ("dropped", 2)}
    assert torch.equal(weights(result, range(2, 3)), alone)
    assert result.summary["steps_per_worker"] == (None if freed == "join" else [1, 1, 4, 2])
    assert all(torch.equal(weights(result, range(r, r + 1)), alone) for r in range(4)) == (freed == "join")
    samples = result.summary["samples_per_second"] * result.summary["seconds"]
    assert samples == pytest.approx(16 * (4 * 1 + 2 * 1 + 1 * 2))


def test_idle_workers_wait_and_those_who_join_do_not():
    options = {"scores": [0.1, 0.2, 0.3, 0.4], "steps": 16, "batch": 64, "bandwidth": 1e12, "latency": 0.0}
    idle, join = (run("successive_halving", 4, freed=freed, **options).summary for freed in ("idle", "join"))
    assert idle["shares"]["wait"] > 0.4
    assert join["shares"]["wait"] < 0.1
    assert join["seconds"] < 0.8 * idle["seconds"]
    assert idle["bytes_sent_per_worker_per_step"] == 0
    form = closed_form(make("successive_halving", 4, **options))
    assert form.meaning == "lower bound"
    assert form.seconds_per_step * 16 <= idle["seconds"]


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(parasim.ScenarioError, match=r"mini-batches of 16 x 1 can't be cut evenly when 1 of 6 members"):
        make("successive_halving", 6, freed="join", steps=8)
    with pytest.raises(parasim.ScenarioError, match=r"lr_from 2 is above lr_to 1: exchange them"):
        make("successive_halving", 4, lr_from=2.0)


def test_the_best_model_counts_and_those_that_were_dropped_do_not():
    result = parasim.simulate(evaluated("successive_halving", 4, steps=8, every="1 step", lrs=[0.001, 0.1, 0.2, 0.01]))
    workers = [[member["worker"] for member in point["members"]] for point in points(result)]
    assert [len(found) for found in workers] == [4, 4, 4, 2, 2, 1, 1, 1, 1]
    for point in points(result):
        assert point["loss"] == min(member["loss"] for member in point["members"])
    (last,) = points(result)[-1]["members"]
    survivor = next(m for m in result.summary["members"] if m["outcome"] == "survived")
    assert last["worker"] == survivor["member"]


def test_scores_are_marked_as_what_they_are():
    lines = []
    for settings in ({}, {"scores": [0.5]}, DIGITS):
        summary = run("successive_halving", 4, **settings).summary
        lines.append(members_line(summary))
    assert "DRAWN: nothing is trained" in lines[0]
    assert "GIVEN by the scenario" in lines[1]
    assert lines[2].startswith("successive_halving: of 4 members number ")
    assert lines[2].endswith(".")
    assert not any(word in lines[2] for word in ("DRAWN", "GIVEN"))
    assert all(math.isfinite(m["score"]) for m in summary["members"])


# outcomes ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_population_finds_a_good_rate_from_bad_ones():
    """Expected outcome of scenarios/schemes/population_based_training.yaml."""
    losses = {variant: found[-1]["loss"] for variant, found in curves(PBT).items()}
    assert losses["barrier"] < 0.7 * losses["nobody copies"]
    assert losses["tournament"] < 0.7 * losses["nobody copies"]
    assert losses["store"] < 0.9 * losses["nobody copies"]
    assert losses["drawn anew"] < 0.5 * losses["barrier"]
    seconds = golden("schemes_population_based_training")
    assert seconds["store"] < seconds["barrier"]


@pytest.mark.slow
def test_halving_keeps_the_best():
    """Expected outcome of scenarios/schemes/successive_halving.yaml."""
    losses = {variant: found[-1]["loss"] for variant, found in curves("successive_halving").items() if found}
    assert len(set(losses.values())) == 2 or max(losses.values()) < 1.001 * min(losses.values())
    seconds = golden("schemes_successive_halving")
    assert seconds["freed workers join"] < 0.7 * seconds["halving"]
    members = golden("schemes_successive_halving", "members")
    best = {variant: [m["lr"] for m in found if m["outcome"] == "survived"] for variant, found in members.items()}
    assert all(best[variant] == [0.2] for variant in ("halving", "freed workers join", "eta 4", "all to the end"))


# real runs -----------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (PBT, {"workers": 3, "ready": 2, "order": "synchronous", "exploit": "binary_tournament"}),
        ("successive_halving", {"workers": 4}),
        ("successive_halving", {"workers": 4, "freed": "join"}),
    ],
)
def test_real_runs_decide_alike_and_give_the_same_bits(kind, options, pool):
    case = learning(kind, **options)
    real, simulated = same_in_both(case, pool), parasim.simulate(case)
    theirs, ours = (
        [{key: value for key, value in member.items() if key != "seconds"} for member in result.summary["members"]]
        for result in (real, simulated)
    )
    assert theirs == ours


@pytest.mark.real
def test_a_real_run_with_a_store_is_replayed(pool, tmp_path):
    case, path = learning(PBT, workers=3, ready=2), tmp_path / "record"
    real = executed(case, pool, path)
    again = parasim.simulate(case, replay=parasim.Record.load(path))
    same_payload(real, again)
    assert alike(real, again, range(3))
    assert [m["copied"] for m in real.summary["members"]] == [m["copied"] for m in again.summary["members"]]
    still = learning(PBT, workers=3, ready=2, exploit="none")
    same_payload(executed(still, pool), parasim.simulate(still))
