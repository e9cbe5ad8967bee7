"""DDG and features replay: gradients, delays, memory, order and speed-up (SCHEMES S30, S31)."""

import pytest
import torch

from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.metrics.memory import memory_of
from parasim.metrics.staleness import staleness_of
from parasim.schedules import ddg as schedule
from tests.decoupled_setup import FREE, LEARNING, UNIT, delayed, drawn, network, passes, replayed, unbalanced
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import initial_weights, make, run, steady, updates_of, weights

RULES = (
    {"kind": "sgd", "lr": 0.1},
    {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.001},
    {"kind": "adam", "lr": 0.01},
)
BOTH = pytest.mark.parametrize("kind", ["ddg", "fr"])


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def final(kind, modules, **settings):
    return weights(run(kind, modules, **{**LEARNING, **settings}), range(modules))


# what is computed ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", ["together", "early"])
@BOTH
def test_one_module_is_back_propagation_in_every_bit(kind, start, rule):
    alone = final(kind, 1, steps=6, optimizer=rule, start=start)
    assert torch.equal(alone, final("sequential", 1, steps=6, optimizer=rule))


@pytest.mark.parametrize("modules", [2, 3, 4])
def test_gradients_of_ddg_are_autograd_at_the_stored_versions(modules):
    expected = delayed(network(modules), 9, [modules - 1 - k for k in range(modules)])
    torch.testing.assert_close(final("ddg", modules, steps=9), expected, rtol=1e-12, atol=1e-14)
    undelayed = delayed(network(modules), 9, [0] * modules)
    assert not torch.allclose(undelayed, expected, rtol=1e-4)


