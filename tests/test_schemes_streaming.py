"""Pipelines without a flush: staleness per stage, gradients at the versions of the papers, memory, steady state."""

import itertools
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim import ScenarioError, closed_form, simulate
from parasim.learning.build import make_optimizer, pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.metrics.staleness import staleness_of
from parasim.program import Context, Planning
from parasim.scenario import from_document
from parasim.schedules.one_f_one_b import fill, fill_replicated
from parasim.schedules.pipedream_planner import Level, pipedream_plan
from tests.delayed import delayed, replicated, stashed
from tests.golden import golden_path
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import but_messages, make, peak_but_messages, run, steady, weights

NET = {"kind": "mlp", "width": 16, "depth": 4, "activation": "relu"}
LEARNS = {"model": NET, "data": {"kind": "digits"}, "learn": True, "batch": 8, "dtype": "float64"}
KINDS = ("pipelined_backprop", "pipedream", "pipedream_2bw", "spectrain")
MOMENTUM = {"kind": "sgd", "lr": 0.125, "momentum": 0.5}
STASHING = {"stashing": True}
FREE = {"bandwidth": 1e18, "latency": 0.0}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def close(result, ranks, expected):
    for rank, weight in zip(ranks, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(result.returns[rank]), weight, rtol=1e-9, atol=1e-12)


def parts_of(scenario):
    return scenario.scheme.parts(scenario.workload.model)


def late(result):
    """Of each stage: largest staleness, and how many gradients had each below it."""
    table = staleness_of(result.trace)
    return {rank: staleness.histogram for rank, staleness in table.per_worker.items()}


# gradients and versions ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_pipedreams_gradients_are_autograds_at_the_stashed_versions(stages):
    """v_f(j, k) = v_b(j, k) = max(0, j - (K-1-k))."""
    scenario = make("pipedream", stages, steps=9, **LEARNS)
    close(simulate(scenario), range(stages), delayed(scenario, parts_of(scenario), 9, stashed(stages)))


@pytest.mark.parametrize("stages", [2, 4])
def test_without_stashing_the_backward_pass_goes_through_the_newest_weights(stages):
    scenario = make("pipedream", stages, steps=9, stashing=False, **LEARNS)
    newest = delayed(scenario, parts_of(scenario), 9, stashed(stages), lambda j, k: j)
    result = simulate(scenario)
    close(result, range(stages), newest)
    right = delayed(scenario, parts_of(scenario), 9, stashed(stages))
    differs = any(not torch.allclose(one, other, rtol=1e-6) for one, other in zip(newest, right, strict=True))
    assert differs == (stages > 2)  # of two, the first passes no gradient on, the last is never late


@pytest.mark.parametrize("stages", [2, 4])
def test_with_vertical_sync_all_stages_use_the_version_of_the_first(stages):
    scenario = make("pipedream", stages, steps=9, vertical_sync=True, **LEARNS)
    expected = delayed(scenario, parts_of(scenario), 9, lambda j, k: max(0, j - (stages - 1)))
    close(simulate(scenario), range(stages), expected)


