"""What was measured, as text: programs side by side, and parasim against all figures of peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.peers.measure import EQUAL, Measured, Measurement
from benchmarks.peers.published import PUBLISHED, SIMGRID

__all__ = ["against", "seconds_of", "side_by_side"]

_HEAD = (
    "case", "makespan s", "SimGrid's", "equal", "parasim s", "first", "SimGrid s", "times",
    "process s", "SimGrid s", "times", "MiB", "SimGrid MiB", "operations/s", "SimGrid's",
)  # fmt: skip


def side_by_side(results: Sequence[Measurement]) -> str:
    """A line per case. Seconds are CPU seconds: of the simulation (`first`: with imports), and of the whole process."""
    lines = [_HEAD]
    for result in results:
        ours, theirs = _numbers(result.parasim), _numbers(result.simgrid)
        difference = result.difference
        same = "" if difference is None else "yes" if abs(difference) <= EQUAL else f"{difference:+.1e}"
        lines.append(
            (
                result.case,
                _cell(ours["makespan"], ".9g"),
                _cell(theirs["makespan"], ".9g"),
                same,
                _cell(ours["seconds"]),
                _cell(ours["first_seconds"]),
                _cell(theirs["seconds"]),
                _cell(_ratio(theirs["seconds"], ours["seconds"])),
                _cell(ours["process_seconds"]),
                _cell(theirs["process_seconds"]),
                _cell(_ratio(theirs["process_seconds"], ours["process_seconds"])),
                _cell(_ratio(ours["peak_bytes"], 2**20), ".0f"),
                _cell(_ratio(theirs["peak_bytes"], 2**20), ".0f"),
                _cell(_ratio(result.operations, ours["seconds"]), ",.0f"),
                _cell(_ratio(result.operations, theirs["seconds"]), ",.0f"),
            )
        )
    return _aligned(lines)


def against(results: Sequence[Measurement]) -> str:
    """A line per case and peer: its seconds, how many times as long that is, and the goal if there is one."""
    by_case = {result.case: result for result in results}
    lines = [("case", "peer", "peer's s", "from", "parasim s", "times", "goal", "")]
    for result in results:
        if result.parasim is None or result.case not in PUBLISHED:
            continue
        goals = {goal.peer: goal.factor for goal in PUBLISHED[result.case].goals}
        for peer in dict.fromkeys([*PUBLISHED[result.case].seconds, *goals]):
            found = seconds_of(peer, result, by_case)
            if found is None:
                continue
            theirs, source = found
            times = theirs / result.parasim.seconds
            goal = goals.get(peer)
            verdict = "" if goal is None else "reached" if times >= goal else "missed"
            cells = (f"{theirs:.3g}", source, f"{result.parasim.seconds:.3g}", f"{times:.3g}")
            lines.append((result.case, peer, *cells, "" if goal is None else f"{goal:g}", verdict))
    return _aligned(lines)


def seconds_of(peer: str, result: Measurement, by_case: dict[str, Measurement]) -> tuple[float, str] | None:
    """A peer's seconds for a case, measured beside it if they were, else as published; and which of these."""
    if peer.startswith("parasim "):
        other = by_case.get(peer.removeprefix("parasim "))
        return None if other is None or other.parasim is None else (other.parasim.seconds, "this run")
    if peer == SIMGRID and result.simgrid is not None:
        return result.simgrid.seconds, "this run"
    published = PUBLISHED[result.case].seconds.get(peer)
    return None if published is None else (published, "published")


def _numbers(program: Measured | None) -> dict[str, float | None]:
    return dict.fromkeys(Measured.__slots__) if program is None else asdict(program)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def _cell(value: float | None, form: str = ".3g") -> str:
    return "" if value is None else f"{value:{form}}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