@pytest.mark.parametrize("modules", [2, 3, 4])
def test_gradients_of_features_replay_are_those_of_the_replays(modules):
    expected = replayed(network(modules), 9)
    torch.testing.assert_close(final("fr", modules, steps=9), expected, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(expected, delayed(network(modules), 9, [modules - 1 - k for k in range(modules)]))


@BOTH
def test_starting_early_changes_no_bit(kind):
    early, together = (run(kind, 3, **LEARNING, steps=6, start=start) for start in ("early", "together"))
    assert torch.equal(weights(early, range(3)), weights(together, range(3)))
    assert early.summary["seconds"] < together.summary["seconds"]


@pytest.mark.parametrize("modules", [2, 4])
def test_gradients_are_those_of_back_propagation_while_weights_stand_still(modules):
    """At a rate that moves weights by a millionth of a rounding of the gradient."""
    rate = 1e-9
    tiny = {"steps": 7, "optimizer": {"kind": "sgd", "lr": rate}}
    start = initial_weights(make("sequential", 1, **LEARNING))
    moves = [(final(kind, modules, **tiny) - start) / rate for kind in ("ddg", "fr")]
    moves.append((final("sequential", 1, **tiny) - start) / rate)
    assert moves[2].abs().max() > 0.1
    for move in moves[:2]:
        torch.testing.assert_close(move, moves[2], rtol=1e-5, atol=1e-6)


@BOTH
def test_the_first_update_is_that_of_back_propagation(kind):
    assert torch.equal(final(kind, 4, steps=1), final("sequential", 1, steps=1))


# delays --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", ["together", "early"])
@pytest.mark.parametrize("modules", [1, 2, 4])
def test_delays_of_ddg_are_exact(modules, start):
    result = run("ddg", modules, steps=9, start=start)
    for k in range(modules):
        delay = modules - 1 - k
        assert updates_of(result, k) == [(-1, max(0, j - delay), j) for j in range(9)]
    table = staleness_of(result.trace)
    assert [max(table.per_worker[k].histogram) for k in range(modules)] == [modules - 1 - k for k in range(modules)]
    assert sorted(s.max for s in table.per_layer.values()) == list(range(modules))


def test_features_replay_has_fresh_weights_and_old_inputs():
    modules = 4
    result = run("fr", modules, steps=9)
    assert result.summary["staleness"]["histogram"] == {0: 9 * modules}
    for k in range(modules):
        assert [read for _, read, _ in updates_of(result, k)] == list(range(9))
        newest, ages = -1, []
        for row in passes(result, k):
            newest = max(newest, row.step)
            if row.label == "backward":
                ages.append(newest - row.step)
        assert ages == [min(modules - 1 - k, 8 - j) for j in range(9)]


# order and memory ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", ["together", "early"])
def test_the_order_is_the_one_that_is_drawn(start):
    result = run("ddg", 3, steps=5, model=UNIT, batch=1, start=start, **FREE)
    assert drawn(schedule) == [
        " ".join(f"{row.label[0].upper()}{row.step}" for row in passes(result, module)) for module in range(3)
    ]


def test_backward_passes_of_the_paper_wait_for_the_whole_forward_pass():
    """A mini-batch goes forward in turn; the iteration's backward passes then all start at once."""
    result = run("ddg", 3, steps=8, model=UNIT, batch=1, **FREE)
    for j in range(2, 8):
        ends = [row.t_end for k in range(3) for row in passes(result, k) if (row.label, row.step) == ("forward", j)]
        starts = [
            row.t_start
            for k in range(3)
            for row in passes(result, k)
            if (row.label, row.step) == ("backward", j - 2 + k)
        ]
        assert ends == sorted(ends)
        assert starts == pytest.approx([ends[-1]] * 3)


@pytest.mark.parametrize("modules", [1, 2, 4])
def test_ddg_stores_k_minus_k_minibatches_and_replay_their_inputs(modules):
    model, batch, width = {"kind": "mlp", "width": 32, "depth": 12}, 16, 32
    kept, replay = (memory_of(run(kind, modules, model=model, batch=batch, steps=8).trace) for kind in ("ddg", "fr"))
    one = batch * width * 4
    for k in range(modules):
        stored = 12 // modules + (k == modules - 1)  # each layer its inputs, the last one its outputs as well
        assert kept[k].peak_bytes_of["activations"] == (modules - k) * stored * one
        assert replay[k].peak_bytes_of["activations"] == stored * one
        inputs = (modules - k) * one if 0 < k < modules - 1 else 0
        assert replay[k].peak_bytes_of.get("inputs", 0) == inputs


# time ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("modules", "ddg", "replay"), [(2, 3 / 2, 6 / 5), (3, 9 / 5, 3 / 2), (4, 2, 12 / 7)])
def test_speedups_of_balanced_modules(modules, ddg, replay):
    """``3 / (1 + 2 / K)`` and ``3 / (1 + 3 / K)`` where a backward pass takes twice as long as a forward pass."""
    alone = steady("sequential", 1, model=UNIT, batch=1, **FREE)[0]
    for kind, speedup in (("ddg", ddg), ("fr", replay)):
        assert alone / steady(kind, modules, steps=8, model=UNIT, batch=1, **FREE)[0] == pytest.approx(
            speedup, rel=1e-7
        )
        early = steady(kind, modules, steps=8, model=UNIT, batch=1, start="early", **FREE)[0]
        cycle = 12 / modules * (4 if kind == "ddg" else 5)
        if modules > 2 or kind == "ddg":  # with two modules the last one's error gradient is not replayed
            assert early == pytest.approx(cycle, rel=1e-7)


@BOTH
def test_unbalanced_modules_and_slow_links_slow_it_down(kind):
    """By the longest backward pass, and by every transfer of the forward pass and one of the backward pass."""

    def seconds(counts, **options):
        return steady(kind, 3, steps=8, model=unbalanced(counts), batch=1, **{**FREE, **options})[0]

    balanced = seconds((4, 4, 4))
    replays = 1 if kind == "fr" else 0
    assert seconds((3, 6, 3)) - balanced == pytest.approx(2 * (2 + replays), rel=1e-6)
    assert seconds((4, 4, 4), bandwidth=32.0) - balanced == pytest.approx(3 * 16 / 32, rel=1e-6)
    assert seconds((4, 4, 4), latency=0.25) - balanced == pytest.approx(3 * 0.5, rel=1e-6)  # a star has two hops


@pytest.mark.parametrize("start", ["together", "early"])
@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize("modules", [1, 2, 3, 5])
@BOTH
def test_closed_form(kind, modules, bandwidth, start):
    model = {"kind": "mlp", "width": 32, "depth": 7}
    options = {"model": model, "bandwidth": bandwidth, "start": start, "launch": 1e-6}
    form, met = closed_form(make(kind, modules, **options)), steady(kind, modules, steps=16, **options)
    assert form.exact == (start == "together" or modules <= 2)
    if form.exact or bandwidth == 1e8:  # where a message is sent long before the next one
        assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    else:
        assert 1 < met[0] / form.seconds_per_step < 2
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))
    assert form.staleness_mean == (0 if kind == "fr" else (modules - 1) / 2)


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "modules", "start"), [("ddg", 3, "together"), ("ddg", 2, "early"), ("fr", 3, "together")]
)
def test_real_runs_equal_simulated_ones(pool, kind, modules, start):
    real = same_in_both(learning(kind, modules, start=start), pool)
    delays = [0] * modules if kind == "fr" else [modules - 1 - k for k in range(modules)]
    for k, delay in enumerate(delays):
        assert [(read, applied) for _, read, applied in updates_of(real, k)] == [
            (max(0, j - delay), j) for j in range(6)
        ]
