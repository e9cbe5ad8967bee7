"""Hybrid plans, Yadan's grid and 3-D: equal to sequential SGD; each axis alone is a known scheme (S24, S35)."""

import json

import pytest
import torch

from parasim import closed_form, simulate
from parasim.learning.build import make_optimizer, pin_threads
from parasim.metrics.memory import memory_of
from parasim.program import Planning
from parasim.scenario import from_document
from tests.golden import golden_path
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, but_messages, make, peak_but_messages, run, steady, weights
from tests.shards_setup import TEXT, TRANSFORMER, whole_of

SPLITS = pytest.mark.parametrize("split", ["outputs", "pairs"])
EXACT = {"data": EXACT_DATA, "dtype": "float64", "learn": True}
FREE = {"memory_bandwidth": 1e18}
AXES = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1), (2, 1, 2), (1, 2, 2), (2, 2, 2)]


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def sequential(model, steps, **settings):
    return weights(run("sequential", 1, model=model, steps=steps, **{"batch": 16, **EXACT, **settings}), range(1))


def copies_of(case, result):
    """The whole model of every copy, from the stages and shards that hold it."""
    o = case.scheme.options
    copies = o.workers // (o.pipeline * o.tensor)
    for first in range(0, copies * o.pipeline * o.tensor, o.pipeline * o.tensor):
        stages = [first + stage * o.tensor for stage in range(o.pipeline)]
        held = [
            torch.cat([part_of(result.returns[k + t], chunk) for chunk in range(o.chunks) for k in stages])
            for t in range(o.tensor)
        ]
        yield whole_of(case, held, o.split)


def part_of(returned, chunk):
    """A worker's part, or one of them if it has several."""
    return torch.as_tensor(returned[chunk] if isinstance(returned, list) else returned)


# the grid ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("workers", "groups"), [(1, 1), (2, 1), (2, 2), (4, 2), (8, 2), (4, 4)])
@pytest.mark.parametrize("name", EXACT_MODELS)
def test_the_grid_equals_sequential_in_every_bit(name, workers, groups):
    model, steps = EXACT_MODELS[name]
    case = make("grid", workers, groups=groups, model=model, steps=steps, batch=16 // groups, **EXACT)
    result, members = simulate(case), workers // groups
    for first in range(0, workers, members):
        found = whole_of(case, result.returns[first : first + members], "outputs")
        assert torch.equal(found, sequential(model, steps))


def test_the_grid_splits_feature_maps_of_convolutions():
    settings = {"model": {"kind": "lenet5"}, "data": {"kind": "digits"}, "dtype": "float64", "learn": True, "steps": 3}
    case = make("grid", 4, groups=2, batch=4, **settings)
    whole = weights(run("sequential", 1, batch=8, **settings), range(1))
    found = whole_of(case, simulate(case).returns[:2], "outputs")
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)


def test_bytes_of_the_grid_of_pairs():
    """Two replicas of two: the sum of A_l(b/2), and P/2 (S24.5)."""
    _, nbytes, messages = steady("grid", 4, groups=2, batch=8)
    layers, width = 4, 32
    assert nbytes == layers * 8 * width * 4 + layers * width**2 * 4 / 2
    assert messages == 2 * layers + 2


@pytest.mark.parametrize(("workers", "groups"), [(2, 1), (4, 1), (4, 2), (8, 2), (4, 4)])
def test_closed_form_of_the_grid(workers, groups):
    form = closed_form(make("grid", workers, groups=groups, **FREE))
    met = steady("grid", workers, groups=groups, **FREE)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1:] == (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step)


def test_groups_of_the_grid_must_be_equal():
    with pytest.raises(ValueError, match="5 workers do not fill 2 groups: use a multiple of 2"):
        make("grid", 5, groups=2)


def test_the_scenario_of_the_grid_sends_least():
    found = json.loads(golden_path("scenarios/schemes/grid.yaml").read_text())
    sent = {name: summary["bytes_sent_per_worker_per_step"] for name, summary in found.items()}
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    for other in ("data parallel", "model parallel"):
        assert sent["grid"] < 0.8 * sent[other]
        assert seconds["grid"] < seconds[other] < seconds["one device"]
    assert len({round(summary["loss"]["last"], 3) for summary in found.values()}) == 1