@pytest.mark.parametrize("replicas", [[2, 1], [1, 2], [1, 2, 1], [3, 2, 1]])
def test_replicas_take_turns_and_update_once_a_round(replicas):
    workers, steps = sum(replicas), 3
    scenario = make("pipedream", workers, steps=steps, replicas=replicas, **LEARNS)
    count = steps * scenario.scheme.pipelines()
    result = simulate(scenario)
    firsts = [sum(replicas[:k]) for k in range(len(replicas))]
    close(result, firsts, delayed(scenario, parts_of(scenario), count, replicated(replicas), replicas=replicas))
    for first, replica in zip(firsts, replicas, strict=True):
        for rank in range(first, first + replica):
            assert result.returns[rank].tobytes() == result.returns[first].tobytes()
    for k, first in enumerate(firsts):
        assert max(late(result)[first]) == min(fill_replicated(k, replicas), count // replicas[k] - 1)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_pipelined_backprop_reads_old_weights_forward_and_new_ones_backward(stages):
    """v_f(j, k) = max(0, j - 2(K-1-k)), v_b = j."""
    scenario = make("pipelined_backprop", stages, steps=9, **LEARNS)
    expected = delayed(scenario, parts_of(scenario), 9, lambda j, k: max(0, j - 2 * (stages - 1 - k)), lambda j, k: j)
    close(simulate(scenario), range(stages), expected)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_2bw_is_sgd_with_a_delay_of_one_for_any_number_of_stages(stages):
    scenario = make("pipedream_2bw", stages, steps=7, micro_batches=4, **LEARNS)
    close(simulate(scenario), range(stages), delayed(scenario, parts_of(scenario), 7, lambda j, k: max(0, j - 1)))


@pytest.mark.parametrize(("stages", "copies"), [(1, 2), (2, 2), (2, 3), (4, 2)])
def test_copies_of_2bw_are_one_pipeline_with_the_mini_batches_of_all(stages, copies):
    """To rounding: the sum is made in another order. Copies of a stage stay equal in every bit."""
    both = {**LEARNS, "steps": 7, "micro_batches": 4}
    wide = run("pipedream_2bw", stages * copies, copies=copies, **both)
    one = run("pipedream_2bw", stages, **{**both, "batch": 8 * copies, "micro_batches": 4 * copies})
    for rank in range(stages * copies):
        assert wide.returns[rank].tobytes() == wide.returns[rank % stages].tobytes()
    close(wide, range(stages), [torch.from_numpy(one.returns[k]) for k in range(stages)])
    assert late(wide) == {rank: ramp(1, 7) for rank in range(stages * copies)}


@pytest.mark.parametrize("bandwidth", [1e7, 1e18])
def test_traffic_time_and_memory_of_copies_of_2bw(bandwidth):
    settings = {"copies": 2, "steps": 12, "bandwidth": bandwidth, "latency": 0.0}
    scenario = make("pipedream_2bw", 4, **settings)
    form, met = closed_form(scenario), steady("pipedream_2bw", 4, **settings)
    assert met[1:] == (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step)
    assert form.seconds_per_step * (1 - 1e-9) <= met[0] <= 1.6 * form.seconds_per_step
    planned = scenario.scheme.memory(Planning(scenario.workload.model, 16, make_optimizer(*scenario.optimizer), None))
    trace = run("pipedream_2bw", 4, **settings).trace
    for rank, of in enumerate(planned):
        assert sum(but_messages(of).values()) == peak_but_messages(trace, rank)
        assert memory_of(trace)[rank].peak_bytes <= sum(of.values())


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_spectrain_passes_through_predicted_weights(stages):
    """s = floor(k/2) + K - k - 1 forward, floor(k/2) backward; the gradient is applied to the real weights."""
    scenario = make("spectrain", stages, steps=9, optimizer=MOMENTUM, **LEARNS)
    ahead = (lambda j, k: k // 2 + stages - 1 - k, lambda j, k: k // 2)
    found = delayed(scenario, parts_of(scenario), 9, stashed(stages), lambda j, k: j, momentum=0.5, ahead=ahead)
    close(simulate(scenario), range(stages), found)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_spectrains_second_version_goes_back_through_the_weights_it_went_forward_through(stages):
    """s = K - k, once for both passes."""
    scenario = make("spectrain", stages, steps=9, version=2, optimizer=MOMENTUM, **LEARNS)
    ahead = (lambda j, k: stages - k,) * 2
    found = delayed(scenario, parts_of(scenario), 9, stashed(stages), momentum=0.5, ahead=ahead)
    close(simulate(scenario), range(stages), found)


@pytest.mark.parametrize("version", [1, 2])
def test_spectrain_predicts_with_the_rate_of_now(version):
    """It falls to a quarter after four updates."""
    rule = {**MOMENTUM, "schedule": {"kind": "step", "by": "steps", "at": [4], "factor": 0.25}}
    scenario = make("spectrain", 3, steps=9, version=version, optimizer=rule, **LEARNS)
    passes = (lambda j, k: k // 2 + 2 - k, lambda j, k: k // 2) if version == 1 else (lambda j, k: 3 - k,) * 2
    back = (lambda j, k: j) if version == 1 else None
    expected = [
        delayed(scenario, parts_of(scenario), 9, stashed(3), back, momentum=0.5, ahead=passes, rate=rate)
        for rate in (lambda update: 0.125 if update < 4 else 0.03125, lambda update: 0.125)
    ]
    close(simulate(scenario), range(3), expected[0])
    assert not torch.allclose(torch.cat(expected[0]), torch.cat(expected[1]), atol=1e-3)


@pytest.mark.parametrize("version", [1, 2])
def test_spectrain_has_room_for_a_prediction_or_for_one_of_each_mini_batch_in_flight(version):
    scenario = make("spectrain", 4, steps=9, version=version, **{**LEARNS, "dtype": "float32"})
    result = simulate(scenario)
    for k, part in enumerate(parts_of(scenario)):
        most = max(held.bytes_of["buffers"] for held in course_of(result.trace, k))
        assert most == (1 if version == 1 else 4 - k) * part.nbytes


def test_spectrains_second_version_without_momentum_is_pipedream_bit_for_bit():
    plain, predicted = (
        run(kind, 3, steps=6, **LEARNS, **o) for kind, o in (("pipedream", {}), ("spectrain", {"version": 2}))
    )
    assert torch.equal(weights(plain, range(3)), weights(predicted, range(3)))


def test_spectrain_without_momentum_is_pipedream_without_stashing_bit_for_bit():
    plain, predicted = (
        run(kind, 3, steps=6, **LEARNS, **options)
        for kind, options in (("pipedream", {"stashing": False}), ("spectrain", {}))
    )
    assert torch.equal(weights(plain, range(3)), weights(predicted, range(3)))


def test_predictions_of_a_constant_gradient_are_the_weights_to_come():
    """v as it is, W(t + s) = W(t) - s lr v."""
    from parasim.learning.tensors import TorchTensors
    from parasim.schemes.spectrain import predict

    rule, xp = make_optimizer("sgd", {"lr": 0.125, "momentum": 0.5}), TorchTensors("float64")
    weight, speed, slope = (
        torch.tensor(values, dtype=torch.float64) for values in ([3.0, -1.0], [4.0, 8.0], [2.0, 4.0])
    )
    predicted = torch.empty(2, dtype=torch.float64)
    predict(xp, predicted, weight, speed, ahead=3, rate=0.125)
    for step in range(3):
        rule.update(xp, weight, slope, (speed,), step, 1.0)  # speed = 0.5 speed + slope: it stays
    assert torch.equal(predicted, weight)


@pytest.mark.parametrize("kind", ["pipelined_backprop", "pipedream", "spectrain"])
@pytest.mark.parametrize("rule", [{"kind": "sgd", "lr": 0.125}, MOMENTUM])
def test_one_stage_is_sequential_sgd_in_every_bit(kind, rule):
    if kind == "spectrain" and "momentum" in rule:
        rule = {**rule, "momentum": 0.9}
    result, alone = (run(k, 1, steps=6, optimizer=rule, **LEARNS) for k in (kind, "sequential"))
    assert torch.equal(weights(result, range(1)), weights(alone, range(1)))


def test_2bw_of_one_stage_is_late_all_the_same():
    result, alone = (run(kind, 1, steps=6, **LEARNS) for kind in ("pipedream_2bw", "sequential"))
    assert not torch.allclose(weights(result, range(1)), weights(alone, range(1)))


@pytest.mark.parametrize("workers", [2, 4])
def test_one_replicated_stage_is_all_reduce(workers):
    settings = {**LEARNS, "steps": 5}
    result = run("pipedream", workers, replicas=[workers], **settings)
    together = run("allreduce", workers, overlap=False, **settings)
    assert torch.equal(weights(result, range(1)), weights(together, range(1)))
    assert result.summary["staleness"]["max"] == 0


# staleness -----------------------------------------------------------------------------------------------------------
def ramp(delay, count):
    """Histogram of a delay that is reached one by one."""
    return {**dict.fromkeys(range(delay), 1), delay: count - delay}


@pytest.mark.parametrize("noise", [None, {"kind": "lognormal", "sigma": 0.5}])
@pytest.mark.parametrize("stages", [1, 3, 4])
def test_staleness_of_each_stage_is_exact_whatever_the_times(stages, noise):
    """2(K-1-k), K-1-k, K-1 with vertical sync, 1."""
    settings = {"steps": 12, "noise": noise, "batch": 8}
    for kind, options, delay in (
        ("pipelined_backprop", {}, lambda k: 2 * (stages - 1 - k)),
        ("pipedream", {}, lambda k: stages - 1 - k),
        ("pipedream", {"vertical_sync": True}, lambda k: stages - 1),
        ("pipedream_2bw", {}, lambda k: 1),
        ("spectrain", {}, lambda k: stages - 1 - k),
    ):
        found = late(run(kind, stages, **settings, **options))
        assert found == {k: ramp(delay(k), 12) for k in range(stages)}, kind


@pytest.mark.parametrize("replicas", [[2, 1], [1, 2], [3, 1], [3, 2, 1]])
def test_staleness_of_replicated_stages_is_the_closed_forms(replicas):
    """Far from the start: of each stage the same for all updates, as many as the warm-up of its replicas."""
    workers = sum(replicas)
    scenario = make("pipedream", workers, steps=12, replicas=replicas)
    late = [[] for _ in replicas]
    for row in simulate(scenario).trace:
        if row.label == "applied" and row.version_applied >= 6:
            stage = next(k for k in range(len(replicas)) if row.rank in scenario.scheme.ranks(k))
            late[stage].append(row.version_applied - row.version_read)
    assert [set(found) for found in late] == [{fill_replicated(k, replicas)} for k in range(len(replicas))]
    assert closed_form(scenario).staleness_mean == sum(max(found) for found in late) / len(replicas)


# memory --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize(
    ("kind", "options", "versions", "flying"),
    [
        ("pipelined_backprop", {}, lambda n, k: 1, lambda n, k: 2 * (n - 1 - k) + 1),
        ("pipelined_backprop", STASHING, lambda n, k: 2 * (n - 1 - k) + 1, lambda n, k: 2 * (n - 1 - k) + 1),
        ("pipedream", {}, lambda n, k: n - k, lambda n, k: n - k),
        ("pipedream", {"stashing": False}, lambda n, k: 1, lambda n, k: n - k),
        ("pipedream", {"vertical_sync": True}, lambda n, k: n, lambda n, k: n - k),
        ("pipedream_2bw", {}, lambda n, k: 2, lambda n, k: n - k),
        ("spectrain", {}, lambda n, k: 1, lambda n, k: n - k),
        ("spectrain", {"version": 2}, lambda n, k: 1, lambda n, k: n - k),
    ],
)
def test_peaks_are_the_closed_forms_and_the_tensors(kind, options, versions, flying, stages):
    """Versions and mini-batches (micro-batches) in flight of stage k; all that is planned is what is held."""
    settings = {**LEARNS, "steps": 13, "optimizer": MOMENTUM, "dtype": "float32", **options}
    scenario = make(kind, stages, **settings)
    result = simulate(scenario)
    planned = scenario.scheme.memory(Planning(scenario.workload.model, 8, make_optimizer(*scenario.optimizer), None))
    for k, part in enumerate(parts_of(scenario)):
        said, counted = course_of(result.trace, k), tensors_of(result.trace, k)
        assert said == counted
        peaks = {name: max(held.bytes_of[name] for held in said) for name in said[0].bytes_of}
        assert peaks["weights"] + peaks["stashed versions"] == versions(stages, k) * part.nbytes
        samples = 8 // scenario.scheme.micro_batches()
        assert peaks["activations"] == flying(stages, k) * part.stored_elements * samples * 4
        assert but_messages({name: nbytes for name, nbytes in peaks.items() if nbytes}) == but_messages(planned[k])
        assert memory_of(result.trace)[k].peak_bytes <= sum(planned[k].values())


@pytest.mark.parametrize("speeds", [{}, {0: 0.2}, {2: 0.2}])
@pytest.mark.parametrize("replicas", [[2, 1], [1, 2], [3, 1], [3, 2, 1], [1, 2, 1]])
def test_every_replica_holds_what_is_planned(replicas, speeds):
    settings = {"steps": 8, "replicas": replicas, "speeds": speeds, "optimizer": MOMENTUM}
    scenario = make("pipedream", sum(replicas), **settings)
    planning = Planning(scenario.workload.model, 16, make_optimizer(*scenario.optimizer), None)
    planned, trace = scenario.scheme.memory(planning), simulate(scenario).trace
    assert len(planned) == sum(replicas)
    for rank, of in enumerate(planned):
        assert peak_but_messages(trace, rank) == sum(but_messages(of).values())
        assert memory_of(trace)[rank].peak_bytes <= sum(of.values())


def test_a_plan_with_too_many_versions_is_refused():
    layers = {
        "kind": "layers",
        "layers": [{"parameters": 5 * 10**7, "forward_flops": 1e6, "output_elements": 8, "repeat": 4}],
    }
    make("pipelined_backprop", 4, model=layers)
    with pytest.raises(
        ScenarioError, match=r"worker 0 holds weights 200 MB \+ stashed versions 600 MB \+ gradients 200 MB"
    ):
        make("pipedream", 4, model=layers)


# time ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, {}) for kind in KINDS), ("pipelined_backprop", STASHING), ("spectrain", {"version": 2})],
)
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_steady_state_has_no_bubble(kind, options, stages):
    """The slowest stage is always busy: a mini-batch takes max of F_k + B_k and the update."""
    settings = {**FREE, "steps": 12, "batch": 16, "launch": 1e-6, **options}
    form, met = closed_form(make(kind, stages, **settings)), steady(kind, stages, **settings)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9 if form.exact else 0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bandwidth", [1e6, 1e7, 1e8])
def test_forms_are_lower_bounds_with_slow_links_and_unlike_stages(kind, bandwidth):
    settings = {"bandwidth": bandwidth, "speeds": {1: 0.4}, "latency": 1e-4, "steps": 12}
    form, met = closed_form(make(kind, 3, **settings)), steady(kind, 3, **settings)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)


