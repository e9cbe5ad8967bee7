"""GPipe: the time and the bubble of the paper, the order of the drawing, what a stage keeps."""

import inspect

import pytest
import torch

from parasim import ScenarioError, closed_form
from parasim.metrics.memory import memory_of
from parasim.schedules import gpipe as schedule
from tests.schemes_setup import but_messages, make, peak_but_messages, run, steady, weights

FREE = {"bandwidth": 1e18, "latency": 0.0, "memory_bandwidth": 1e18}
UNIT = {  # a layer's forward pass, and its backward pass, take a second for each sample
    "kind": "layers",
    "needs_input_gradient": True,
    "layers": [
        {
            "parameters": 8,
            "forward_flops": 1e9,
            "input_flops": 5e8,
            "weight_flops": 5e8,
            "output_elements": 4,
            "repeat": 12,
        }
    ],
}


def passes(result, stage):
    return [row for row in result.trace if row.rank == stage and row.label in ("forward", "backward")]


@pytest.mark.parametrize(("stages", "micros"), [(1, 1), (1, 4), (2, 1), (2, 8), (3, 4), (4, 4), (4, 16), (6, 3)])
def test_time_and_bubble_of_balanced_stages(stages, micros):
    """``(M + K - 1)(F + B)``, F + B = 6 (b / M)(L / K) n^2 / (FLOP/s); idle for (K - 1) / (M + K - 1) of it."""
    batch, layers, width = 48, 12, 32
    model = {"kind": "mlp", "width": width, "depth": layers}
    result = run("gpipe", stages, steps=1, model=model, batch=batch, micro_batches=micros, **FREE)
    one = 6 * (batch / micros) * (layers / stages) * width**2 / 1e9
    update = 2 * layers / stages * width**2 / 1e9
    seconds = result.summary["seconds"] - update
    assert seconds == pytest.approx((micros + stages - 1) * one, rel=1e-9)
    for stage in range(stages):
        busy = sum(row.t_end - row.t_start for row in passes(result, stage))
        assert 1 - busy / seconds == pytest.approx((stages - 1) / (micros + stages - 1), abs=1e-9)


def test_recomputation_adds_a_forward_pass_and_hides_part_of_it():
    """Only the last stage waits for its first one: ``(M + K - 1)(F + B) + M F``, not ``(M + K - 1)(2 F + B)``."""
    plain, again = (
        run("gpipe", 3, steps=1, model=UNIT, batch=4, micro_batches=4, recompute=recompute, **FREE).summary["seconds"]
        for recompute in (False, True)
    )
    assert again - plain == pytest.approx(4 * 4, rel=1e-9)  # four micro-batches of a sample through four layers


@pytest.mark.parametrize(("stages", "micros"), [(1, 3), (3, 4), (4, 1), (4, 6)])
def test_the_last_micro_batch_is_kept_as_torchgpipe_does(stages, micros):
    """Nobody repeats it: ``(M + K - 1)(F + B) + (M - 1) F``; and nothing is learned otherwise."""
    options = {"recompute": True, "keep_last": True, "micro_batches": micros}
    settings = {"model": UNIT, "batch": micros, **FREE}
    plain = run("gpipe", stages, steps=1, micro_batches=micros, **settings).summary["seconds"]
    kept = run("gpipe", stages, steps=1, **options, **settings).summary["seconds"]
    assert kept - plain == pytest.approx((micros - 1) * 12 / stages, rel=1e-9)
    form = closed_form(make("gpipe", stages, **options, **settings))
    assert form.exact
    assert form.seconds_per_step == pytest.approx(steady("gpipe", stages, **options, **settings)[0], rel=1e-9)
    learns = {"data": {"kind": "digits"}, "learn": True, "batch": 12}
    learned = [run("gpipe", stages, **learns, **{**options, "keep_last": last}) for last in (True, False)]
    assert torch.equal(*(weights(result, range(stages)) for result in learned))


def test_only_recomputing_can_except_a_micro_batch():
    with pytest.raises(ScenarioError, match="keep_last: true excepts a micro-batch from recomputing: set recompute"):
        make("gpipe", 2, keep_last=True)


@pytest.mark.parametrize("bandwidth", [1e7, 1e18])
@pytest.mark.parametrize("speeds", [{}, {0: 0.5}, {2: 0.5}])
def test_the_closed_form_holds_for_unlike_stages_too(speeds, bandwidth):
    settings = {"model": {"kind": "mlp", "width": 32, "depth": 6}, "micro_batches": 4, "recompute": True}
    settings |= {"keep_last": True, "speeds": speeds, "bandwidth": bandwidth}
    form, met = closed_form(make("gpipe", 3, **settings)), steady("gpipe", 3, **settings)[0]
    assert form.seconds_per_step == pytest.approx(met, rel=1e-9) if form.exact else form.seconds_per_step <= met


def picture(micros, stages):
    """Who does what when, as the drawing in parasim/schedules/gpipe.py."""
    result = run("gpipe", stages, steps=1, model=UNIT, batch=micros, micro_batches=micros, **FREE)
    unit = 12 / stages
    lines = []
    for stage in range(stages):
        slots = {round(row.t_start / unit): f"{row.label[0].upper()}{row.micro}" for row in passes(result, stage)}
        assert len(slots) == 2 * micros
        lines.append(f"stage {stage}   " + " ".join(slots.get(slot, ". ") for slot in range(max(slots) + 1)))
    return lines


def test_the_schedule_is_the_one_that_is_drawn():
    drawn = [line.strip() for line in inspect.getdoc(schedule).splitlines() if line.strip().startswith("stage ")]
    assert len(drawn) == 3
    assert picture(4, 3) == drawn


@pytest.mark.parametrize("micros", [1, 2, 5])
def test_the_order_is_all_forward_then_all_backward_in_reverse(micros):
    order = list(schedule.gpipe(micros))
    assert order[:micros] == [("forward", micro) for micro in range(micros)]
    assert order[micros:] == [("backward", micro) for micro in reversed(range(micros))]


@pytest.mark.parametrize(("stages", "micros"), [(1, 4), (3, 1), (3, 6), (4, 8)])
def test_a_stage_keeps_what_all_micro_batches_stored(stages, micros):
    """In-flight micro-batches are M. Recomputing, a stage keeps M inputs and what one micro-batch stores.

    The first stage reads its batch again, so it keeps no inputs.
    """
    model, batch, width = {"kind": "mlp", "width": 32, "depth": 12}, 48, 32
    traces = [
        run("gpipe", stages, model=model, batch=batch, micro_batches=micros, **options).trace
        for options in ({}, {"recompute": True}, {"recompute": True, "keep_last": True})
    ]
    plain, again, last = map(memory_of, traces)
    one = batch // micros * width * 4
    for stage in range(stages):
        stored = 12 // stages + (stage == stages - 1)  # each layer its inputs, the last one its outputs as well
        parameters = 12 // stages * width**2 * 4
        kept = micros * one if stage else 0
        assert but_messages(plain[stage].peak_bytes_of) == {
            "activations": micros * stored * one,
            "gradient": parameters,
            "weights": parameters,
        }
        assert but_messages(again[stage].peak_bytes_of) == {
            "activations": stored * one,
            "gradient": parameters,
            "weights": parameters,
            **({"inputs": kept} if kept else {}),
        }
        assert last[stage].peak_bytes_of.get("inputs", 0) == (micros - 1) * one * bool(stage)
        most = [peak_but_messages(trace, stage) for trace in traces[1:]]
        assert most == [2 * parameters + stored * one + kept, 2 * parameters + stored * one + kept - one * bool(stage)]
