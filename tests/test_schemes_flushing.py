"""Layer-wise, 1F1B with flush, interleaved, zero bubble: all are sequential SGD; their bubbles, memory and messages."""

import pytest
import torch

from parasim import ScenarioError, closed_form
from parasim.learning.build import pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.theory.pipelines import flush, in_flight
from tests.pipelines import most_in_flight, starts
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, but_messages, make, run, steady, weights

KINDS = {
    "layerwise": {},
    "pipedream_flush": {"micro_batches": 4},
    "interleaved_1f1b": {"micro_batches": 4, "chunks": 2},
    "zb_h1": {"micro_batches": 4},
}
DEEP = {"kind": "mlp", "depth": 4, "width": 8, "activation": "relu", "initial": "exact"}
FREE = {"bandwidth": 1e18, "latency": 0.0, "memory_bandwidth": 1e18}
UNIT = {  # of a sample: a forward pass, gradients of inputs, gradients of weights take a second each
    "kind": "layers",
    "needs_input_gradient": True,
    "layers": [
        {
            "parameters": 8,
            "forward_flops": 1e9,
            "input_flops": 1e9,
            "weight_flops": 1e9,
            "output_elements": 4,
            "repeat": 24,
        }
    ],
}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def gathered(result):
    """The weights in the model's order: chunk by chunk, stage by stage."""
    chunks = [found if isinstance(found, list) else [found] for found in result.returns]
    return torch.cat([torch.from_numpy(chunk) for level in zip(*chunks, strict=True) for chunk in level])