@pytest.mark.parametrize("replicas", [[2, 1], [1, 2], [2, 2], [3]])
def test_traffic_of_replicated_stages(replicas):
    form = closed_form(make("pipedream", sum(replicas), replicas=replicas))
    met = steady("pipedream", sum(replicas), replicas=replicas, steps=4)
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-3)  # pieces of rings differ by a number
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)
    assert met[0] >= form.seconds_per_step * (1 - 1e-9)


@pytest.mark.parametrize("stages", [2, 4])
def test_the_last_stage_learns_as_sequential_sgd_if_all_others_are_frozen(stages, monkeypatch):
    """Its own gradient is never late, and what comes in no longer depends on when it was computed."""
    update = Context.update

    def frozen(me, replica, gradient, **more):
        return (update if me.rank == stages - 1 else unchanged)(me, replica, gradient, **more)

    def unchanged(me, replica, gradient, **more):
        replica.version += 1
        return
        yield

    monkeypatch.setattr(Context, "update", frozen)
    late, alone = (run(kind, stages, steps=9, **LEARNS) for kind in ("pipelined_backprop", "layerwise"))
    found, expected = ([row.value for row in result.trace if row.label == "loss"] for result in (late, alone))
    assert found == expected
    assert len(set(found)) == 9


def test_convergence_that_the_scenario_expects():
    stored = json.loads(golden_path("scenarios/schemes/streaming_convergence.yaml").read_text())
    last = {name: found["loss"]["last"] for name, found in stored.items()}
    seconds = {name: found["seconds_per_step"] for name, found in stored.items()}
    for name in ("PipeDream", "PipeDream-2BW", "SpecTrain"):
        assert abs(last[name] - last["sequential"]) < 0.04
    late = [last[f"PipeDream{more}"] for more in ("", " without stashing", ", vertical sync")]
    assert late[0] < late[1] < last["pipelined back-propagation"] < late[2]
    assert all(0.35 < seconds[name] / seconds["sequential"] < 0.45 for name in stored if name != "sequential")