# 3-D -----------------------------------------------------------------------------------------------------------------
@SPLITS
@pytest.mark.parametrize(("data", "pipeline", "tensor"), AXES)
def test_three_dimensions_equal_sequential_in_every_bit(data, pipeline, tensor, split):
    model, steps = EXACT_MODELS["relu"]
    plan = {"pipeline": pipeline, "tensor": tensor, "split": split, "micro_batches": 2}
    case = make("three_d", data * pipeline * tensor, model=model, steps=steps, batch=16 // data, **plan, **EXACT)
    copies = list(copies_of(case, simulate(case)))
    assert len(copies) == data
    assert all(torch.equal(copy, sequential(model, steps)) for copy in copies)


@pytest.mark.parametrize(("data", "pipeline", "tensor", "pieces"), [(1, 2, 2, False), (2, 2, 2, True), (1, 4, 1, True)])
def test_three_dimensions_of_a_transformer_equal_sequential_to_rounding(data, pipeline, tensor, pieces):
    settings = {"model": TRANSFORMER, "data": TEXT, "dtype": "float64", "learn": True, "steps": 3}
    plan = {"pipeline": pipeline, "tensor": tensor, "micro_batches": 2, "scatter_gather": pieces}
    case = make("three_d", data * pipeline * tensor, batch=8 // data, **plan, **settings)
    whole = weights(run("sequential", 1, batch=8, **settings), range(1))
    for copy in copies_of(case, simulate(case)):
        torch.testing.assert_close(copy, whole, rtol=1e-12, atol=1e-12)


def figures(kind, workers, **settings):
    return steady(kind, workers, **{**FREE, "cores": 2, **settings})


def test_each_axis_alone_is_a_known_scheme():
    """(p, 1, 1) PipeDream-Flush; (1, t, 1) tensor parallelism; (1, 1, d) all-reduce: in time, bytes and messages."""
    plan = {"pipeline": 1, "tensor": 1, "micro_batches": 1}
    assert figures("three_d", 4, **{**plan, "pipeline": 4, "micro_batches": 4}) == pytest.approx(
        figures("pipedream_flush", 4, micro_batches=4), rel=1e-9
    )
    for split in ("outputs", "pairs"):
        assert figures("three_d", 4, **{**plan, "tensor": 4, "split": split}) == pytest.approx(
            figures("tensor_parallel", 4, split=split), rel=1e-9
        )
    one = {"model": {"kind": "mlp", "width": 32, "depth": 1}}  # all-reduce makes one pass through all layers
    plain = figures("allreduce", 4, overlap=False, **one)
    assert figures("three_d", 4, **plan, **one) == pytest.approx(plain, rel=1e-9)


@SPLITS
@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize(("data", "pipeline", "tensor"), AXES)
def test_bytes_messages_and_time_of_three_dimensions(data, pipeline, tensor, pieces, split):
    settings = {"pipeline": pipeline, "tensor": tensor, "split": split, "micro_batches": 2, "scatter_gather": pieces}
    form = closed_form(make("three_d", data * pipeline * tensor, **settings))
    seconds, nbytes, messages = steady("three_d", data * pipeline * tensor, **settings)
    assert nbytes == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert messages == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)
    assert form.seconds_per_step * (1 - 1e-9) <= seconds <= 2 * form.seconds_per_step


@pytest.mark.parametrize("micros", [2, 4, 8])
@pytest.mark.parametrize(("data", "pipeline"), [(1, 2), (2, 2), (1, 4)])
def test_the_bubble_is_that_of_the_stages(data, pipeline, micros):
    """Free links, t = 1: idle for (n/d - 1) of every B/(d b) micro-batches (S35.5)."""
    settings = {"pipeline": pipeline, "micro_batches": micros}
    settings |= {"bandwidth": 1e18, "latency": 0.0, "memory_bandwidth": 1e24}
    form = closed_form(make("three_d", data * pipeline, **settings))
    seconds, _, _ = steady("three_d", data * pipeline, **settings)
    assert form.exact
    assert seconds == pytest.approx(form.seconds_per_step, rel=1e-9)
    update = 2 * 4 * 32 * 32 / pipeline / 1e9
    ideal = 6 * 16 * 4 * 32 * 32 / pipeline / 1e9
    additions = 4 * 32 * 32 / pipeline * (data - 1) / data / 1e9
    assert (seconds - update - additions) / ideal - 1 == pytest.approx((pipeline - 1) / micros, rel=1e-9)


def traffic(result, size, tensor):
    """Payload by kind of group, in nodes of four workers and between them."""
    found = {}
    for row in result.trace:
        if row.op == "send" and row.nbytes:
            same_stage = row.rank // tensor == row.peer // tensor
            kind = "tensor" if same_stage else "pipeline" if row.rank // size == row.peer // size else "data"
            key = kind, "inside" if row.rank // 4 == row.peer // 4 else "between"
            found[key] = found.get(key, 0) + row.nbytes
    return found


def test_traffic_runs_where_the_plan_says():
    """Two nodes of four workers: tensor groups and pipelines inside, gradients between; or stages across nodes."""
    inside = traffic(run("three_d", 8, pipeline=2, tensor=2, steps=1), 4, 2)
    assert {place for kind, place in inside if kind != "data"} == {"inside"}
    assert {place for kind, place in inside if kind == "data"} == {"between"}
    across = traffic(run("three_d", 8, pipeline=2, tensor=4, steps=1), 8, 4)
    assert set(across) == {("tensor", "inside"), ("pipeline", "between")}


@SPLITS
def test_stages_that_send_pieces_change_no_bit(split):
    """A border in the middle of a pair has columns on both sides, which are pieces already."""
    settings = {"model": {"kind": "mlp", "width": 8, "depth": 3}, "data": EXACT_DATA, "learn": True, "steps": 2}
    plan = {"pipeline": 3, "tensor": 2, "split": split, "micro_batches": 2}
    one, other = (run("three_d", 6, scatter_gather=pieces, **plan, **settings) for pieces in (False, True))
    assert all((mine == yours).all() for mine, yours in zip(one.returns, other.returns, strict=True))
    sent = [found.summary["bytes_sent_per_worker_per_step"] for found in (one, other)]
    assert sent[1] == sent[0]  # what stages send less, tensor groups gather


DEEP = {"model": {"kind": "mlp", "width": 8, "depth": 8, "activation": "relu"}, "data": {"kind": "digits"}}
LEARNS = {**DEEP, "dtype": "float64", "learn": True, "steps": 3}
SCHEDULES = [
    {"chunks": 2},
    {"recompute": True},
    {"chunks": 2, "recompute": True},
    {"chunks": 4, "scatter_gather": True},
]


def test_a_loss_is_noted_once_for_each_micro_batch_of_a_copy():
    """By one member of the last stage's tensor group: all of them know it."""
    settings = {"data": {"kind": "digits"}, "learn": True, "steps": 2, "pipeline": 2, "tensor": 2, "micro_batches": 4}
    trace = run("three_d", 8, split="outputs", **settings).trace
    assert [row.rank for row in trace if row.label == "loss"].count(2) == 2 * 4
    assert {row.rank for row in trace if row.label == "loss"} == {2, 6}


def test_the_form_knows_the_way_from_the_last_stage_to_the_first_ones_next_chunk():
    """Only chunks take it forward."""
    rates = {}
    for chunks in (1, 2):
        document = make("three_d", 2, pipeline=2, tensor=1, chunks=chunks, micro_batches=4).document
        slow = {"host1->switch": {"bandwidth": "1 MB/s"}}
        scenario = from_document({**document, "cluster": {**document["cluster"], "links": slow}})
        form = closed_form(scenario)
        rates[chunks] = form.note.rpartition("pipeline ")[2]
        assert simulate(scenario).summary["seconds_per_step"] >= form.seconds_per_step * (1 - 1e-9)
    assert rates == {1: "0.1 GB/s", 2: "0.001 GB/s"}


@pytest.mark.parametrize("bandwidth", [1e6, 1e9])
@pytest.mark.parametrize("split", ["outputs", "pairs"])
def test_what_is_repeated_takes_the_time_of_its_exchanges_too(split, bandwidth):
    """One stage, whose members wait for nobody else, meets the form."""
    settings = {"pipeline": 1, "tensor": 2, "micro_batches": 4, "split": split, "bandwidth": bandwidth}
    seconds = {}
    for recompute in (False, True):
        form = closed_form(make("three_d", 2, recompute=recompute, **settings))
        seconds[recompute] = steady("three_d", 2, recompute=recompute, **settings)[0]
        assert seconds[recompute] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert seconds[True] > 1.2 * seconds[False]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("data", "pipeline", "tensor", "split"), [(1, 2, 1, "pairs"), (2, 2, 2, "outputs")])
