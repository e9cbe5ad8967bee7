"""One weird trick equals sequential SGD by each of its exchanges; its bytes against pure data parallelism (S23)."""

import json

import pytest
import torch

from parasim import closed_form, simulate
from parasim.learning.build import pin_threads
from parasim.schemes.one_weird_trick import OneWeirdTrick, OneWeirdTrickOptions
from parasim.workload import build_model
from tests.golden import golden_path
from tests.schemes_real import executed, learning
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, updates_of, weights
from tests.shards_setup import whole_of

EXCHANGES = pytest.mark.parametrize("exchange", ["all", "in_turn", "pieces"])


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def whole(case, result):
    """The weights from every worker's convolutions, which must be equal, and its fully connected shard."""
    held = [torch.cat([torch.as_tensor(part) for part in parts]) for parts in result.returns]
    return whole_of(case, held, "outputs", case.scheme.first(case.workload.model))


@EXCHANGES
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", ["two layers", "relu"])
def test_a_fixed_batch_equals_sequential_in_every_bit(name, workers, exchange):
    model, steps = EXACT_MODELS[name]
    settings = {"model": model, "steps": steps, "data": EXACT_DATA, "dtype": "float64", "learn": True}
    case = make("one_weird_trick", workers, exchange=exchange, batch=16 // workers, **settings)
    assert torch.equal(whole(case, simulate(case)), weights(run("sequential", 1, batch=16, **settings), range(1)))


@EXCHANGES
def test_convolutions_and_fully_connected_layers_equal_sequential_to_rounding(exchange):
    settings = {"model": {"kind": "lenet5"}, "data": {"kind": "digits"}, "dtype": "float64", "learn": True, "steps": 3}
    case = make("one_weird_trick", 2, exchange=exchange, batch=8, **settings)
    assert case.scheme.first(case.workload.model) == 2
    one = run("sequential", 1, batch=16, **settings)
    torch.testing.assert_close(whole(case, simulate(case)), weights(one, range(1)), rtol=1e-12, atol=1e-12)


def test_a_variable_batch_updates_the_fully_connected_part_after_each_worker():
    settings = {"data": {"kind": "digits"}, "learn": True, "batch": 8, "steps": 3, "exchange": "in_turn"}
    fixed, variable = (run("one_weird_trick", 4, variable=variable, **settings) for variable in (False, True))
    assert len(updates_of(fixed, 0)) == 3 * 2
    assert len(updates_of(variable, 0)) == 3 * (4 + 1)
    assert {applied - read for _, read, applied in updates_of(variable, 0)} == {0}
    assert not all((a[1] == b[1]).all() for a, b in zip(fixed.returns, variable.returns, strict=True))


@EXCHANGES
@pytest.mark.parametrize("workers", [2, 4])
def test_bytes_of_convolutions_activations_and_neurons(workers, exchange):
    """2 P_conv (N-1)/N, and A(b) (N-1)/N forward and backward; each further exchange of a layer A_l(b) (N-1)/N."""
    width, depth, first, batch = 32, 4, 2, 8
    _, nbytes, messages = steady("one_weird_trick", workers, exchange=exchange, first=first, batch=batch)
    others, activations = (workers - 1) / workers, workers * batch * width * 4
    connected = depth - first
    crossings = connected + connected - 1  # outputs are gathered, gradients of all but the last scattered
    expected = 2 * first * width**2 * 4 * others + (2 + crossings) * activations * others
    assert nbytes == pytest.approx(expected, rel=1e-12)
    form = closed_form(make("one_weird_trick", workers, exchange=exchange, first=first, batch=batch))
    assert form.bytes_sent_per_worker_per_step == pytest.approx(nbytes, rel=1e-12)
    assert form.messages_sent_per_worker_per_step == messages


@pytest.mark.parametrize("batch", [2, 64])
def test_fewer_bytes_than_data_parallelism_if_activations_are_smaller_than_gradients(batch):
    """Iff the activations that are exchanged are smaller than 2 P_fc."""
    width, depth, first, workers = 32, 4, 2, 4
    _, mixed, _ = steady("one_weird_trick", workers, first=first, batch=batch)
    _, plain, _ = steady("allreduce", workers, batch=batch)
    activations = (2 + 2 * (depth - first) - 1) * workers * batch * width * 4
    assert (mixed < plain) == (activations < 2 * (depth - first) * width**2 * 4) == (batch == 2)


def test_what_vgg_16_exchanges():
    """58.9 MB of convolutions, 494.6 MB of fully connected layers, 25,088 floats a sample between them (S23.5)."""
    model = build_model("vgg16", {}, None, 4)
    scheme = OneWeirdTrick(OneWeirdTrickOptions(workers=8))
    convolutions, _, connected = scheme.shard(model, 0)
    assert convolutions.nbytes == pytest.approx(58.9e6, rel=2e-3)
    assert model.whole.nbytes - convolutions.nbytes == pytest.approx(494.6e6, rel=2e-3)
    assert convolutions.output_elements == connected.input_elements == 25088
    assert connected.nbytes == pytest.approx(494.6e6 / 8, rel=2e-3)


@EXCHANGES
@pytest.mark.parametrize("bandwidth", [1e7, 1e9])
def test_time_is_not_less_than_the_closed_form(bandwidth, exchange):
    """With (a) only the copies of activations come on top of it."""
    settings = {"exchange": exchange, "first": 2, "bandwidth": bandwidth, "memory_bandwidth": 1e18}
    form = closed_form(make("one_weird_trick", 4, **settings))
    seconds, _, _ = steady("one_weird_trick", 4, **settings)
    assert seconds >= form.seconds_per_step * (1 - 1e-9)
    if exchange == "all":
        assert seconds == pytest.approx(form.seconds_per_step, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"first": 4}, "first: 4 leaves one of the two parts of 4 layers empty: give 1 to 3"),
        ({"exchange": "pieces", "batch": 6}, "batch_size 6 does not make 4 equal pieces: use a multiple"),
        ({"variable": True}, "variable: true needs several rounds in a step: use exchange in_turn or pieces"),
    ],
)
def test_what_it_can_not_run_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        make("one_weird_trick", 4, **options)


def test_the_scenario_shows_what_the_trick_saves():
    found = json.loads(golden_path("scenarios/schemes/one_weird_trick.yaml").read_text())
    sent = {name: summary["bytes_sent_per_worker_per_step"] for name, summary in found.items()}
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    assert sent["all at once"] == sent["in turn"] == sent["in pieces"] < 0.6 * sent["data parallel"]
    assert max(seconds[name] for name in ("all at once", "in pieces")) < seconds["data parallel"]


@pytest.mark.real
@EXCHANGES
def test_real_runs_give_the_same_bits_bytes_and_messages(exchange, pool):
    case = learning("one_weird_trick", workers=2, exchange=exchange)
    real, simulated = executed(case, pool), simulate(case)
    figures = ("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "updates", "loss")
    assert [real.summary[name] for name in figures] == [simulated.summary[name] for name in figures]
    for mine, yours in zip(real.returns, simulated.returns, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(mine, yours, strict=True))