# the planner ---------------------------------------------------------------------------------------------------------
def compositions(total, count):
    """All ways to write a number as a sum of `count` numbers above zero."""
    for cut in itertools.combinations(range(1, total), count - 1):
        yield [b - a for a, b in itertools.pairwise((0, *cut, total))]


def best_by_hand(seconds, activations, sizes, machines, beta, fits=None, inner=None):
    """The least time of all plans; `inner` replies a stage's time on one machine, by default the sum of its layers."""
    layers = len(seconds)
    found = []
    for count in range(1, min(layers, machines) + 1):
        for counts in compositions(layers, count):
            cuts = list(itertools.pairwise(itertools.accumulate([0, *counts])))
            for replicas in compositions(machines, count):
                flying = [fill_replicated(k, replicas) + 1 for k in range(count)]
                if fits and not all(fits(*cut, number) for cut, number in zip(cuts, flying, strict=True)):
                    continue
                times = [  # the paper's: computing, or the ring of its replicas
                    max(inner(a, b) if inner else sum(seconds[a:b]), 2 * (m - 1) * sum(sizes[a:b]) * beta) / m
                    for (a, b), m in zip(cuts, replicas, strict=True)
                ]
                found.append(max([*times, *(2 * activations[end - 1] * beta for end, _ in cuts[1:])]))
    return min(found, default=None)


