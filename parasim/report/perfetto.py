"""A trace in the Trace Event Format (JSON), which ui.perfetto.dev and chrome://tracing open.

A process per actor, a thread per lane. Operations are complete events, and what they waited for before is one of its
own, of category "wait". A thread's complete events nest or follow each other, as the format asks (Perfetto drops what
overlaps partly): messages that an exchange moves at one time lie on threads of their own, "lane (2)" and so on; what
only encloses others (a collective that was expanded, a lock that is held) encloses them here. Messages are arrows from
the send to the receive, steps and applied gradients instants, memory held a counter.

Times are whole nanoseconds, so that two events that touch still touch after reading.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parasim.report.timeline_window import actor_order
from parasim.trace.files import write_atomic
from parasim.trace.lanes import MAIN
from parasim.trace.parts import part_of
from parasim.trace.rows import COLUMNS, Row
from parasim.trace.spans import is_container
from parasim.trace.table import Trace

__all__ = ["trace_events", "write_trace_events"]

Event = dict[str, Any]
_LARGE = 4 * 2**20  # bytes from which on the file is compressed
_KEPT = [
    (name, COLUMNS.index(name))
    for name in ("peer", "tag", "group", "buffer", "layer", "step", "micro", "message", "program", "outcome")
]
_CATEGORIES = {
    "send": "transfer", "recv": "transfer", "read": "shared memory", "update": "shared memory", "wait": "wait",
    "sleep": "wait", "compute": "compute", "locked": "lock",
}  # fmt: skip


def write_trace_events(trace: Trace, path: str | Path, about: Mapping[str, Any]) -> Path:
    """Write the events to `path`.trace.json, or compressed to `path`.trace.json.gz if they are many.

    Parameters
    ----------
    trace
        The rows of a run.
    path
        Without the ending.
    about
        What is known of the run; it stands in the file under "otherData".

    Returns
    -------
    Path
        The file, written whole or not at all; the same input gives the same bytes.
    """
    encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), check_circular=False).encode
    lines = ",\n".join(map(encode, trace_events(trace)))
    other = encode({key: _finite(value) for key, value in about.items()})
    data = f'{{"displayTimeUnit":"ms","otherData":{other},"traceEvents":[\n{lines}\n]}}\n'.encode()
    if len(data) < _LARGE:
        return write_atomic(f"{path}.trace.json", data)
    return write_atomic(f"{path}.trace.json.gz", gzip.compress(data, 6, mtime=0))


def trace_events(trace: Trace) -> list[Event]:
    """The events: first the names of processes and threads, then all others in the order of their times."""
    rows: dict[tuple[int, str, int], dict[str, list[Row]]] = {}
    for row in trace.rows:
        rows.setdefault((row.rank, row.role, row.index), {}).setdefault(row.lane, []).append(row)
    arrows = _arrows(trace.rows)
    names: list[Event] = []
    events: list[tuple[int, int, Event]] = []  # time, place among those of one time, event
    next_thread = len(rows) + 1  # beyond the main threads, whose number is that of their process
    for order, (rank, role, index) in enumerate(actor_order(rows)):
        process = rank + 1  # 0 is the system's
        names += _names("process", process, process, f"{role} {index} (rank {rank})", order)
        lanes = rows[rank, role, index]
        sort = 0
        for lane in sorted(lanes, key=lambda name: (name != MAIN, name)):
            threads = _threads(lanes[lane])
            for number, thread in enumerate(threads):
                place = process if lane == MAIN and not number else next_thread
                next_thread += place == next_thread
                names += _names("thread", process, place, lane if not number else f"{lane} ({number + 1})", sort)
                sort += 1
                for row in thread:
                    events += _events(row, process, place, arrows)
        held = sorted((row for lane in lanes.values() for row in lane if row.held_bytes), key=lambda row: row.t_end)
        events += _held(held, process)
    events.sort(key=lambda entry: entry[:2])
    return [*names, *(event for _, _, event in events)]


def _names(what: str, process: int, thread: int, name: str, order: int) -> Iterator[Event]:
    """Name and place in the list."""
    yield {"ph": "M", "name": f"{what}_name", "pid": process, "tid": thread, "args": {"name": name}}
    yield {"ph": "M", "name": f"{what}_sort_index", "pid": process, "tid": thread, "args": {"sort_index": order}}


def _arrows(rows: Iterable[Row]) -> dict[str, tuple[int, int, int]]:
    """Of each message that has both ends in the trace: its number, and a time within each end, in nanoseconds.

    Clocks of different machines may say that a message was received before it was sent: such a one has no arrow.
    """
    sent = {row.message: row for row in rows if row.op == "send" and row.message}
    arrows: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        if row.op == "recv" and row.message in sent:
            leaves, arrives, over = _ns(sent[row.message].t_start), _ns(row.t_start), _ns(row.t_end)
            arrives = max(arrives, min(leaves, over - 1))
            if leaves <= arrives:
                arrows[row.message] = (len(arrows) + 1, leaves, arrives)
    return arrows


# threads -------------------------------------------------------------------------------------------------------------
def _threads(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of a lane, cut so that in each part what overlaps lies in a container."""
    threads: list[list[Row]] = [[]]
    stacks: list[list[tuple[int, bool]]] = [[]]  # of each thread: ends of what is open, and whether it may contain
    for row in sorted(rows, key=_order):
        start, end = _ns(row.t_post), _ns(row.t_end)
        if start == end:
            threads[0].append(row)  # overlaps nothing
            continue
        number = _free(stacks, start, end)
        if number == len(threads):
            threads.append([])
            stacks.append([])
        threads[number].append(row)
        stacks[number].append((end, is_container(row)))
    return threads


