"""The README's table: ``python -m benchmarks.peers --all --write README.md`` measures and puts it between its marks."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.cases import CASES
from benchmarks.peers.measure import EQUAL, Measured, Measurement
from benchmarks.peers.published import PUBLISHED, SIMGRID

__all__ = ["speed", "write"]

_MARKS = re.compile(r"(<!-- speed -->\n).*?(<!-- /speed -->)", re.DOTALL)
_HEAD = (
    "workload", "simulated", "parasim", "SimGrid", "times", "process", "SimGrid", "MiB", "SimGrid", "operations/s",
    "published: others; SimGrid",
)  # fmt: skip


def write(page: Path, results: Sequence[Measurement], repeat: int) -> None:
    """Put the table into a page, between ``<!-- speed -->`` and ``<!-- /speed -->``; ValueError if it lacks these."""
    text = page.read_text()
    if not _MARKS.search(text):
        raise ValueError(f"{page} has no place for the table: write <!-- speed --> and <!-- /speed --> where it goes")
    page.write_text(_MARKS.sub(lambda marks: f"{marks[1]}{speed(results, repeat)}\n{marks[2]}", text))


def speed(results: Sequence[Measurement], repeat: int) -> str:
    """What was measured, as a table in Markdown with a line on how and where."""
    today = dt.datetime.now(dt.UTC).date()
    runs = "one run" if repeat == 1 else f"medians of {repeat} runs (one run where it takes more than a minute)"
    rows = [_HEAD, ("---",) * len(_HEAD), *map(_row, results)]
    lines = [
        f"CPU seconds, {runs}, on a shared machine with {os.cpu_count()} cores ({_processor()}), {today};",
        "SimGrid 4.1 ran beside it; published figures are of a quieter machine of that kind.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _row(result: Measurement) -> tuple[str, ...]:
    case, ours, theirs = CASES[result.case], result.parasim, result.simgrid
    coupled = ", coupled" if case.overrides else ""
    rate = "" if ours is None or result.operations is None else f"{result.operations / ours.seconds:,.0f}"
    times = "" if ours is None or theirs is None else f"{theirs.seconds / ours.seconds:.3g}"
    return (
        f"[{case.load().name}{coupled}](benchmarks/peers/{case.file.name})",
        _makespan(result),
        _seconds(ours and ours.seconds),
        _seconds(theirs and theirs.seconds),
        times,
        _seconds(ours and ours.process_seconds),
        _seconds(theirs and theirs.process_seconds),
        _mebibytes(ours),
        _mebibytes(theirs),
        rate,
        _published(result.case),
    )


def _makespan(result: Measurement) -> str:
    """The simulated time of both, or how they differ."""
    if result.parasim is None:
        return "not measured"
    difference = result.difference
    differs = "" if difference is None or abs(difference) <= EQUAL else f" ({difference:+.1e})"
    return f"{result.parasim.makespan:.9g} s{differs}"


def _published(case: str) -> str:
    seconds = dict(PUBLISHED[case].seconds)
    simgrid = seconds.pop(SIMGRID, None)
    others = ", ".join(f"{peer} {taken:g}" for peer, taken in seconds.items())
    return "; ".join(text for text in (others, "" if simgrid is None else f"{simgrid:g}") if text)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _mebibytes(program: Measured | None) -> str:
    return "" if program is None else f"{program.peak_bytes / 2**20:.0f}"


def _processor() -> str:
    """The processor's name as Linux tells it, else the machine's kind."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.machine()