def layers_by(seed, count):
    draw = random.Random(seed)
    return [[draw.randint(1, 9) for _ in range(count)] for _ in range(3)], draw


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_the_planner_finds_the_best_of_all_plans(layers, machines, seed):
    work, draw = layers_by(seed, layers)
    beta = draw.choice([0.0, 0.1, 1.0])
    plan, slowest = pipedream_plan(*work, [Level(machines, beta)])
    assert slowest == pytest.approx(best_by_hand(*work, machines, beta), rel=1e-12)
    assert sum(stage.layers for stage in plan) == layers
    assert sum(stage.replicas for stage in plan) == machines


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_of_two_levels_each_machine_of_the_outer_runs_the_best_plan_of_the_inner(layers, size, nodes, seed):
    work, draw = layers_by(seed, layers)
    inside, between = draw.choice([0.0, 0.1]), draw.choice([0.1, 1.0])

    def inner(start, stop):
        return best_by_hand(*(values[start:stop] for values in work), size, inside)

    plan, slowest = pipedream_plan(*work, [Level(size, inside), Level(nodes, between)])
    assert slowest == pytest.approx(best_by_hand(*work, nodes, between, inner=inner), rel=1e-12)
    assert sum(stage.layers for stage in plan) == layers
    assert sum(stage.replicas for stage in plan) == size * nodes


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 20), st.integers(0, 10**6))
def test_the_planner_finds_the_best_of_the_plans_that_fit(layers, machines, room, seed):
    """A stage holds as many versions and activations as mini-batches are in flight at it."""
    work, draw = layers_by(seed, layers)
    beta, (_, _, sizes) = draw.choice([0.0, 0.1, 1.0]), work

    def fits(start, stop, flying):
        return flying * sum(sizes[start:stop]) <= room

    found, expected = pipedream_plan(*work, [Level(machines, beta)], fits), best_by_hand(*work, machines, beta, fits)
    assert (found is None) == (expected is None)
    if found is None:
        return
    stages, slowest = found
    assert slowest == pytest.approx(expected, rel=1e-12)
    ends = [0, *itertools.accumulate(stage.layers for stage in stages)]
    for k, (start, stop) in enumerate(itertools.pairwise(ends)):
        assert fits(start, stop, fill_replicated(k, [stage.replicas for stage in stages]) + 1)


