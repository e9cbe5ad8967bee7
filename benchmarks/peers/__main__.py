"""parasim beside compiled simulators, on the same workloads: ``python -m benchmarks.peers``.

SimGrid runs where its program is found: --simgrid, or the environment variable PARASIM_SIMGRID (see README.md here).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.cases import CASES
from benchmarks.peers.measure import measure
from benchmarks.peers.page import write
from benchmarks.peers.published import PUBLISHED
from benchmarks.peers.table import against, side_by_side

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure cases one after the other and print what they gave."""
    usual = [name for name, case in CASES.items() if not case.long]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)} (default: {', '.join(usual)})")
    parser.add_argument("--all", action="store_true", help="all of them, those that take minutes too")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each program; the median counts (default: 3)")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a run is stopped (default: 600)")
    parser.add_argument(
        "--simgrid", type=Path, default=os.environ.get("PARASIM_SIMGRID"), help="the compiled simgrid.cpp"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page (README.md), too")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the tables")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if given.repeat < 1:
        parser.error(f"--repeat must be 1 or more, got {given.repeat}")
    if given.simgrid is not None and not os.access(given.simgrid, os.X_OK):
        parser.error(f"{given.simgrid} is no program: compile benchmarks/peers/simgrid.cpp as README.md there says")
    names = [name for name in CASES if given.all or name in (given.cases or usual)]
    results = []
    for name in names:
        results.append(measure(name, CASES[name], given.repeat, given.limit, given.simgrid))
        if given.write is not None:
            write(given.write, results, given.repeat)
        if not given.json:
            print(f"{name} is measured", file=sys.stderr, flush=True)
    if given.json:
        published = {name: PUBLISHED[name].seconds for name in names if name in PUBLISHED}
        print(json.dumps([{**one.as_dict(), "published": published.get(one.case)} for one in results], indent=1))
    else:
        print(side_by_side(results), against(results), sep="\n\n")
        stopped = [one.case for one in results if one.parasim is None]
        if stopped:
            print(f"\nstopped after {given.limit:g} s: parasim on {', '.join(stopped)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
