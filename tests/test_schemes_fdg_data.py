"""Fully decoupled x data parallel: what it equals, replicas, delays, traffic and time (SCHEMES S36)."""

import pytest
import torch

from parasim import closed_form
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.program import Context
from tests.decoupled_setup import FREE, LEARNING, RATE, UNIT, golden, network
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, updates_of, weights

COMBINES = ("average", "adapt_then_combine", "combine_then_adapt")
RULE = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def group(result, number, modules):
    return weights(result, range(number * modules, (number + 1) * modules))


# what it equals ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("combine", COMBINES)
def test_one_data_group_is_fdg_in_every_bit(combine):
    settings = {**LEARNING, "steps": 8, "optimizer": RULE, "shrink": 0.5}
    together = run("fdg_data", 3, modules=3, combine=combine, **settings)
    assert torch.equal(group(together, 0, 3), weights(run("fdg", 3, **settings), range(3)))


@pytest.mark.parametrize("algorithm", ["ring", "recursive_doubling"])
def test_one_module_is_all_reduce_in_every_bit(algorithm):
    settings = {**LEARNING, "steps": 5, "optimizer": RULE, "algorithm": algorithm}
    found = run("fdg_data", 4, modules=1, **settings)
    expected = run("allreduce", 4, overlap=False, **settings)
    for rank in range(4):
        assert torch.equal(weights(found, range(rank, rank + 1)), weights(expected, range(rank, rank + 1)))


@pytest.mark.parametrize("combine", COMBINES)
def test_groups_with_the_same_data_are_one(combine, monkeypatch):
    """Both take the samples of the one; means of two equal numbers are exact (SCHEMES S36.7)."""
    settings = {**LEARNING, "steps": 9, "optimizer": RULE}
    expected = weights(run("fdg", 3, **settings), range(3))
    batch = Context.batch
    monkeypatch.setattr(Context, "batch", lambda me, step, **shares: batch(me, step, share=0, shares=1))
    result = run("fdg_data", 6, modules=3, combine=combine, **settings)
    assert torch.equal(group(result, 0, 3), expected)
    assert torch.equal(group(result, 1, 3), expected)


def test_replicas_stay_identical_with_averaging_and_meet_with_full_consensus():
    settings = {**LEARNING, "steps": 8}
    for combine in ("average", "adapt_then_combine"):
        result = run("fdg_data", 6, modules=2, combine=combine, **settings)
        assert torch.equal(group(result, 0, 2), group(result, 1, 2))
        assert torch.equal(group(result, 0, 2), group(result, 2, 2))
    apart = run("fdg_data", 6, modules=2, combine="combine_then_adapt", **settings)
    assert not torch.equal(group(apart, 0, 2), group(apart, 1, 2))


def test_full_consensus_from_equal_starts_equals_averaging():
    """``C = 1 1' / S``; bit for bit where sums are exact."""
    model, steps = EXACT_MODELS["relu"]
    exact = {"model": model, "data": EXACT_DATA, "dtype": "float64", "learn": True, "batch": 8, "modules": 2}
    one, other = (run("fdg_data", 4, steps=steps, combine=combine, **exact) for combine in COMBINES[:2])
    assert torch.equal(group(one, 0, 2), group(other, 0, 2))
    settings = {**LEARNING, "steps": 9, "modules": 2}
    one, other = (group(run("fdg_data", 6, combine=combine, **settings), 0, 2) for combine in COMBINES[:2])
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def mixed(net, steps, groups, order, matrix):
    """Two modules a group, each copy with its own history: ``w_s <- sum_r C_sr (w_r - eta G_r)``, or C w - eta G."""
    history = [[[w] for w in net.initial] for _ in range(groups)]
    for j in range(steps):
        moved = []
        for s in range(groups):
            stale = [versions[max(0, j - delay)] for versions, delay in zip(history[s], (2, 0), strict=True)]
            moved.append([-RATE * gradient for gradient in net.gradients(stale, j, s, groups)])
        for k in range(2):
            now = [history[s][k][-1] for s in range(groups)]
            for s, row in enumerate(matrix):
                if order == "adapt_then_combine":
                    new = sum(c * (w + m[k]) for c, w, m in zip(row, now, moved, strict=True))
                else:
                    new = sum(c * w for c, w in zip(row, now, strict=True)) + moved[s][k]
                history[s][k].append(new)
    return [torch.cat([versions[-1] for versions in history[s]]) for s in range(groups)]