def _order(row: Row) -> tuple[int, bool, int]:
    """By the time of asking; then what contains others before what it contains."""
    contains = is_container(row)
    return _ns(row.t_post), not contains, -_ns(row.t_end) if contains else _ns(row.t_start)


def _free(stacks: Sequence[list[tuple[int, bool]]], start: int, end: int) -> int:
    """The first thread on which nothing is open at `start`, or only what may contain it; else one more."""
    for number, stack in enumerate(stacks):
        while stack and stack[-1][0] <= start:
            stack.pop()
        if not stack or (stack[-1][1] and stack[-1][0] >= end):
            return number
    return len(stacks)


# events --------------------------------------------------------------------------------------------------------------
def _events(
    row: Row, process: int, thread: int, arrows: Mapping[str, tuple[int, int, int]]
) -> Iterator[tuple[int, int, Event]]:
    """All that a row becomes."""
    where: Event = {"pid": process, "tid": thread}
    post, start, end = _ns(row.t_post), _ns(row.t_start), _ns(row.t_end)
    if row.op in {"log", "decide", "choice"}:
        if row.label not in {"hold", "release"}:
            yield (
                end,
                2,
                {"ph": "i", "s": "t", "name": _note(row), "cat": row.op, "ts": _us(end), **where, "args": _args(row)},
            )
        return
    if row.op == "wait" or row.outcome == "closed" or is_container(row):
        start = post
    category = "wait" if row.outcome == "closed" else _CATEGORIES.get(row.op, "collective")
    if start > post:
        wait = {
            "ph": "X",
            "name": f"wait: {_name(row)}",
            "cat": "wait",
            "ts": _us(post),
            "dur": _us(start - post),
            **where,
        }
        yield post, 1, wait
    event = {"ph": "X", "name": _name(row), "cat": category, "ts": _us(start), "dur": _us(end - start), **where}
    yield start, 0 if is_container(row) else 1, {**event, "args": _args(row)}
    if row.op in {"send", "recv"} and row.message in arrows:
        number, leaves, arrives = arrows[row.message]
        arrow = {"name": "message", "cat": "message", "id": number, **where}
        if row.op == "send":
            yield leaves, 2, {"ph": "s", "ts": _us(leaves), **arrow}
        else:
            yield arrives, 3, {"ph": "f", "bp": "e", "ts": _us(arrives), **arrow}


def _held(rows: Iterable[Row], process: int) -> Iterator[tuple[int, int, Event]]:
    """Bytes held by part, at each change; Perfetto stacks them."""
    held: dict[str, int] = {}
    for row in rows:
        part = part_of(row.buffer)
        held[part] = held.get(part, 0) + row.held_bytes
        end = _ns(row.t_end)
        yield (
            end,
            4,
            {"ph": "C", "name": "memory held", "pid": process, "tid": process, "ts": _us(end), "args": dict(held)},
        )


def _name(row: Row) -> str:
    """A short name of an operation."""
    if row.op == "send":
        return f"send to {row.peer}" if row.peer >= 0 else "send"
    if row.op == "recv":
        return f"receive from {row.peer}" if row.peer >= 0 else "receive"
    if row.op == "wait":
        return f"wait for {row.label}" if row.label else "wait"
    if row.op == "compute":
        return f"{row.label} {row.micro}" if row.micro >= 0 else row.label
    return row.label if row.op == "collective" else row.op


def _note(row: Row) -> str:
    """A short name of an event."""
    if row.label == "step":
        return f"step {row.step} done"
    if row.label == "applied":
        return f"gradient applied at version {row.version_applied}"
    return row.label or row.op


def _args(row: Row) -> Event:
    """What else the row says; what does not apply is left out."""
    args: Event = {name: row[place] for name, place in _KEPT if row[place] != "" and row[place] != -1}
    if row.op in {"send", "recv", "collective"}:
        args["bytes"] = row.nbytes
        if row.control_bytes:
            args["control_bytes"] = row.control_bytes
        if row.messages:
            args["messages"] = row.messages
    if row.op == "compute":
        args["flops"] = row.flops
    if row.label == "applied":
        args["version_read"] = row.version_read
        args["version_applied"] = row.version_applied
        args["staleness"] = row.version_applied - row.version_read
    if row.value is not None:
        args["value"] = _finite(float(row.value))
    return args


def _finite(value: Any) -> Any:
    """The value; the word for a number that JSON does not know."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _us(nanoseconds: int) -> float:
    """Microseconds, from which a reader gets the same nanoseconds whether it rounds or cuts off."""
    value = nanoseconds / 1000
    return value if int(value * 1000) == nanoseconds else math.nextafter(value, math.inf)