def test_chunks_and_recomputation_equal_sequential(data, pipeline, tensor, split, schedule):
    """To rounding (members find other sums); recomputing changes no bit."""
    plan = {"pipeline": pipeline, "tensor": tensor, "micro_batches": 4, "split": split, "batch": 16 // data}
    case = make("three_d", data * pipeline * tensor, **plan, **schedule, **LEARNS)
    found = list(copies_of(case, simulate(case)))
    whole = weights(run("sequential", 1, batch=16, **LEARNS), range(1))
    for copy in found:
        torch.testing.assert_close(copy, whole, rtol=1e-12, atol=1e-12)
    stored = make("three_d", data * pipeline * tensor, **plan, **{**schedule, "recompute": False}, **LEARNS)
    assert all(torch.equal(one, other) for one, other in zip(found, copies_of(stored, simulate(stored)), strict=True))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("data", "pipeline", "tensor"), [(1, 1, 2), (1, 2, 1), (1, 2, 2), (2, 2, 2), (1, 4, 1)])
def test_without_a_flush_it_is_2bw(data, pipeline, tensor, recompute):
    """A delay of one update, whatever the plan; bit for bit where layers are not split."""
    plan = {"pipeline": pipeline, "tensor": tensor, "flush": False, "recompute": recompute}
    case = make("three_d", data * pipeline * tensor, micro_batches=4, batch=8, **plan, **{**LEARNS, "steps": 5})
    result = simulate(case)
    known = run("pipedream_2bw", data * pipeline, copies=data, micro_batches=4, batch=8, **{**LEARNS, "steps": 5})
    whole = weights(known, range(pipeline))
    for copy in copies_of(case, result):
        torch.testing.assert_close(copy, whole, rtol=1e-12, atol=1e-12)
        assert tensor > 1 or torch.equal(copy, whole)
    assert result.summary["staleness"]["max"] == 1