def plans(layers, machines):
    """All ways to give consecutive layers to so many machines: [start, stop) and machines of each stage."""
    for count in range(1, min(layers, machines) + 1):
        for counts in compositions(layers, count):
            cuts = list(itertools.pairwise(itertools.accumulate([0, *counts])))
            for shares in compositions(machines, count):
                yield [(*cut, m) for cut, m in zip(cuts, shares, strict=True)]


def slowest_of(stages, computing, work, beta):
    """Of stages whose one machine computes so long, and the boundaries between them."""
    _, activations, sizes = work
    times = [
        max(seconds, 2 * (m - 1) * sum(sizes[a:b]) * beta) / m
        for (a, b, m), seconds in zip(stages, computing, strict=True)
    ]
    return max([*times, *(2 * activations[a - 1] * beta for a, _, _ in stages[1:])])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 3), st.integers(2, 3), st.integers(2, 3), st.integers(8, 60), st.integers(0, 10**6))
def test_of_two_levels_too_only_plans_that_fit_are_found_and_the_best_of_them(layers, size, nodes, room, seed):
    """What is in flight at a stage depends on all workers after it, in its node and in others."""
    work, draw = layers_by(seed, layers)
    inside, between = draw.choice([0.0, 0.1]), draw.choice([0.1, 1.0])
    seconds, _, sizes = work

    def fits(start, stop, flying):
        return flying * sum(sizes[start:stop]) <= room

    expected = []
    for outer in plans(layers, nodes):
        for inner in itertools.product(*(list(plans(b - a, size)) for a, b, _ in outer)):
            whole = [[(a + x, a + y, r) for x, y, r in own] for (a, _, _), own in zip(outer, inner, strict=True)]
            all_of = [(x, y, r * m) for (_, _, m), own in zip(outer, whole, strict=True) for x, y, r in own]
            replicas = [r for _, _, r in all_of]
            if all(fits(x, y, fill_replicated(k, replicas) + 1) for k, (x, y, _) in enumerate(all_of)):
                times = [slowest_of(own, [sum(seconds[x:y]) for x, y, _ in own], work, inside) for own in whole]
                expected.append(slowest_of(outer, times, work, between))
    found = pipedream_plan(*work, [Level(size, inside), Level(nodes, between)], fits)
    assert (found is None) == (not expected)
    if found is not None:
        stages, slowest = found
        ends = [0, *itertools.accumulate(stage.layers for stage in stages)]
        replicas = [stage.replicas for stage in stages]
        assert all(fits(*cut, fill_replicated(k, replicas) + 1) for k, cut in enumerate(itertools.pairwise(ends)))
        assert slowest == pytest.approx(min(expected), rel=1e-12)