@pytest.mark.parametrize("order", COMBINES[1:])
def test_consensus_on_a_line_is_its_equation(order):
    third = 1 / 3
    matrix = [[2 * third, third, 0], [third, third, third], [0, third, 2 * third]]
    result = run("fdg_data", 6, modules=2, combine=order, graph="line", steps=7, **LEARNING)
    for s, expected in enumerate(mixed(network(2), 7, 3, order, matrix)):
        torch.testing.assert_close(group(result, s, 2), expected, rtol=1e-12, atol=1e-14)


# delays and traffic --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("combine", COMBINES)
def test_delays_are_those_of_fdg_in_every_group(combine):
    modules = 3
    result = run("fdg_data", 6, modules=modules, combine=combine, steps=9)
    for rank in range(6):
        delay = 2 * (modules - 1 - rank % modules)
        assert updates_of(result, rank) == [(-1, max(0, j - delay), j) for j in range(9)]
    assert result.summary["steps"] == 9


def test_an_agent_sends_outputs_errors_and_its_share_of_an_all_reduce():
    """``2 A_k + 2 P_k (S - 1) / S``, averaged over modules."""
    model, batch, groups = {"kind": "mlp", "width": 32, "depth": 4}, 16, 3
    _, nbytes, _ = steady("fdg_data", 6, steps=8, modules=2, model=model, batch=batch)
    part = 2 * 32 * 32 * 4
    assert nbytes == pytest.approx((2 * batch * 32 * 4) / 2 + 2 * part * (groups - 1) / groups, rel=1e-3)


@pytest.mark.parametrize("combine", COMBINES)
def test_an_agent_holds_what_a_module_of_fdg_does_and_its_neighbours_weights(combine):
    settings = {**LEARNING, "steps": 9}
    trace, alone = run("fdg_data", 4, modules=2, combine=combine, **settings).trace, run("fdg", 2, **settings).trace
    for rank in range(4):
        assert course_of(trace, rank) == tensors_of(trace, rank)
        held, own = memory_of(trace)[rank].peak_bytes_of, memory_of(alone)[rank % 2].peak_bytes_of
        theirs = {} if combine == "average" else {"neighbours' weights": own["weights"]}
        assert held == own | theirs


# time ----------------------------------------------------------------------------------------------------------------
def test_the_ideal_speedup_is_the_number_of_agents():
    alone = steady("sequential", 1, model=UNIT, batch=1, **FREE)[0]
    for groups, modules in ((2, 2), (2, 3), (3, 2)):
        seconds = steady("fdg_data", groups * modules, steps=12, modules=modules, model=UNIT, batch=1, **FREE)[0]
        assert groups * alone / seconds == pytest.approx(groups * modules, rel=1e-7)


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize(("groups", "modules"), [(4, 1), (1, 3), (2, 2), (2, 4), (3, 3)])
def test_closed_form(groups, modules, bandwidth, combine):
    options = {"model": {"kind": "mlp", "width": 36, "depth": 12}, "bandwidth": bandwidth, "modules": modules}
    hosts, options = groups * modules, {**options, "combine": combine}
    form, met = closed_form(make("fdg_data", hosts, **options)), steady("fdg_data", hosts, steps=16, **options)
    if form.exact:
        assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    else:
        assert form.seconds_per_step * (1 - 1e-9) <= met[0] <= form.at_most * (1 + 1e-9)
    assert form.exact or modules > 1
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))
    assert form.staleness_mean == modules - 1


def test_data_groups_are_whole_and_graphs_are_there():
    with pytest.raises(ScenarioError, match="5 workers are no multiple of 2 modules"):
        make("fdg_data", 5)
    with pytest.raises(ScenarioError, match="a hypercube has 2, 4, 8"):
        make("fdg_data", 6, combine="adapt_then_combine", graph="hypercube")


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("combine", COMBINES)
def test_real_runs_equal_simulated_ones(pool, combine):
    same_in_both(learning("fdg_data", 4, modules=2, combine=combine), pool)


def test_outcomes_that_the_scenario_expects():
    rate, last = golden("fdg_data", "samples_per_second"), golden("fdg_data", "loss")
    alone = "one machine, mini-batches of 64"
    assert rate["averaging"] > 3.2 * rate[alone]
    assert rate["averaging"] > 1.2 * rate["FDG of four"]
    assert last["averaging"]["last"] == pytest.approx(last["consensus"]["last"], rel=1e-6)
    assert last["averaging"]["last"] < 1.5 * last[alone]["last"]
    assert last["averaging"]["last"] < 0.5 * last["FDG of four"]["last"]