def test_schedules_alone_are_known_schemes():
    """In time, bytes and messages: interleaved 1F1B, and PipeDream-2BW with copies."""
    deep = {"model": DEEP["model"], "batch": 16, "cores": 2, **FREE}
    plan = {"tensor": 1, "micro_batches": 4, **deep}
    for mine, yours in (
        (("three_d", 2, {"pipeline": 2, "chunks": 4}), ("interleaved_1f1b", 2, {"chunks": 4})),
        (("three_d", 4, {"pipeline": 2, "flush": False}), ("pipedream_2bw", 4, {"copies": 2})),
        (("three_d", 4, {"pipeline": 4, "flush": False}), ("pipedream_2bw", 4, {})),
    ):
        found = steady(*mine[:2], **mine[2], **plan)
        known = steady(*yours[:2], **yours[2], micro_batches=4, **deep)
        assert found == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize("schedule", [*SCHEDULES, {"flush": False}, {"flush": False, "recompute": True}])
@pytest.mark.parametrize(("data", "pipeline", "tensor"), [(1, 2, 1), (1, 1, 2), (2, 2, 2), (1, 2, 3)])
def test_closed_form_and_memory_of_schedules(data, pipeline, tensor, schedule):
    if pipeline == 1 and schedule.get("chunks", 1) > 1:
        pytest.skip("one stage interleaves nothing")
    links = {"bandwidth": 1e11, "latency": 1e-7}
    plan = {"pipeline": pipeline, "tensor": tensor, "micro_batches": 4, "steps": 6, "model": DEEP["model"], **links}
    plan |= schedule
    workers = data * pipeline * tensor
    case = make("three_d", workers, **plan)
    form, met = closed_form(case), steady("three_d", workers, **plan)
    assert met[1:] == pytest.approx((form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step))
    assert form.seconds_per_step * (1 - 1e-9) <= met[0] <= 1.7 * form.seconds_per_step
    trace = simulate(case).trace
    planning = Planning(case.workload.model, 16, make_optimizer(*case.optimizer), None)
    for rank, planned in enumerate(case.scheme.memory(planning)):
        peak = peak_but_messages(trace, rank)
        several = schedule.get("chunks", 1) > 1
        assert peak <= sum(but_messages(planned).values()) if several else peak == sum(but_messages(planned).values())
        assert memory_of(trace)[rank].peak_bytes <= sum(planned.values())