def test_the_planner_replicates_what_is_large_to_compute_and_small_to_send():
    """The shape of VGG-16: convolutions replicated, the fully connected part on one machine."""
    plan, _ = pipedream_plan([7, 7, 7, 7, 2, 2], [4, 4, 4, 1, 1, 1], [1, 1, 1, 1, 90, 90], [Level(8, 0.25)])
    assert [tuple(stage) for stage in plan] == [(4, 7), (2, 1)]


def test_planned_stages_and_replicas_are_used():
    layer = {"parameters": 10, "forward_flops": 7e6, "output_elements": 4}
    last = {"parameters": 10**7, "forward_flops": 2e6, "output_elements": 4}
    model = {"kind": "layers", "layers": [{**layer, "repeat": 3}, last]}
    scenario = make("pipedream", 4, model=model, planned=True, batch=4, memory_bandwidth=1e12)
    assert scenario.scheme.replicas == (3, 1)
    assert [len(part.layers) for part in parts_of(scenario)] == [3, 1]
    assert simulate(scenario).summary["steps"] == 4


def test_planned_stages_cross_nodes_where_little_is_sent():
    """Two hosts of two workers: layers are replicated inside a host, and the one pipeline boundary lies between."""
    layer = {"parameters": 10**5, "forward_flops": 1e6, "output_elements": 4}
    document = make("pipedream", 2, model={"kind": "layers", "layers": [{**layer, "repeat": 4}]}, batch=4).document
    scheme = {"kind": "pipedream", "workers": 4, "planned": True}
    found = {}
    for local in ("1 GB/s", "1 MB/s"):
        cluster = {**document["cluster"], "loopback": {"bandwidth": local}}
        cluster |= {"placement": {"worker": [0, 0, 1, 1]}, "link": {"bandwidth": "1 MB/s", "latency": "0 s"}}
        found[local] = from_document({**document, "cluster": cluster, "scheme": scheme}).scheme.replicas
    assert found == {"1 GB/s": (2, 2), "1 MB/s": (1, 1, 1, 1)}


