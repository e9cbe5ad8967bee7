"""Speed of the simulator without fast paths: operations per second, events per operation, seconds and memory of runs.

Run it with ``python -m benchmarks.engine``. Every case runs in a process of its own: its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

from benchmarks.cases import CASES, USUAL, Case

__all__ = ["Measurement", "count_operations", "main", "measure"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one case gave.

    Attributes
    ----------
    makespan
        Virtual seconds of the run; checked.
    operations, events
        Operations yielded by all programs; SimPy events.
    seconds, operations_per_second
        Median CPU time of one ``parasim.simulate``, which is single-threaded, and the rate that it means. Wall-clock
        time would count whatever else the machine does.
    peak_bytes
        Largest memory of the process, with interpreter and libraries.
    """

    case: str
    makespan: float
    operations: int
    events: int
    events_per_operation: float
    seconds: float
    operations_per_second: float
    peak_bytes: int


def count_operations(run: Callable[[], Any]) -> int:
    """How many operations all programs yield during ``run()``, which this slows down."""
    from parasim.runtime.handlers import HANDLERS

    count = 0

    def counting(handler: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            return handler(*arguments)

        return counted

    with patch.dict(HANDLERS, {kind: counting(handler) for kind, handler in HANDLERS.items()}):
        run()
    return count


def measure(case: Case, repeat: int) -> Measurement:
    """Simulate a case once to count (and to import what is imported late), then `repeat` times to measure."""
    import parasim
    from parasim.scenario import from_document

    plain = {**case.document["run"], "fast_paths": "none"}  # every operation is one that a program yielded
    scenario = from_document({**case.document, "run": plain})
    operations = count_operations(lambda: parasim.simulate(scenario))
    seconds = []
    for _ in range(repeat):
        begun = time.process_time()
        summary = parasim.simulate(scenario).summary
        seconds.append(time.process_time() - begun)
        case.check(summary["seconds"])
    median = statistics.median(seconds)
    events = summary["events"]
    return Measurement(
        case=case.name,
        makespan=summary["seconds"],
        operations=operations,
        events=events,
        events_per_operation=events / operations,
        seconds=median,
        operations_per_second=operations / median,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def _measure_apart(name: str, repeat: int) -> dict[str, Any]:
    """The measurement of a case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine", name, "--here", "--json", "--repeat", str(repeat)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ)
    return dict(json.loads(done.stdout)[0])


_HEAD = ("case", "makespan s", "operations", "events", "events/op", "CPU s", "operations/s", "peak MiB")


def table(results: Sequence[dict[str, Any]]) -> str:
    """The measurements, a line each."""
    lines = [_HEAD]
    for result in results:
        lines.append(
            (
                result["case"],
                f"{result['makespan']:.6f}",
                f"{result['operations']:,}",
                f"{result['events']:,}",
                f"{result['events_per_operation']:.3f}",
                f"{result['seconds']:.3f}",
                f"{result['operations_per_second']:,.0f}",
                f"{result['peak_bytes'] / 2**20:.0f}",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and print what they gave."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)} (default: {', '.join(USUAL)})")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case; the median counts (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    parser.add_argument("--here", action="store_true", help="measure in this process (memory is then that of all)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if given.repeat < 1:
        parser.error(f"--repeat must be 1 or more, got {given.repeat}")
    results = [
        asdict(measure(CASES[name](), given.repeat)) if given.here else _measure_apart(name, given.repeat)
        for name in given.cases or USUAL
    ]
    print(json.dumps(results, indent=1) if given.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
