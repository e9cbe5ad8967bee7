"""The summary of small traces, with figures worked by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from parasim.metrics.info import RunInfo
from parasim.metrics.losses import LossPoint, loss_curve
from parasim.metrics.memory import memory_of
from parasim.metrics.result import Result
from parasim.metrics.staleness import Staleness, staleness_of
from parasim.metrics.summary import summary
from parasim.trace.actor import ActorTotals
from parasim.trace.aggregate import Aggregates, Alike
from parasim.trace.rows import Row
from parasim.trace.table import Trace

INFO = RunInfo(
    "tiny", "downpour", "simulated", workers=2, batch_size=16, seed=7, calibrated=True, events=99,
    wall_seconds=0.5, simulation_seconds=0.25,
)  # fmt: skip
KEYS = {
    *("scenario", "scheme", "clock", "workers", "steps", "seconds", "seconds_per_step", "samples_per_second", "shares"),
    *("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "staleness", "memory_bytes_per_worker"),
    *("loss", "updates", "overlapped", "roles", "events", "wall_seconds", "simulation_seconds", "seed", "calibrated"),
}


def worker(rank, op, start, end, post=None, lane="main", **columns):
    post = start if post is None else post
    return Row(rank, "worker", rank, lane, f"{lane}#0", op, t_post=post, t_start=start, t_end=end, **columns)


def server(op, start, end, post=None, lane="main", **columns):
    return worker(2, op, start, end, post, lane, **columns)._replace(role="server", index=0)


def note(rank, at, label, **columns):
    return worker(rank, "log", at, at, label=label, **columns)


def server_note(at, **columns):
    return note(2, at, "applied", **columns)._replace(role="server", index=0)


def downpour() -> Trace:
    """Two workers, one server, one push of 40 bytes per step; worker 0 does two steps, worker 1 one, in 8 s.

    worker 0: compute 0..2, push 2..3, request and weights back 3..4, compute 4..6, push 6..7
    worker 1: compute 0..5, push: posted 5, starts 7, ends 8
    """
    return Trace(
        [
            note(0, 0.0, "hold", buffer="weights", held_bytes=40),
            note(1, 0.0, "hold", buffer="weights", held_bytes=40),
            note(0, 0.0, "hold", buffer="activations", held_bytes=10),
            note(0, 1.0, "loss", step=0, micro=0, value=4.0),
            note(0, 1.0, "loss", step=0, micro=1, value=2.0),
            worker(0, "compute", 0, 2, flops=100.0),
            note(0, 2.0, "release", buffer="activations", held_bytes=-10),
            note(0, 2.0, "hold", buffer="gradient", held_bytes=5),
            worker(0, "send", 2, 3, nbytes=40, message="0:0"),
            server("recv", 2, 3, post=0, nbytes=40, message="0:0"),
            server_note(3.0, peer=0, version_read=0, version_applied=0, layer="shard0"),
            worker(0, "send", 3, 3, control_bytes=8, message="0:1"),
            server("recv", 3, 3, control_bytes=8, message="0:1"),
            note(0, 3.0, "step", step=0),
            server("send", 3, 4, nbytes=20, message="2:0"),
            worker(0, "recv", 3, 4, nbytes=20, message="2:0"),
            note(1, 4.0, "loss", step=0, value=5.0),
            worker(1, "compute", 0, 5),
            note(0, 5.0, "loss", step=1, value=1.0),
            worker(0, "compute", 4, 6),
            worker(0, "send", 6, 7, nbytes=40, message="0:2"),
            server("recv", 6, 7, post=4, nbytes=40, message="0:2"),
            server_note(7.0, peer=0, version_read=1, version_applied=1, layer="shard0"),
            note(0, 7.0, "step", step=1),
            worker(1, "send", 7, 8, post=5, nbytes=40, message="1:0"),
            server("recv", 7, 8, nbytes=40, message="1:0"),
            server_note(8.0, peer=1, version_read=0, version_applied=2, layer="shard0"),
            note(1, 8.0, "step", step=0),
            server("recv", 8, 9, outcome="closed"),
        ]
    )


def test_every_public_figure_of_a_parameter_server():
    figures = summary(downpour(), INFO)
    assert set(figures) >= KEYS
    assert figures["steps"] == 2
    assert figures["steps_per_worker"] == [2, 1]
    assert figures["seconds"] == 8.0
    assert figures["seconds_per_step"] == 4.0
    assert figures["samples_per_second"] == 3 * 16 / 8.0
    # worker 0: compute 4/8, transfer 2..3, 3..4, 6..7 = 3/8, done at 7: wait 1/8. worker 1: 5/8, 1/8, 2/8.
    assert figures["shares"] == {"compute": 4.5 / 8, "transfer": 2 / 8, "wait": 1.5 / 8}
    assert figures["max"]["shares"] == {"compute": 5 / 8, "transfer": 3 / 8, "wait": 2 / 8}
    # worker 0 sends 80 bytes in 2 steps, worker 1 40 in 1; headers apart: 1 in 2 steps, and none
    assert figures["bytes_sent_per_worker_per_step"] == 40.0
    assert figures["messages_sent_per_worker_per_step"] == 1.0
    assert figures["control_messages_per_worker_per_step"] == 0.25
    assert figures["control_bytes_per_worker_per_step"] == 2.0
    assert figures["bytes_received_per_worker_per_step"] == 5.0
    assert figures["max"]["bytes_received_per_worker_per_step"] == 10.0
    # staleness 0, 0, 2
    assert figures["staleness"] == {
        "mean": 2 / 3, "max": 2, "variance": pytest.approx(8 / 9), "count": 3, "histogram": {0: 2, 2: 1},
    }  # fmt: skip
    # worker 0: 40 + 10 at first, then 40 + 5; worker 1: 40
    assert figures["memory_bytes_per_worker"] == 45.0
    assert figures["max"]["memory_bytes_per_worker"] == 50
    assert figures["memory_bytes_per_worker_by_part"] == {"activations": 5.0, "gradient": 2.5, "weights": 40.0}
    # first steps: mean of 4 and 2 is 3, and 5; last steps: 1 and 5
    assert figures["loss"] == {"first": 4.0, "last": 3.0}
    assert figures["updates"] == 3
    assert figures["overlapped"] == {"compute": 0.0, "transfer": 0.0}
    assert (figures["lost_updates"], figures["torn_reads"], figures["cancelled_seconds"]) == (0, 0, 0.0)
    of_info = {name: figures[name] for name in ("scenario", "scheme", "clock", "workers", "seed", "calibrated")}
    assert of_info == {"scenario": "tiny", "scheme": "downpour", "clock": "simulated", "workers": 2, "seed": 7,
                       "calibrated": True}  # fmt: skip
    assert (figures["events"], figures["wall_seconds"], figures["simulation_seconds"]) == (99, 0.5, 0.25)
    assert json.loads(json.dumps(figures))["staleness"]["histogram"] == {"0": 2, "2": 1}


def test_what_workers_take_while_all_work():
    # worker 0: two steps until 7 s; worker 1: one until 8 s. While all work 2 * 16 / 7 + 16 / 8, in all 48 / 8.
    while_all = "samples_per_second_while_all_work"
    assert summary(downpour(), INFO)[while_all] == pytest.approx(32 / 7 + 16 / 8)
    # a worker that serves others after its steps has had its own; what comes after all steps is everybody's time
    serving = Trace([*downpour(), worker(0, "send", 7, 8, lane="answer", nbytes=8, message="0:9")])
    assert summary(serving, INFO)[while_all] == pytest.approx(32 / 7 + 16 / 8)
    together = Trace([*downpour(), *(worker(rank, "collective", 8, 9) for rank in (0, 1))])
    figures = summary(together, INFO)
    assert figures["samples_per_second"] == 48 / 9
    assert figures[while_all] == pytest.approx(32 / (7 + 1) + 16 / 9)
    # the samples of all, of two mini-batches of 16 per step, are shared out by steps
    of_all = replace(INFO, batches_per_step=1, seen=lambda steps: 2 * 16 * steps)
    assert summary(downpour(), of_all)[while_all] == pytest.approx(64 / 3 * (2 / 7 + 1 / 8))
    # where a step is one batch of all, there is one rate
    of_one = summary(downpour(), replace(INFO, own_pace=False))
    assert of_one[while_all] == of_one["samples_per_second"] == 6.0


def test_other_roles_have_the_same_figures():
    role = summary(downpour(), INFO)["roles"]["server"]
    assert role["actors"] == 1
    assert role["updates"] == 3
    assert role["bytes_received_per_step"] == 60.0  # 120 bytes over the run's 2 steps
    assert role["messages_received_per_step"] == 1.5
    assert role["bytes_sent_per_step"] == role["max"]["bytes_sent_per_step"] == 10.0
    # receives 2..3, 6..7, 7..8, send 3..4: 4 of 8 seconds; the goodbye until 9 is none of its time
    assert role["shares"] == {"compute": 0.0, "transfer": 0.5, "wait": 0.5}


def test_pipelines_take_their_batch_once():
    # two stages, both log their steps, one batch of 16 per step in all
    rows = [worker(rank, "compute", step, step + 1) for rank in (0, 1) for step in range(2)]
    rows += [note(rank, step + 1.0, "step", step=step) for rank in (0, 1) for step in range(2)]
    assert summary(Trace(rows), INFO)["samples_per_second"] == 32.0
    single = RunInfo("p", "gpipe", "real", workers=2, batch_size=16, batches_per_step=1)
    figures = summary(Trace(rows), single)
    assert figures["samples_per_second"] == 16.0
    assert figures["steps_per_worker"] is None
    assert figures["clock"] == "real"


def test_run_without_workers_or_steps():
    trace = Trace([worker(0, "compute", 0, 4)._replace(role="stage")])
    figures = summary(trace, INFO)
    assert figures["seconds"] == 4.0
    assert figures["shares"] == {"compute": 1.0, "transfer": 0.0, "wait": 0.0}
    assert figures["steps"] == 0
    assert figures["seconds_per_step"] is None
    assert figures["bytes_sent_per_worker_per_step"] is None
    assert figures["staleness"]["mean"] is None
    assert figures["loss"] is None
    assert figures["roles"]["stage"]["actors"] == 1


def test_only_notes_at_time_zero_is_all_waiting():
    figures = summary(Trace([note(0, 0.0, "step", step=0)]), INFO)
    assert figures["shares"] == {"compute": 0.0, "transfer": 0.0, "wait": 1.0}
    assert figures["samples_per_second"] is None


def test_cancelled_computes_and_shared_memory():
    rows = [
        worker(0, "compute", 0, 3, lane="compute", outcome="cancelled"),
        worker(0, "wait", 0, 3, label="compute"),
        worker(0, "read", 4, 5, post=3, outcome="torn", nbytes=8),
        worker(0, "update", 5, 6, outcome="lost", nbytes=8),
        worker(0, "update", 6, 8, nbytes=8),
        note(0, 8.0, "step", step=0),
    ]
    figures = summary(Trace(rows), INFO)
    assert figures["cancelled_seconds"] == 3.0
    assert (figures["lost_updates"], figures["torn_reads"]) == (1, 1)
    # its device computed 0..3 while it waited; data moved 4..8; 3..4 waited for the lock
    assert figures["shares"] == {"compute": 3 / 8, "transfer": 4 / 8, "wait": 1 / 8}
    assert figures["bytes_sent_per_worker_per_step"] == 0.0  # shared memory is no message


def test_staleness_by_worker_and_layer():
    rows = [
        note(0, 1.0, "applied", version_read=0, version_applied=1, layer="a"),  # its own gradient
        note(2, 1.0, "applied", version_read=0, version_applied=3, layer="a", peer=1),
        note(2, 2.0, "applied", version_read=0, version_applied=5, layer="b", peer=1),
        note(3, 2.0, "applied", version_read=1, version_applied=4, layer="b", peer=1),
    ]
    table = staleness_of(Trace(rows))
    assert table.overall.histogram == {1: 1, 3: 2, 5: 1}
    # mean 3, deviations -2, 0, 0, 2: variance 8 / 4
    assert (table.overall.mean, table.overall.variance, table.overall.max, table.overall.count) == (3.0, 2.0, 5, 4)
    assert {worker: part.histogram for worker, part in table.per_worker.items()} == {0: {1: 1}, 1: {3: 2, 5: 1}}
    assert {layer: part.mean for layer, part in table.per_layer.items()} == {"a": 2.0, "b": 4.0}
    assert table.per_worker[1].variance == pytest.approx(8 / 9)
    assert Staleness.of([]) == Staleness(0, None, None, None, {})


def test_figures_of_actors_that_are_alike_are_those_of_each():
    def did(rank, sent, steps, end, peak):
        totals = ActorTotals(rank, "worker", rank)
        totals.num_rows, totals.bytes_sent, totals.steps, totals.end, totals.updates = 3, sent, steps, end, steps
        totals.peak_bytes, totals.peak_bytes_of = peak, {"weights": peak}
        totals.staleness = {(-1, ""): {0: steps}, (1, "a"): {2: 1}}
        return totals

    def told():
        folded = Aggregates()
        folded.take([Alike(did(0, 10, 2, 1.0, 30), (0, 2, 3)), Alike(did(1, 16, 3, 2.0, 30), range(1, 2))])
        return folded

    info = replace(INFO, device_memory_bytes=(40.0, 40.0, 20.0, 10.0))
    together, apart = told(), told()
    assert [actor.rank for actor in apart.actors] == [actor.index for actor in apart.actors] == [0, 1, 2, 3]
    assert apart.totals(2, "worker", 2).bytes_sent == 10
    figures = summary(together, info)
    assert figures == summary(apart, info)
    assert figures["steps_per_worker"] == [2, 3, 2, 2]
    assert figures["does_not_fit"] == {"actor": "worker 3", "held_bytes": 30, "device_bytes": 10.0}
    assert figures["bytes_sent_per_worker_per_step"] == (3 * 5.0 + 16 / 3) / 4
    assert figures["staleness"]["histogram"] == {0: 9, 2: 4}
    assert figures["samples_per_second"] == 16 * 9 / 2.0
    assert len(together) == len(apart) == 12
    assert {who: seen.histogram for who, seen in staleness_of(together).per_worker.items()} == {
        0: {0: 2}, 1: {0: 3, 2: 4}, 2: {0: 2}, 3: {0: 2},
    }  # fmt: skip


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_conservation_law_of_staleness(num_workers):
    # One gradient outstanding each, pull right after push: mean staleness tends to N - 1 whatever the speeds
    # (SCHEMES.md section 4). Worker i takes i + 1 ticks, ties by rank; boundary terms are below N^2 / updates.
    version, read, rows = 0, [0] * num_workers, []
    for tick in range(1, 601):
        for rank in range(num_workers):
            if tick % (rank + 1) == 0:
                rows.append(
                    note(9, float(tick), "applied", peer=rank, version_read=read[rank], version_applied=version)
                )
                version += 1
                read[rank] = version
    figures = summary(Trace(rows), INFO)
    assert figures["updates"] == version
    assert figures["staleness"]["mean"] == pytest.approx(num_workers - 1, abs=num_workers**2 / version)


def test_loss_curve_and_diverged_losses():
    curve = loss_curve(downpour())
    assert curve == [LossPoint(0, 4.0, 11 / 3), LossPoint(1, 5.0, 1.0)]
    assert loss_curve(Trace([])) == []
    values = [1e16, 1.0, -1e16]  # summed exactly: 1 / 3, in any order
    for order in (values, values[::-1]):
        rows = [note(0, 1.0, "loss", step=0, value=value) for value in order]
        assert loss_curve(Trace(rows))[0].loss == 1 / 3
    rows = [note(rank, 1.0, "loss", step=0, value=value) for rank, value in enumerate([1.0, math.inf])]
    assert loss_curve(Trace(rows))[0].loss == math.inf
    figures = summary(Trace([*rows, note(2, 1.0, "loss", step=0, value=-1e308)]), INFO)
    assert figures["loss"] == {"first": math.inf, "last": math.inf}
    huge = [note(rank, 1.0, "loss", step=0, value=1.5e308) for rank in range(2)]
    assert loss_curve(Trace(huge))[0].loss == math.inf
    assert math.isnan(loss_curve(Trace([*rows, note(2, 1.0, "loss", step=0, value=math.nan)]))[0].loss)


def test_memory_by_actor_and_part():
    memory = memory_of(downpour())
    assert memory[0].peak_bytes == 50
    assert memory[0].peak_bytes_of == {"activations": 10, "gradient": 5, "weights": 40}
    assert memory[1].peak_bytes_of == {"weights": 40}


def test_result_is_frozen():
    trace = downpour()
    result = Result(summary(trace, INFO), trace)
    assert result.trace.fold().num_rows == len(trace)
    with pytest.raises(AttributeError):
        result.summary = {}
