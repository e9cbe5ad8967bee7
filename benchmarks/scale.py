"""How cost grows: with workers, with operations, with steps; and the largest clusters: ``python -m benchmarks.scale``.

Every run is a process of its own. Seconds are CPU seconds from the loaded scenario to the result, as `benchmarks.once`
takes them; memory is that of the process.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cases import LOG_NORMAL, document, star
from benchmarks.process import run_process

__all__ = ["FAMILIES", "Family", "Point", "main", "measure", "report", "slope"]


@dataclass(frozen=True, slots=True)
class Family:
    """Scenarios that differ in one size.

    Attributes
    ----------
    size
        What differs: "workers" or "steps".
    sizes, make
        The sizes, and a scenario document of each.
    seconds, peak_bytes
        What the largest may take.
    growth
        Largest exponent of seconds in the size that is asked for.
    """

    size: str
    sizes: tuple[int, ...]
    make: Callable[[int], dict[str, Any]]
    seconds: float | None = None
    peak_bytes: float | None = None
    growth: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One run: its size, simulated seconds, operations, SimPy events, CPU seconds, peak memory."""

    size: int
    makespan: float
    operations: int
    events: int
    seconds: float
    peak_bytes: int


def _ring(workers: int, steps: int, fidelity: str) -> dict[str, Any]:
    scheme = {"kind": "allreduce", "algorithm": "ring", "overlap": False, "workers": workers}
    return document(f"ring {workers}", star(workers), steps, scheme, fidelity=fidelity)


def _hierarchy(workers: int, steps: int = 10) -> dict[str, Any]:
    """Nodes of eight workers."""
    nodes = workers // 8
    inside = {"inside_bandwidth": "300 GB/s", "inside_latency": "1 us"}
    topology = {"kind": "hierarchical", "nodes": nodes, "per_node": 8, **inside}
    scheme = {"kind": "allreduce", "algorithm": "hierarchical", "rows": nodes, "overlap": False, "workers": workers}
    return document(f"hierarchy {workers}", topology, steps, scheme, noise=LOG_NORMAL, fidelity="coupled")


def _servers(workers: int, servers: int, steps: int) -> dict[str, Any]:
    scheme = {"kind": "downpour", "servers": servers, "service": "concurrent", "workers": workers}
    return document(f"downpour {workers}", star(workers + servers), steps, scheme, noise=LOG_NORMAL)


FAMILIES: dict[str, Family] = {
    "hierarchy-100k": Family("workers", (100_000,), _hierarchy, seconds=20, peak_bytes=2 * 2**30),
    "asynchronous-10k": Family("workers", (10_000,), lambda n: _servers(n, 64, 10), seconds=60),
    "ring": Family("workers", (256, 1024, 4096, 16384), lambda n: _ring(n, 10, "coupled"), growth=1.1),
    "hierarchy": Family("workers", (256, 1024, 4096, 16384), _hierarchy, growth=1.1),
    "asynchronous": Family("workers", (64, 128, 256, 512, 1024), lambda n: _servers(n, 1, 10), growth=1.1),
    "steps": Family("steps", (1000, 1_000_000), lambda steps: _ring(8, steps, "message"), growth=0.05),
}
"""By name."""


def slope(points: Sequence[Point], value: Callable[[Point], float], of: Callable[[Point], float]) -> float | None:
    """Exponent p of ``value ~ of ** p``: least squares of the logarithms; None of fewer than two points."""
    if len(points) < 2:
        return None
    from numpy import polyfit

    logarithms = [[math.log(read(point)) for point in points] for read in (of, value)]
    return float(polyfit(*logarithms, 1)[0])


def measure(family: Family, limit: float) -> list[Point]:
    """A run of each size, smallest first, until one is stopped at `limit` seconds."""
    points = []
    for size in family.sizes:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(family.make(size), file)  # JSON is YAML
            file.flush()
            ran = run_process([sys.executable, "-m", "benchmarks.once", file.name], limit)
        if ran is None:
            break
        found = json.loads(ran.output)
        counts = (found["makespan"], found["operations"], found["events"])
        points.append(Point(size, *counts, found["cpu_seconds"], ran.peak_bytes))
    return points


def report(name: str, family: Family, points: Sequence[Point]) -> str:
    """What was measured, and whether it is what was asked for."""
    lines = [f"{name}:"]
    for p in points:
        lines.append(
            f"  {p.size:>9,} {family.size}  {p.operations:>11,} operations  {p.events:>9,} events  {p.seconds:>8.3g} s"
            f"  {p.peak_bytes / 2**20:>6,.0f} MiB  makespan {p.makespan:.9g} s"
        )
    if len(points) < len(family.sizes):
        lines.append(f"  stopped at the limit with {family.sizes[len(points)]:,} {family.size}: missed")
    growth = slope(points, lambda p: p.seconds, lambda p: p.size)
    if growth is not None:
        some = [p for p in points if p.events]
        events = slope(some, lambda p: p.events, lambda p: p.size)
        counted = "" if events is None else f", events {events:.2f}"
        lines.append(f"  seconds grow as {family.size} to the power of {growth:.2f}{counted}")
    if len(points) == len(family.sizes):
        last = points[-1]
        asked = [
            (last.seconds, family.seconds, "s"),
            (last.peak_bytes / 2**20, family.peak_bytes and family.peak_bytes / 2**20, "MiB"),
            (growth, family.growth, "as exponent"),
        ]
        for value, most, unit in asked:
            if value is not None and most is not None:
                lines.append(f"  at most {most:g} {unit}: {'reached' if value <= most else 'missed'}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure families of runs and print how they grow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="family", help=f"of {', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a run is stopped (default: 120)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the text")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.families if name not in FAMILIES]
    if unknown:
        parser.error(f"no family {unknown[0]!r}; choose from {', '.join(FAMILIES)}")
    found = {}
    for name in given.families or FAMILIES:
        points = measure(FAMILIES[name], given.limit)
        found[name] = [asdict(point) for point in points]
        if not given.json:
            print(report(name, FAMILIES[name], points), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
