"""Fast paths against plain simulation: the same makespan from fewer events in less time. Ratios, never seconds.

``python -m benchmarks.ratios`` prints them; ``pytest -n 0 benchmarks`` fails where one has become worse than `CASES`
allows, and tests/test_benchmarks_ratios.py checks makespans and counts of small versions. Plain is
``run: {fast_paths: none}``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.cases import LOG_NORMAL, document, star
from benchmarks.once import operations
from benchmarks.peers.placement import shuffled

__all__ = ["CASES", "Compared", "Measure", "Ratios", "compare", "in_turn", "main"]

Way = Callable[[], object]
Measure = Callable[[Way, Way, int], tuple[float, float]]
"""Takes two functions and how often to call each; returns the medians of their CPU seconds."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """A family of scenario documents by the number of workers, and what its ratios may be at `workers`.

    Attributes
    ----------
    events
        Most SimPy events per operation (a message or a step of a worker) with fast paths.
    times
        Least CPU time of plain simulation over that of fast paths: well below what was measured.
    small, small_events
        Workers of the version that tests run, and most events per operation there.
    like
        Cases of benchmarks.peers that it is a smaller version of.
    """

    make: Callable[[int], dict[str, Any]]
    workers: int
    events: float
    times: float
    small: int
    small_events: float
    like: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """One scenario both ways: simulated seconds, SimPy events, CPU seconds; and operations, which are the same."""

    operations: int
    fast_makespan: float
    plain_makespan: float
    fast_events: int
    plain_events: int
    fast_seconds: float
    plain_seconds: float

    @property
    def events_per_operation(self) -> float:
        """With fast paths."""
        return self.fast_events / self.operations

    @property
    def times(self) -> float:
        """How many times as fast as plain simulation."""
        return self.plain_seconds / self.fast_seconds


def in_turn(first: Way, second: Way, repeat: int) -> tuple[float, float]:
    """Median CPU seconds of two functions that take turns."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(repeat):
        for way, taken in zip((first, second), seconds, strict=True):
            begun = time.process_time()
            way()
            taken.append(time.process_time() - begun)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def compare(text: dict[str, Any], repeat: int = 1, measure: Measure = in_turn) -> Compared:
    """Simulate a scenario both ways in turn, `repeat` times after a first time that imports and compiles."""
    import parasim
    from parasim.scenario import from_document

    ways = {way: from_document({**text, "run": {**text["run"], "fast_paths": way}}) for way in ("all", "none")}
    summaries = {way: parasim.simulate(scenario).summary for way, scenario in ways.items()}
    seconds = measure(*(partial(parasim.simulate, scenario) for scenario in ways.values()), repeat)
    fast, plain = summaries["all"], summaries["none"]
    return Compared(
        operations(plain),
        fast["seconds"],
        plain["seconds"],
        fast["events"],
        plain["events"],
        *seconds,
    )


def _ring(workers: int, **more: Any) -> dict[str, Any]:
    scheme = {"kind": "allreduce", "algorithm": "ring", "overlap": False, "workers": workers}
    return document(f"ring of {workers}", more.pop("topology", star(workers)), 5, scheme, **more)


def _noisy_ring(workers: int) -> dict[str, Any]:
    return _ring(workers, noise=LOG_NORMAL)


def _layers(workers: int) -> dict[str, Any]:
    """Six layers, each reduced while the backward pass goes on."""
    text = _ring(workers)
    text["scheme"] |= {"overlap": True, "bucket_bytes": 1}
    layer = {"parameters": 4_000_000, "forward_flops": 5e18, "repeat": 6}
    text["workload"]["model"]["layers"] = [layer]
    return text


def _coupled_ring(workers: int) -> dict[str, Any]:
    """One flow per collective."""
    return _ring(workers, fidelity="coupled")


def _hierarchy(workers: int) -> dict[str, Any]:
    """Nodes of four workers, one flow per collective."""
    nodes = workers // 4
    topology = {"kind": "hierarchical", "nodes": nodes, "per_node": 4, "inside_bandwidth": "100 GB/s"}
    text = _ring(workers, topology=topology, noise=LOG_NORMAL, fidelity="coupled")
    text["scheme"] |= {"algorithm": "hierarchical", "rows": nodes}
    return text


def _groups(workers: int) -> dict[str, Any]:
    """Workers of two groups do not do the same: each has its own turn, its collectives have no messages."""
    text = _ring(workers)
    text["scheme"] = {"kind": "hierarchical_sgd", "groups": 2, "workers": workers}
    return text


