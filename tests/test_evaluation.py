"""The model is evaluated while it is trained: nothing else changes, and the target is found where it is."""

import numpy as np
import pytest
import torch

import parasim
from calibration.executor.album import Album
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.program.snapshots import ModelSnapshot, Piece
from parasim.scenario import from_document
from parasim.scenario.evaluation import Target
from parasim.study.build import build_learner
from tests.schemes_real import executed, learning


def evaluated(kind, hosts=4, steps=6, every="2 steps", target=None, trace="rows", **options):
    """A small run on digits whose model is evaluated."""
    case = learning(kind, hosts, steps, **options)
    run = {**case.document["run"], "evaluate": {"every": every}, "trace": trace}
    if target is not None:
        run["target"] = target
    return from_document({**case.document, "run": run})


def points(result):
    return result.summary["evaluation"]["points"]


def losses(result):
    return [point["loss"] for point in points(result)]


def loss_of(case, *values):
    """Loss of a model that is given as pieces, one after the other."""
    return build_learner(case).loss(torch.from_numpy(np.concatenate(values)))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("allreduce", {}),
        ("parameter_server", {"workers": 2, "servers": 2}),
        ("downpour", {"workers": 3, "servers": 1}),
        ("easgd", {"workers": 3, "period": 2}),
        ("pipe_sgd", {"workers": 2}),
        ("pipedream", {"workers": 3}),
        ("zero", {"workers": 2, "stage": 3}),
        ("hogwild", {"workers": 2, "placement": {"worker": [0]}}),
    ],
)
def test_evaluations_change_no_row_and_no_weight(kind, options):
    plain = parasim.simulate(learning(kind, steps=4, **options))
    watched = parasim.simulate(evaluated(kind, steps=4, every="1 step", **options))
    assert len(points(watched)) > 3
    assert watched.trace.digest() == plain.trace.digest()
    for mine, yours in zip(watched.returns, plain.returns, strict=True):
        pieces = zip(mine, yours, strict=True) if isinstance(mine, list) else [(mine, yours)]
        assert all(one.tobytes() == other.tobytes() for one, other in pieces)


def test_the_target_is_the_first_evaluation_at_or_beyond_it():
    target = {"accuracy": 0.5}
    result = parasim.simulate(evaluated("allreduce", 2, steps=12, every="1 step", target=target))
    by_hand = []
    for steps in range(1, 13):
        case = learning("allreduce", 2, steps=steps)
        by_hand.append(build_learner(case).accuracy(torch.from_numpy(parasim.simulate(case).returns[0])))
    assert [point["accuracy"] for point in points(result)[1:]] == by_hand
    first = next(step for step, accuracy in enumerate(by_hand, 1) if accuracy >= 0.5)
    assert 1 < first < 12
    found = result.summary["target"]
    assert (found["steps"], found["samples"], found["accuracy"]) == (first, first * 32, by_hand[first - 1])
    assert found["missed_at_seconds"] == points(result)[first - 1]["seconds"] < found["seconds"]
    coarse = parasim.simulate(evaluated("allreduce", 2, steps=12, every="4 steps", target=target)).summary["target"]
    assert coarse["steps"] == next(step for step in (4, 8, 12) if by_hand[step - 1] >= 0.5)


def test_a_target_that_is_met_exactly_is_reached():
    assert [Target(accuracy=0.75).reached(1.0, found) for found in (0.5, 0.75, 1.0, None)] == [False, True, True, False]
    assert [Target(loss=0.5).reached(found, None) for found in (0.25, 0.5, 0.75)] == [True, True, False]


def test_a_target_out_of_reach_is_null():
    result = parasim.simulate(evaluated("sequential", 1, target={"loss": 1e-6}))
    assert result.summary["target"] is None


def test_seconds_and_bytes_are_those_of_the_step_in_the_trace():
    result = parasim.simulate(evaluated("allreduce", 2, every="3 steps"))
    for point in points(result)[1:]:
        done = [row.t_end for row in result.trace if row.label == "step" and row.step + 1 == point["steps"]]
        assert point["seconds"] == done[0]
        assert point["bytes"] == sum(
            row.nbytes for row in result.trace if row.op == "send" and row.t_end <= point["seconds"]
        )
    assert points(result)[-1]["bytes"] == sum(row.nbytes for row in result.trace if row.op == "send")


