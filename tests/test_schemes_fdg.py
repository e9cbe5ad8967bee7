"""FDG: gradients at stored versions, shrinking, delays, memory, order and speed-up (SCHEMES S33)."""

import pytest
import torch

from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.metrics.memory import memory_of
from parasim.metrics.staleness import staleness_of
from parasim.schedules import fdg as schedule
from tests.decoupled_setup import FREE, LEARNING, UNIT, delayed, drawn, network, passes, unbalanced
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import make, run, steady, updates_of, weights

RULES = (
    {"kind": "sgd", "lr": 0.1},
    {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.001},
    {"kind": "adam", "lr": 0.01},
)


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def final(kind, modules, **settings):
    return weights(run(kind, modules, **{**LEARNING, **settings}), range(modules))


def delays(modules):
    return [2 * (modules - 1 - k) for k in range(modules)]


# what is computed ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shrink", [1.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_one_module_is_back_propagation_in_every_bit(rule, shrink):
    alone = final("fdg", 1, steps=6, optimizer=rule, shrink=shrink)
    assert torch.equal(alone, final("sequential", 1, steps=6, optimizer=rule))


@pytest.mark.parametrize("shrink", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("modules", [2, 3, 4])
def test_gradients_are_autograd_at_the_stored_versions_shrunk_by_compound_factors(modules, shrink):
    """``w_k <- w_k - eta beta^(K-1-k) grad_k``."""
    net = network(modules)
    expected = delayed(net, 11, delays(modules), shrink)
    torch.testing.assert_close(final("fdg", modules, steps=11, shrink=shrink), expected, rtol=1e-12, atol=1e-14)
    assert (expected - delayed(net, 11, [0] * modules, shrink)).abs().max() > 1e-4
    assert shrink == 1 or (expected - delayed(net, 11, delays(modules))).abs().max() > 1e-3


def test_it_is_pipelined_back_propagation_where_no_stale_weights_are_gone_through():
    """Of two modules the first needs no gradient of its inputs; that of a single layer holds no weights of it."""
    one, other = (final(kind, 2, steps=8, stages=[1, 5]) for kind in ("fdg", "pipelined_backprop"))
    assert torch.equal(one, other)
    one, other = (final(kind, 2, steps=8, stages=[2, 4]) for kind in ("fdg", "pipelined_backprop"))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("modules", [1, 2, 3, 4])
def test_without_shrinking_it_is_pipelined_back_propagation_with_stashing_in_every_bit(modules, rule):
    one = final("fdg", modules, steps=11, optimizer=rule)
    other = final("pipelined_backprop", modules, steps=11, optimizer=rule, stashing=True)
    assert torch.equal(one, other)


# delays, order and memory --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("modules", [1, 2, 3, 4])
def test_delays_are_exact(modules):
    """4, 2, 0 for three modules, as in the paper's figure."""
    result = run("fdg", modules, steps=11)
    for k, delay in enumerate(delays(modules)):
        assert updates_of(result, k) == [(-1, max(0, j - delay), j) for j in range(11)]
    table = staleness_of(result.trace)
    assert sorted((s.max for s in table.per_layer.values()), reverse=True) == delays(modules)


def test_the_order_is_the_one_that_is_drawn():
    result = run("fdg", 3, steps=6, model=UNIT, batch=1, **FREE)
    order = [" ".join(f"{row.label[0].upper()}{row.step}" for row in passes(result, module)) for module in range(3)]
    assert drawn(schedule) == order


def test_all_modules_compute_at_once():
    """When the pipe is full: module k its forward pass of mini-batch t - k, its backward pass of t - 2(K - 1) + k."""
    modules, iteration = 3, 12.0
    result = run("fdg", modules, steps=12, model=UNIT, batch=1, **FREE)
    begun = {(row.label, k, row.step): row.t_start for k in range(modules) for row in passes(result, k)}
    for t in range(5, 12):
        starts = [begun["forward", k, t - k] for k in range(modules)]
        assert starts == pytest.approx([starts[0]] * modules)
        backward = [begun["backward", k, t - 2 * (modules - 1) + k] for k in range(modules)]
        assert backward == pytest.approx([starts[0] + iteration / 3] * modules)


@pytest.mark.parametrize("modules", [1, 2, 4])
def test_a_module_stores_so_many_minibatches(modules):
    """``2 (K - 1 - k) + 1`` of activations."""
    model, batch, width = {"kind": "mlp", "width": 32, "depth": 12}, 16, 32
    memory = memory_of(run("fdg", modules, model=model, batch=batch, steps=9).trace)
    for k, delay in enumerate(delays(modules)):
        stored = 12 // modules + (k == modules - 1)  # each layer its inputs, the last one its outputs as well
        assert memory[k].peak_bytes_of["activations"] == (delay + 1) * stored * batch * width * 4


# time ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("modules", [2, 3, 4, 6])
def test_the_speedup_of_balanced_modules_is_their_number(modules):
    alone = steady("sequential", 1, model=UNIT, batch=1, **FREE)[0]
    assert alone / steady("fdg", modules, steps=12, model=UNIT, batch=1, **FREE)[0] == pytest.approx(modules, rel=1e-7)


def test_unbalanced_modules_and_slow_links_slow_it_down():
    """By the slowest module; and by the exchange, in which module 1 sends both ways through one link."""

    def seconds(counts, **options):
        return steady("fdg", 3, steps=12, model=unbalanced(counts), batch=1, **{**FREE, **options})[0]

    balanced = seconds((4, 4, 4))
    assert balanced == pytest.approx(12)
    assert seconds((3, 6, 3)) - balanced == pytest.approx(2 * 3, rel=1e-6)
    assert seconds((4, 4, 4), bandwidth=32.0) - balanced == pytest.approx(2 * 16 / 32, rel=1e-6)
    assert seconds((4, 4, 4), latency=0.25) - balanced == pytest.approx(0.5, rel=1e-6)  # a star has two hops


@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize("modules", [1, 2, 3, 4])
def test_closed_form_of_balanced_modules_is_exact(modules, bandwidth):
    options = {"model": {"kind": "mlp", "width": 32, "depth": 12}, "bandwidth": bandwidth, "launch": 1e-6}
    form, met = closed_form(make("fdg", modules, **options)), steady("fdg", modules, steps=16, **options)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))
    assert form.staleness_mean == modules - 1


@pytest.mark.parametrize("counts", [(1, 1, 5), (5, 1, 1), (1, 5, 1, 3), (2, 2, 2, 3), (3, 1), (1, 4)])
@pytest.mark.parametrize("bandwidth", [16.0, 1e18])
def test_closed_form_of_modules_that_differ_bounds_the_time(counts, bandwidth):
    options = {"model": unbalanced(counts), "batch": 1, **FREE, "bandwidth": bandwidth}
    form, met = closed_form(make("fdg", len(counts), **options)), steady("fdg", len(counts), steps=16, **options)[0]
    if form.exact:
        assert len(counts) == 2
        assert met == pytest.approx(form.seconds_per_step, rel=1e-9)
    else:
        assert form.seconds_per_step * (1 - 1e-9) <= met <= form.at_most * (1 + 1e-9)


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(("modules", "shrink"), [(3, 1.0), (2, 0.5)])
def test_real_runs_equal_simulated_ones(pool, modules, shrink):
    real = same_in_both(learning("fdg", modules, shrink=shrink), pool)
    for k, delay in enumerate(delays(modules)):
        assert [(read, applied) for _, read, applied in updates_of(real, k)] == [
            (max(0, j - delay), j) for j in range(6)
        ]