def _equal_steps(workers: int) -> dict[str, Any]:
    """A hundred steps of which each is like the one before."""
    text = _ring(workers)
    text["run"]["steps"] = 100
    return text


def _fat(hosts: int, parents: int) -> dict[str, Any]:
    """Two levels of switches, four hosts at each of the lower ones: with 4 parents full, with 2 half of the cables."""
    return {"kind": "fat_tree", "children": [4, hosts // 4], "parents": [1, parents]}


def _fat_ring(workers: int, parents: int = 2) -> dict[str, Any]:
    """Half of the cables upwards; ranks in a random order."""
    text = _ring(workers, topology=_fat(workers, parents))
    text["scheme"]["placement"] = {"worker": shuffled(workers)}
    text["run"]["steps"] = 1
    return text


def _fat_halving(workers: int, parents: int = 2) -> dict[str, Any]:
    """The same with few rounds, in which rounding can't grow, of messages that share links."""
    text = _fat_ring(workers, parents)
    text["scheme"]["algorithm"] = "rabenseifner"
    return text


def _full_fat_halving(workers: int) -> dict[str, Any]:
    """All cables upwards."""
    return _fat_halving(workers, 4)


def _server(workers: int) -> dict[str, Any]:
    scheme = {"kind": "downpour", "servers": 1, "service": "concurrent", "workers": workers}
    return document(f"server of {workers}", star(workers + 1), 5, scheme, noise=LOG_NORMAL)


def _shards(workers: int) -> dict[str, Any]:
    scheme = {"kind": "downpour", "servers": 4, "service": "concurrent", "workers": workers}
    return document(f"shards of {workers}", star(workers + 4), 2, scheme, noise=LOG_NORMAL)


def _fat_shards(workers: int) -> dict[str, Any]:
    """Shards in a tree with half of the cables upwards, and one host in 16 for a server; all in a random order."""
    servers = workers // 15
    order = shuffled(workers + servers)
    text = _server(workers)
    text["cluster"]["topology"] = _fat(workers + servers, 2)
    placement = {"worker": order[:workers], "server": order[workers:]}
    text["scheme"] |= {"servers": servers, "placement": placement}
    return text


CASES: dict[str, Ratios] = {
    "ring": Ratios(_ring, 64, 0.0, 60, 16, 0.0, ("r256", "r1024")),
    "ring, noisy": Ratios(_noisy_ring, 64, 0.0, 25, 16, 0.0, ("r1024_noise",)),
    "ring, coupled": Ratios(_coupled_ring, 64, 0.0, 5, 16, 0.0, ("r256_coupled", "r1024_coupled")),
    "layers": Ratios(_layers, 32, 0.0, 80, 8, 0.0, ("d256",)),
    "rings of groups": Ratios(_groups, 64, 0.12, 5, 16, 0.3),
    "hierarchy, coupled": Ratios(_hierarchy, 64, 0.0, 2.5, 16, 0.0),
    "equal steps": Ratios(_equal_steps, 16, 0.0, 150, 4, 0.0),
    "ring in a fat tree": Ratios(_fat_ring, 64, 0.03, 10, 16, 1.25),
    "halving in a fat tree": Ratios(_fat_halving, 1024, 0.18, 3, 16, 1.4, ("r1024_fat16o",)),
    "halving in a full fat tree": Ratios(_full_fat_halving, 1024, 0.18, 2, 16, 1.4, ("r1024_fat16",)),
    "server": Ratios(_server, 1024, 0.0, 10, 16, 2.6, ("ps256", "ps1024")),
    "shards": Ratios(_shards, 32, 1.6, 0.5, 16, 1.7),
    "shards in a fat tree": Ratios(_fat_shards, 120, 0.0, 15, 30, 2.5, ("pss120", "pss1008")),
}
"""By name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all, or those named, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ratios", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--repeat", type=int, default=3, help="runs each way; the median counts (default: 3)")
    parser.add_argument("--small", action="store_true", help="the versions that tests run")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; choose from {', '.join(CASES)}")
    for name in given.cases or CASES:
        case = CASES[name]
        workers = case.small if given.small else case.workers
        found = compare(case.make(workers), given.repeat)
        print(
            f"{name:<26} {workers:>5} workers {found.operations:>9,} operations  {found.fast_events:>7,} events"
            f" ({found.events_per_operation:.3f} per operation, plain {found.plain_events / found.operations:.3f})"
            f"  {found.times:6.2f} times as fast",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