def test_a_model_in_parts_is_there_when_the_last_part_is():
    result = parasim.simulate(evaluated("gpipe", 3, every="3 steps", workers=3, micro_batches=2))
    for point in points(result)[1:]:
        done = [row.t_end for row in result.trace if row.label == "step" and row.step + 1 == point["steps"]]
        assert point["seconds"] == max(done) > min(done)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpipe", {"workers": 3, "micro_batches": 2}),
        ("ddg", {"workers": 1}),
        ("tensor_parallel", {"workers": 2, "split": "outputs"}),
        ("tensor_parallel", {"workers": 2, "split": "pairs"}),
        ("three_d", {"workers": 4, "pipeline": 2, "tensor": 2, "micro_batches": 2}),
    ],
)
def test_the_parts_of_one_model_are_joined(kind, options):
    sequential = parasim.simulate(evaluated("sequential", 1))
    assert losses(parasim.simulate(evaluated(kind, **options))) == pytest.approx(losses(sequential), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"), [("parameter_server", {"servers": 2}), ("zero", {"stage": 3}), ("zero", {"stage": 1})]
)
def test_the_shards_of_one_model_are_joined(kind, options):
    whole = parasim.simulate(evaluated("allreduce", workers=2))
    assert losses(parasim.simulate(evaluated(kind, workers=2, **options))) == pytest.approx(losses(whole), rel=1e-5)


def test_models_that_are_averaged_are_evaluated_as_their_mean():
    case = evaluated("dpsgd", 4, steps=5, every="5 steps", graph="ring")
    result = parasim.simulate(case)
    together = losses(result)[-1]
    mean = np.mean([values.astype(np.float64) for values in result.returns], axis=0).astype(np.float32)
    assert together == pytest.approx(loss_of(case, mean), rel=1e-5)
    assert abs(together - loss_of(case, result.returns[0])) > 1e-5


def test_sgp_is_evaluated_without_its_bias():
    case = evaluated("sgp", 4, steps=3, every="3 steps")
    result = parasim.simulate(case)
    assert losses(result)[-1] == pytest.approx(loss_of(case, np.mean(result.returns, axis=0)), rel=1e-5)


def test_the_centre_of_elastic_averaging_is_evaluated():
    case = evaluated("easgd", 4, workers=3, period=2)
    result = parasim.simulate(case)
    assert losses(result)[-1] == loss_of(case, result.returns[-1])
    assert [point["steps"] for point in points(result)] == [0, 2, 4, 6]


def test_servers_count_their_updates_as_steps_of_all_workers():
    case = evaluated("downpour", 4, steps=8, workers=3, servers=1, n_push=2, n_fetch=2)
    result = parasim.simulate(case)
    assert [point["steps"] for point in points(result)] == [0, 2, 4, 6, 8]
    assert losses(result)[-1] == loss_of(case, result.returns[-1])


@pytest.mark.parametrize("slowdown", [3, 1000])
def test_a_server_that_is_never_still_is_evaluated_between_two_updates(slowdown):
    document = evaluated("downpour", 5, steps=8, workers=4, servers=1).document
    slow = [{"role": "server", "actors": "all", "slowdown": slowdown}]
    result = parasim.simulate(from_document({**document, "cluster": {**document["cluster"], "stragglers": slow}}))
    assert [point["steps"] for point in points(result)] == [0, 2, 4, 6, 8]


def test_sums_alone_give_the_same_figures_as_rows():
    rows, sums = (
        parasim.simulate(evaluated("allreduce", trace=trace, target={"loss": 2.2})) for trace in ("rows", "aggregate")
    )
    assert rows.summary["target"] is not None
    assert points(sums)[-1]["bytes"] == points(rows)[-1]["bytes"]
    for one, other in zip(points(rows), points(sums), strict=True):
        assert {**one, "bytes": 0} == {**other, "bytes": 0}
        assert other["bytes"] == pytest.approx(one["bytes"], rel=0.1)


def test_a_simulated_run_stops_at_its_target():
    target = {"loss": 2.2}
    whole = parasim.simulate(evaluated("gpipe", 3, steps=12, workers=3, target=target))
    cut = parasim.simulate(evaluated("gpipe", 3, steps=12, workers=3, target={**target, "stop": True}))
    reached = whole.summary["target"]
    assert 0 < reached["steps"] < 12
    assert cut.summary["target"] == {**reached, "stopped": True}
    assert cut.summary["seconds"] == reached["seconds"]
    before = [row for row in whole.trace if row.t_end < reached["seconds"]]
    assert cut.trace.rows[: len(before)] == before


def test_cadences_in_epochs_and_samples_are_steps_of_all_workers():
    two = evaluated("allreduce", 2, steps=100, every="1 epoch")
    assert two.evaluations(100) == 3200 / two.workload.data.samples
    assert evaluated("allreduce", 2, every="96 samples").evaluations(6) == 2
    assert evaluated("gpipe", 3, workers=3, every="96 samples").evaluations(6) == 1
    half = parasim.simulate(evaluated("allreduce", 2, steps=5, every="80 samples"))  # 2.5 steps
    assert [point["steps"] for point in points(half)] == [0, 3, 5]