def test_planned_stages_fit_their_devices():
    """Alone, a worker replicates all layers; with less memory than these take, the plan has stages."""
    layer = {"parameters": 10**7, "forward_flops": 1e12, "output_elements": 4}
    model = {"kind": "layers", "layers": [{**layer, "repeat": 4}]}
    document = make("pipedream", 4, model=model, planned=True, batch=4).document
    found = {}
    for memory in ("1 GB", "300 MB"):
        cluster = {**document["cluster"], "device": {**document["cluster"]["device"], "memory": memory}}
        found[memory] = from_document({**document, "cluster": cluster}).scheme.replicas
    assert found["1 GB"] == (4,)
    assert found["300 MB"] == (1, 3)


@pytest.mark.parametrize(
    ("kind", "hosts", "options", "message"),
    [
        ("pipedream", 3, {"replicas": [1, 1]}, r"replicas \[1, 1\] sum to 2, there are 3 workers"),
        ("pipedream", 2, {"planned": True, "replicas": [1, 1]}, "planned finds stages and replicas"),
        ("pipedream", 2, {"vertical_sync": True, "stashing": False}, "vertical_sync needs stashing"),
        ("pipedream", 5, {}, "5 stages need at least 5 layers"),
        ("pipedream_2bw", 4, {"micro_batches": 3, "batch": 12}, "micro_batches 3 are fewer than 4 stages"),
        ("pipedream_2bw", 5, {"copies": 2}, "5 workers do not fill 2 copies of a pipeline: use a multiple of 2"),
        ("spectrain", 2, {"optimizer": {"kind": "adam"}}, "SpecTrain predicts by the momentum of SGD"),
    ],
)
def test_what_can_not_be_is_refused(kind, hosts, options, message):
    with pytest.raises(ScenarioError, match=message):
        make(kind, hosts, **options)


# for real ------------------------------------------------------------------------------------------------------------
REAL = {
    "pipelined_backprop": (3, {}),
    "pipelined_backprop, stashing": (3, STASHING),
    "pipedream": (3, {}),
    "pipedream, vertical sync": (3, {"vertical_sync": True}),
    "pipedream, replicas": (3, {"replicas": [2, 1]}),
    "pipedream_2bw": (2, {"micro_batches": 2}),
    "pipedream_2bw, copies": (4, {"micro_batches": 2, "copies": 2}),
    "spectrain": (2, {}),
    "spectrain, second version": (3, {"version": 2}),
}


@pytest.mark.real
@pytest.mark.parametrize("case", REAL)
def test_real_runs_give_the_same_bits_versions_and_memory(case, pool):
    hosts, options = REAL[case]
    scenario = learning(case.split(",")[0], hosts, 4, **options)
    real, simulated = same_in_both(scenario, pool), simulate(scenario)
    assert staleness_of(real.trace) == staleness_of(simulated.trace)
    for rank in range(hosts):
        said, counted = course_of(real.trace, rank), tensors_of(real.trace, rank)
        assert [held.bytes_of for held in said] == [held.bytes_of for held in counted]
        assert steps_of(said) == steps_of(course_of(simulated.trace, rank))


def steps_of(course):
    """What was held one after the other, but for messages, whose times are those of links."""
    return [held for held, _ in itertools.groupby(but_messages(held.bytes_of) for held in course)]


def test_first_update_of_pipelined_backprop_is_in_its_tick():
    """Stage k updates first in tick 2(K-1) - k: after 2(K-1-k) + 1 forward passes, of which the first was in tick k."""
    result = run("pipelined_backprop", 4, steps=9)
    for stage in range(4):
        rows = [row for row in result.trace if row.rank == stage and row.op == "compute"]
        first = next(i for i, row in enumerate(rows) if row.label == "update")
        forward = [row for row in rows[:first] if row.label == "forward"]
        assert stage + len(forward) - 1 == 2 * 3 - stage
        assert len(forward) == 2 * fill(stage, 4) + 1