@pytest.mark.parametrize(
    ("stages", "micros", "schedule", "expected"),
    [
        (4, 8, {"chunks": 2}, lambda f, b: (8 + 3 / 2) * (f + b)),
        (4, 8, {"chunks": 1}, lambda f, b: (8 + 3) * (f + b)),
        (4, 8, {"flush": False}, lambda f, b: 8 * (f + b)),
        (1, 8, {"recompute": True}, lambda f, b: 8 * (2 * f + b)),
    ],
)
def test_bubbles_of_schedules(stages, micros, schedule, expected):
    """Balanced stages, and links that take no time; a layer's pass takes 2 b n^2 FLOP, its backward twice."""
    settings = {"model": {"kind": "mlp", "width": 64, "depth": 8}, "batch": 64, "flops": 1e9}
    free = {"memory_bandwidth": 1e24, "bandwidth": 1e18, "latency": 0.0}
    plan = {"pipeline": stages, "tensor": 1, "micro_batches": micros, **schedule}
    forward, update = 2 * (64 // micros) * 64**2 * (8 // stages) / 1e9, 2 * 64**2 * (8 // stages) / 1e9
    met = steady("three_d", stages, steps=6, **plan, **settings, **free)
    assert met[0] == pytest.approx(expected(forward, 2 * forward) + update, rel=1e-6)
    form = closed_form(make("three_d", stages, steps=6, **plan, **settings, **free))
    assert form.exact or schedule.get("recompute")
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunks": 2, "micro_batches": 1}, "micro_batches 1 is no multiple of 2 stages"),
        ({"chunks": 2, "flush": False}, "chunks 2 are interleaved between flushes: use chunks: 1, or flush: true"),
        ({"pipeline": 4, "flush": False, "micro_batches": 2}, "micro_batches 2 are fewer than 4 stages"),
        ({"pipeline": 1, "chunks": 2}, "one worker has nobody to interleave chunks with"),
        ({"chunks": 4}, "8 stages need at least 8 layers"),
    ],
)
def test_schedules_that_can_not_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("three_d", 4, **{"pipeline": 2, "tensor": 1, "micro_batches": 4, **options})


def test_workers_must_fill_the_grid():
    with pytest.raises(ValueError, match="6 workers are no multiple of pipeline 2 x tensor 2 = 4: change one of them"):
        make("three_d", 6, pipeline=2, tensor=2)


def test_the_scenario_shows_which_groups_belong_inside_a_node():
    found = json.loads(golden_path("scenarios/schemes/three_d.yaml").read_text())
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    assert seconds["tensor in nodes, stages between"] < 0.5 * seconds["tensor groups across nodes"]
    assert seconds["stages in nodes, copies between"] < seconds["tensor groups across nodes"]
    assert len({round(summary["loss"]["last"], 2) for summary in found.values()}) == 1


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
def test_a_real_grid_gives_the_same_bits_bytes_and_messages(pool):
    same_in_both(learning("grid", workers=4, groups=2), pool)


@pytest.mark.real
@pytest.mark.parametrize(("pipeline", "tensor"), [(2, 2), (2, 1), (1, 2)])
def test_real_runs_of_three_dimensions_give_the_same_bits_bytes_and_messages(pipeline, tensor, pool):
    settings = {"pipeline": pipeline, "tensor": tensor, "micro_batches": 2, "scatter_gather": tensor == pipeline}
    same_in_both(learning("three_d", workers=4, **settings), pool)


@pytest.mark.real
@pytest.mark.parametrize("schedule", [{"chunks": 2, "recompute": True}, {"flush": False, "recompute": True}])
def test_real_runs_of_schedules_give_the_same_bits_bytes_and_messages(schedule, pool):
    settings = {"pipeline": 2, "tensor": 2, "micro_batches": 4, "split": "outputs", **schedule}
    same_in_both(learning("three_d", workers=4, depth=4, **settings), pool)
