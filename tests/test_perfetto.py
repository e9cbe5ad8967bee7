"""Traces in the Trace Event Format: what the format asks, checked event by event."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import parasim
from parasim.report.perfetto import trace_events, write_trace_events
from parasim.trace.rows import Row
from parasim.trace.table import Trace

ROOT = Path(__file__).parents[1]
VARIANTS = ["one machine", "all-reduce", "server", "gossip", "pipeline"]


def row(op: str, t_post: float, t_start: float, t_end: float, lane: str = "main", rank: int = 0, **columns: Any) -> Row:
    columns = {"role": "worker", "index": rank, **columns}
    return Row(rank=rank, lane=lane, program=f"{lane}#0", op=op, t_post=t_post, t_start=t_start, t_end=t_end, **columns)


def nanoseconds(value: float) -> int:
    """As readers get them: some round, some cut off; both must find the same."""
    rounded, cut = round(value * 1000), int(value * 1000)
    assert rounded == cut, value
    return rounded


def check_format(events: list[dict[str, Any]]) -> None:
    """Raise where the format is not kept, or a reader would drop something."""
    slices = defaultdict(list)
    threads = set()
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    before = 0.0
    for event in events:
        assert event["ph"] in {"X", "i", "s", "f", "C", "M"}
        assert event["name"]
        threads.add((event["pid"], event["tid"]))
        if event["ph"] == "M":
            continue
        assert event["ts"] >= before  # in order: every thread's are, too
        before = event["ts"]
        if event["ph"] == "X":
            assert event["dur"] >= 0
            start = nanoseconds(event["ts"])
            slices[event["tid"]].append((start, start + nanoseconds(event["dur"])))
        if event["ph"] == "i":
            assert event["s"] in {"t", "p", "g"}
    assert threads == named
    assert len({tid for _, tid in threads}) == len(threads)  # a thread is of one process
    for thread in slices.values():
        open_ends: list[int] = []
        for start, end in thread:
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1], "two complete events of a thread overlap partly"
            open_ends.append(end)
    flows: dict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            assert event["ph"] not in flows[event["id"]]
            flows[event["id"]][event["ph"]] = event
            at = nanoseconds(event["ts"])
            assert any(start <= at <= end for start, end in slices[event["tid"]])
    for ends in flows.values():
        assert set(ends) == {"s", "f"}
        assert ends["s"]["ts"] <= ends["f"]["ts"]
        assert ends["f"]["bp"] == "e"


@pytest.mark.parametrize("variant", VARIANTS)
def test_events_of_each_scheme_keep_the_format(variant: str) -> None:
    scenario = parasim.load(ROOT / "scenarios" / "quickstart.yaml", ["run.learn=false", "run.steps=8"], variant=variant)
    trace = parasim.simulate(scenario).trace
    events = trace_events(trace)
    check_format(events)
    sent = {r.message for r in trace if r.op == "send"}
    both = {r.message for r in trace if r.op == "recv" and r.message in sent}
    assert len([event for event in events if event["ph"] == "s"]) == len(both)
    assert bool(both) == (variant != "one machine")
    work = sum(e["dur"] for e in events if e["ph"] == "X" and e["cat"] == "compute") * 1e-6
    assert work == pytest.approx(sum(r.t_end - r.t_start for r in trace if r.op == "compute"), rel=1e-5)
    held = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            held[event["pid"] - 1].append(sum(event["args"].values()))
    assert {rank: max(values) for rank, values in held.items()} == {
        actor.rank: actor.peak_bytes for actor in trace.fold().actors
    }


def test_simultaneous_messages_lie_on_threads_of_their_own() -> None:
    trace = Trace(
        [
            row("send", 0, 1e-3, 3e-3, label="all_reduce", peer=1, nbytes=8, message="0:1"),
            row("recv", 0, 2e-3, 4e-3, label="all_reduce", peer=1, nbytes=8, message="1:1"),
            row("compute", 4e-3, 4e-3, 5e-3, label="reduce", flops=2.0),
            row("collective", 0, 0, 5e-3, label="all_reduce", outcome="expanded", nbytes=16),
            row("log", 5e-3, 5e-3, 5e-3, label="step", step=0),
            row("compute", 5e-3, 5e-3, 6e-3, label="forward", micro=2, step=1),
        ]
    )
    events = trace_events(trace)
    check_format(events)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    placed = [(names[e["tid"]], e["name"], e["cat"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert placed == [
        ("main", "all_reduce", "collective", 0, 5000),
        ("main", "wait: send to 1", "wait", 0, 1000),
        ("main (2)", "wait: receive from 1", "wait", 0, 2000),
        ("main", "send to 1", "transfer", 1000, 2000),
        ("main (2)", "receive from 1", "transfer", 2000, 2000),
        ("main", "reduce", "compute", 4000, 1000),
        ("main", "forward 2", "compute", 5000, 1000),
    ]
    assert [e["name"] for e in events if e["ph"] == "i"] == ["step 0 done"]
    assert [e for e in events if e["ph"] in "sf"] == []  # the other ends are not in this trace
    assert next(e["args"] for e in events if e["name"] == "send to 1") == {
        "peer": 1,
        "message": "0:1",
        "program": "main#0",
        "bytes": 8,
    }


def test_an_arrow_leads_from_the_send_to_the_receive() -> None:
    send = row("send", 0, 1, 2, peer=1, message="0:1", nbytes=4)
    recv = row("recv", 0, 1, 2, peer=0, message="0:1", nbytes=4, rank=1)
    arrows = [event for event in trace_events(Trace([send, recv])) if event["ph"] in "sf"]
    where = {"name": "message", "cat": "message", "id": 1, "ts": 1e6}
    assert arrows == [
        {"ph": "s", "pid": 1, "tid": 1, **where},
        {"ph": "f", "bp": "e", "pid": 2, "tid": 2, **where},
    ]
    late = trace_events(Trace([send, recv._replace(t_start=0.5)]))  # clocks of two machines
    check_format(late)
    assert len([event for event in late if event["ph"] in "sf"]) == 2
    absurd = trace_events(Trace([send, recv._replace(t_start=0.2, t_end=0.5)]))
    check_format(absurd)
    assert [event for event in absurd if event["ph"] in "sf"] == []


def test_actors_are_processes_and_workers_come_first() -> None:
    rows = [
        row("compute", 0, 0, 1, label="update", role="server", index=0, rank=0),
        row("compute", 0, 0, 1, label="forward", role="worker", index=0, rank=1),
        row("compute", 0, 0, 1, label="reduce", role="worker", index=0, rank=1, lane="reduce"),
    ]
    meta = [event for event in trace_events(Trace(rows)) if event["ph"] == "M"]
    assert [(e["name"], e["pid"], e["tid"], *e["args"].values()) for e in meta] == [
        ("process_name", 2, 2, "worker 0 (rank 1)"),
        ("process_sort_index", 2, 2, 0),
        ("thread_name", 2, 2, "main"),
        ("thread_sort_index", 2, 2, 0),
        ("thread_name", 2, 3, "reduce"),
        ("thread_sort_index", 2, 3, 1),
        ("process_name", 1, 1, "server 0 (rank 0)"),
        ("process_sort_index", 1, 1, 1),
        ("thread_name", 1, 1, "main"),
        ("thread_sort_index", 1, 1, 0),
    ]


def test_notes_are_instants_with_versions_and_memory_is_a_counter() -> None:
    rows = [
        row("log", 1, 1, 1, label="applied", peer=3, version_read=2, version_applied=5),
        row("log", 2, 2, 2, label="hold", buffer="weights", held_bytes=100),
        row("log", 3, 3, 3, label="release", buffer="weights", held_bytes=-40),
        row("log", 4, 4, 4, label="loss", value=math.nan, step=0),
        row("recv", 4, 4, 6, label="", outcome="closed"),
        row("sleep", 6, 6, 7),
    ]
    events = trace_events(Trace(rows))
    check_format(events)
    applied, loss = (event for event in events if event["ph"] == "i")
    assert applied["args"] == {
        "peer": 3,
        "program": "main#0",
        "version_read": 2,
        "version_applied": 5,
        "staleness": 3,
    }
    assert loss["args"]["value"] == "nan"
    assert [(e["ts"], e["args"]) for e in events if e["ph"] == "C"] == [(2e6, {"weights": 100}), (3e6, {"weights": 60})]
    assert [(e["cat"], e["name"]) for e in events if e["ph"] == "X"] == [("wait", "receive"), ("wait", "sleep")]


def test_the_file_is_strict_json_and_compressed_if_large(tmp_path: Path) -> None:
    small = Trace([row("log", 1, 1, 1, label="loss", value=math.inf)])
    path = write_trace_events(small, tmp_path / "small", {"scenario": "\u00e4", "seconds": math.nan})
    assert path.name == "small.trace.json"

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(path.read_text(), parse_constant=refuse)
    assert document["otherData"] == {"scenario": "\u00e4", "seconds": "nan"}
    assert document["displayTimeUnit"] == "ms"
    assert document["traceEvents"] == trace_events(small)
    large = Trace([row("compute", i, i, i + 1, label="forward") for i in range(40_000)])
    path = write_trace_events(large, tmp_path / "large", {})
    assert path.name == "large.trace.json.gz"
    assert json.loads(gzip.decompress(path.read_bytes()))["traceEvents"] == trace_events(large)
    assert path.read_bytes() == write_trace_events(large, tmp_path / "again", {}).read_bytes()


@pytest.mark.parametrize("start", [0.1, 1 / 3, 12345.678901234, 86400.0])
def test_events_that_touch_still_touch_in_the_file(start: float) -> None:
    ends = [start]
    for i in range(300):
        ends.append(ends[-1] + 1e-7 * (1 + i % 7) / 3)
    rows = [row("compute", low, low, high) for low, high in pairwise(ends)]
    rows = [r._replace(label="forward") for r in rows]
    events = trace_events(Trace(rows))
    check_format(events)
    assert len({event["tid"] for event in events}) == 1