@pytest.mark.parametrize(
    ("run", "what"),
    [
        ({"evaluate": {"every": "ten steps"}}, "every: 'ten steps' is no cadence: write every: 10 steps, 1 epoch"),
        ({"evaluate": {"every": "0 steps"}}, "no cadence"),
        ({"evaluate": {}}, "every: is missing"),
        ({"evaluate": 10}, "no mapping: write evaluate: {every: 1 epoch}"),
        ({"evaluate": {"every": "7 steps"}}, "every 7 steps is never in 6 steps: write every: 1 step"),
        ({"target": {"loss": 1.0}}, "needs evaluations: write evaluate: {every: 1 epoch}"),
        ({"evaluate": {"every": "1 step"}, "target": {}}, "give one figure: target: {accuracy: 0.95} or"),
        ({"evaluate": {"every": "1 step"}, "target": {"accuracy": 95}}, "95 must be at most 1"),
        ({"evaluate": {"every": "1 step"}, "target": {"accuracy": 0.9, "loss": 1}}, "give one figure"),
        ({"evaluate": {"every": "1 step"}, "target": {"acuracy": 0.9}}, "did you mean 'accuracy'?"),
    ],
)
def test_bad_evaluations_are_refused_in_a_line(run, what):
    document = learning("sequential", 1).document
    with pytest.raises(ScenarioError) as error:
        from_document({**document, "run": {**document["run"], **run}})
    assert what in str(error.value)
    assert "\n" not in str(error.value)


def test_who_evaluates_must_learn_or_say_that_it_does_not():
    document = learning("sequential", 1).document
    run = {"steps": 6, "evaluate": {"every": "1 step"}, "target": {"loss": 1.0}}
    with pytest.raises(ScenarioError, match="needs a network that learns: write learn: true"):
        from_document({**document, "run": run})
    plain = parasim.simulate(from_document({**document, "run": {**run, "learn": False}}))
    assert "evaluation" not in plain.summary


def test_an_accuracy_needs_classes():
    document = learning("sequential", 1).document
    workload = {**document["workload"], "data": {"kind": "regression"}}
    run = {**document["run"], "evaluate": {"every": "1 step"}, "target": {"accuracy": 0.5}}
    with pytest.raises(ScenarioError, match=r"have no classes, so there is no accuracy: write \{loss"):
        from_document({**document, "workload": workload, "run": run})


def test_an_album_thins_its_snapshots_where_they_would_take_too_much_memory():
    album = Album(most_bytes=4 * 40)
    for number in range(1, 14):
        album.add(ModelSnapshot(0, 0, number, number, 0.0, (Piece(0, torch.zeros(10)),)))
        assert len(album.snapshots) <= 4
    assert [taken.number for taken in album.snapshots] == [4, 8, 12]


# on real processes ---------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("allreduce", {"workers": 2}),
        ("parameter_server", {"workers": 2, "servers": 1}),
        ("local_sgd", {"workers": 2, "period": 4}),
        ("easgd", {"workers": 2, "period": 2, "order": "synchronous"}),
        ("pipedream", {"workers": 2}),
        ("tensor_parallel", {"workers": 2, "split": "pairs"}),
    ],
)
def test_both_runtimes_find_the_target_at_the_same_step(pool, kind, options):
    case = evaluated(kind, 3, steps=6, target={"loss": 2.23}, **options)
    pin_threads()
    real, simulated = executed(case, pool), parasim.simulate(case)
    assert real.summary["clock"] == "real"
    assert losses(real) == losses(simulated)
    assert [point["steps"] for point in points(real)] == [point["steps"] for point in points(simulated)]
    assert real.summary["target"]["steps"] == simulated.summary["target"]["steps"] > 0
    assert 0 < points(real)[-1]["seconds"] <= max(row.t_end for row in real.trace.rows)


@pytest.mark.real
def test_a_real_asynchronous_run_is_evaluated_at_its_servers(pool):
    case = evaluated("downpour", 3, workers=2, servers=1)
    real = executed(case, pool)
    assert [point["steps"] for point in points(real)] == [0, 2, 4, 6]
    assert losses(real)[-1] == pytest.approx(loss_of(case, real.returns[-1]), rel=1e-6)
    assert [p["seconds"] for p in points(real)] == sorted(p["seconds"] for p in points(real))


def test_scenarios_without_evaluations_say_nothing_of_them():
    result = parasim.simulate(learning("sequential", 1, steps=2))
    assert "evaluation" not in result.summary
    assert "target" not in result.summary