@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_sequential_sgd_in_every_bit(kind, stages):
    options = {**KINDS[kind], **({"chunks": 4 // stages if stages > 1 else 1} if kind == "interleaved_1f1b" else {})}
    settings = {"model": DEEP, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": 1, "batch": 16}
    result = run(kind, stages, **settings, **options)
    whole = run("sequential", 1, **settings)
    assert torch.equal(gathered(result), weights(whole, range(1)))
    assert result.summary["staleness"]["histogram"] == {0: stages * options.get("chunks", 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_losses_on_digits_are_those_of_sequential_sgd(kind):
    settings = {"data": {"kind": "digits"}, "learn": True, "steps": 8, "batch": 32}
    stages = 2 if kind == "interleaved_1f1b" else 4
    found = run(kind, stages, **settings, **KINDS[kind]).summary["loss"]
    whole = run("sequential", 1, **settings).summary["loss"]
    assert found == pytest.approx(whole, rel=1e-4)
    assert found["last"] < found["first"]


def test_layerwise_is_bitwise_sequential_on_any_data():
    """The same arithmetic on the same samples, cut by layers alone."""
    settings = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "batch": 32}
    assert torch.equal(gathered(run("layerwise", 3, **settings)), weights(run("sequential", 1, **settings), range(1)))


# time ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_layerwise_has_one_busy_stage_and_the_speed_of_one_machine(stages):
    result = run("layerwise", stages, steps=2, model=UNIT, batch=2, **FREE)
    assert result.summary["seconds_per_step"] == pytest.approx(2 * 72, rel=1e-6)
    assert result.summary["shares"]["compute"] == pytest.approx(1 / stages, rel=1e-6)


def passes(result, stage):
    return [row for row in result.trace if row.rank == stage and row.op == "compute" and row.label != "update"]


@pytest.mark.parametrize(("stages", "micros"), [(2, 4), (3, 6), (4, 8)])
def test_bubbles(stages, micros):
    """1F1B as GPipe's, (K-1)/(M+K-1); (K-1)/(vM) of the ideal interleaved; a third of 1F1B's for F = B = W in ZB-H1."""
    settings = {"steps": 1, "model": UNIT, "batch": micros, "micro_batches": micros, **FREE}
    one = 24 / stages  # seconds of a stage's forward pass
    ideal = 3 * one * micros

    def seconds(kind, **options):
        result = run(kind, stages, **settings, **options)
        busy = sum(row.t_end - row.t_start for row in passes(result, 0))
        assert busy == pytest.approx(ideal, rel=1e-9)
        return max(row.t_end for row in result.trace if row.label != "update" and row.op == "compute")

    assert seconds("pipedream_flush") == pytest.approx(flush(stages, micros, one, 2 * one).seconds, rel=1e-6)
    assert seconds("interleaved_1f1b", chunks=2) / ideal - 1 == pytest.approx((stages - 1) / (2 * micros), rel=1e-6)
    assert seconds("zb_h1") - ideal == pytest.approx((stages - 1) * one, rel=1e-6)


@pytest.mark.parametrize("kind", ["pipedream_flush", "interleaved_1f1b", "zb_h1"])
def test_passes_begin_when_the_schedule_lets_them(kind):
    options = {"micro_batches": 4, **({"chunks": 2} if kind == "interleaved_1f1b" else {})}
    result = run(kind, 2, steps=1, model=UNIT, batch=4, **options, **FREE)
    chunks = options.get("chunks", 1)
    unit = 24 / 2 / chunks
    orders = [list(make(kind, 2, model=UNIT, batch=4, **options).scheme.order(k)) for k in range(2)]
    ways = {"forward": unit, "backward": 2 * unit, "inputs": unit, "weights": unit}
    for stage, begun in enumerate(starts(orders, ways)):
        found = [row.t_start for row in passes(result, stage)]
        assert found == pytest.approx(sorted(begun.values()), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stages", [2, 4])
def test_closed_forms_are_met(kind, stages):
    settings = {**KINDS[kind], "bandwidth": 1e18, "latency": 0.0, "launch": 0.0}
    if kind == "interleaved_1f1b":
        settings["model"] = {"kind": "mlp", "width": 32, "depth": 2 * stages}
    if kind == "zb_h1":
        settings["model"] = UNIT | {"layers": [UNIT["layers"][0] | {"repeat": stages}]}
        settings["memory_bandwidth"] = 1e18
    form, met = closed_form(make(kind, stages, **settings)), steady(kind, stages, steps=1, **settings)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)
    if form.exact:
        assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_forms_are_lower_bounds_with_slow_links_and_unlike_stages(kind):
    settings = {**KINDS[kind], "bandwidth": 1e6, "speeds": {1: 0.3}, "latency": 1e-4}
    form, met = closed_form(make(kind, 2, **settings)), steady(kind, 2, steps=1, **settings)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)
    if kind == "layerwise":
        assert form.exact
        assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)


# memory --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stages", "micros"), [(2, 1), (4, 8), (4, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_peaks_are_the_closed_forms(kind, stages, micros):
    options = {"micro_batches": micros} if kind != "layerwise" else {}
    if kind == "interleaved_1f1b":
        options["micro_batches"] = micros = 2 * stages
    settings = {"model": {"kind": "mlp", "width": 16, "depth": 8}, "batch": 8, "steps": 2}
    scenario = make(kind, stages, **settings, **options)
    one = 8 // scenario.scheme.micro_batches() * 16 * 4
    parts = scenario.scheme.parts(scenario.workload.model)
    memory = memory_of(run(kind, stages, **settings, **options).trace)
    for stage in range(stages):
        flying = {
            "layerwise": 1,
            "pipedream_flush": in_flight("1f1b", stages, stage, micros),
            "zb_h1": min(stages, micros),
        }.get(kind)
        peak = memory[stage].peak_bytes_of["activations"]
        if flying is None:
            chunks = in_flight("interleaved", stages, stage, micros, 2)
            layers = len(parts[stage].layers)
            last = parts[stage + stages].is_last  # the last chunk stores its outputs for the loss
            assert chunks * layers * one <= peak <= (chunks * layers + last * chunks) * one
        else:
            assert peak == flying * parts[stage].stored_elements * one // 16


@pytest.mark.parametrize(("stages", "micros", "chunks"), [(2, 8, 2), (4, 8, 2), (4, 4, 2), (3, 6, 3)])
@pytest.mark.parametrize("kind", ["interleaved_1f1b", "three_d"])
def test_each_chunk_is_planned_to_keep_what_its_order_has_in_flight(kind, stages, micros, chunks):
    """All chunks together have fewer in flight: their peaks are not at one time."""
    options = {"micro_batches": micros, "chunks": chunks}
    options |= {"pipeline": stages, "tensor": 1} if kind == "three_d" else {}
    model = {"kind": "mlp", "width": 16, "depth": stages * chunks}
    scheme = make(kind, stages, model=model, batch=micros, **options).scheme
    for stage in range(stages):
        order = list(scheme.order(stage))
        own = [[(way, micro) for way, chunk, micro in order if chunk == number] for number in range(chunks)]
        planned = [scheme.in_flight(number * stages + stage) for number in range(chunks)]
        assert planned == [most_in_flight(passes) for passes in own]
        assert max(planned) <= in_flight("interleaved", stages, stage, micros, chunks) <= sum(planned)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_planned_is_what_is_held_and_what_tensors_take(kind):
    settings = {"optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.5}, "data": {"kind": "digits"}, "learn": True}
    result, scenario = (make_or_run(kind, 2, steps=2, **settings, **KINDS[kind]) for make_or_run in (run, make))
    from parasim.learning.build import make_optimizer
    from parasim.program import Planning

    planning = Planning(scenario.workload.model, 16, make_optimizer(*scenario.optimizer), None)
    for rank, planned in enumerate(scenario.scheme.memory(planning)):
        said, counted = course_of(result.trace, rank), tensors_of(result.trace, rank)
        assert said == counted
        assert memory_of(result.trace)[rank].peak_bytes <= sum(planned.values())
        for part, nbytes in but_messages(planned).items():
            peak = max(held.bytes_of[part] for held in said)
            exact = part != "activations" or kind != "zb_h1"
            assert peak == nbytes if exact else peak <= nbytes


def test_stages_get_less_where_they_keep_more_in_flight():
    """1F1B keeps 4, 3, 2, 1 micro-batches: with little memory the first stages take fewer layers."""
    layers = {
        "kind": "layers",
        "layers": [{"parameters": 10, "forward_flops": 1e4, "output_elements": 5000, "repeat": 16}],
    }
    sizes = {}
    for memory in (1e9, 0.25e6):
        scenario = make("pipedream_flush", 4, model=layers, micro_batches=16, batch=16)
        scenario = parasim_with(scenario, memory)
        sizes[memory] = [len(part.layers) for part in scenario.scheme.parts(scenario.workload.model)]
    assert sizes[1e9] == [4, 4, 4, 4]
    assert sizes[0.25e6][0] < 4 < sizes[0.25e6][3]


def parasim_with(scenario, memory):
    from parasim.scenario import from_document

    cluster = scenario.document["cluster"]
    device = {**cluster["device"], "memory": f"{memory!r} B"}
    return from_document({**scenario.document, "cluster": {**cluster, "device": device}})


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_real_runs_give_the_same_bits(kind, pool):
    stages = 2 if kind == "interleaved_1f1b" else 3
    options = {**KINDS[kind], **({"stages": [1, 1, 1]} if stages == 3 else {"depth": 4})}
    real = same_in_both(learning(kind, stages, 4, **options), pool)
    for rank in range(stages):
        said, counted = course_of(real.trace, rank), tensors_of(real.trace, rank)
        assert [held.bytes_of for held in said] == [held.bytes_of for held in counted]


@pytest.mark.parametrize(
    ("kind", "hosts", "options", "message"),
    [
        ("interleaved_1f1b", 2, {"micro_batches": 1}, "micro_batches 1 is no multiple of 2 stages"),
        ("interleaved_1f1b", 1, {"micro_batches": 2}, "one worker has nobody to interleave chunks with"),
        ("interleaved_1f1b", 4, {"micro_batches": 4}, "8 stages need at least 8 layers"),
        ("pipedream_flush", 2, {"micro_batches": 3}, "batch_size 16 is no multiple of micro_batches 3"),
        ("zb_h1", 5, {}, "5 stages need at least 5 layers"),
    ],
)
def test_what_can_not_be_is_refused(kind, hosts, options, message):
    with pytest.raises(ScenarioError, match=message):
        make(kind, hosts, **options)
