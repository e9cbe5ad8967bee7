"""Where the time of a learning run goes: ``python -m benchmarks.learning``.

32 workers train a perceptron on handwritten digits in virtual time, under Python's deterministic profiler, which counts
CPU time. Its own cost falls on Python's calls and hardly on torch, so torch has a larger share than it says; tensors
that are cut or added by operators count as their caller's. Printed too: the seconds that the profile has for torch,
less what the profiler adds to each call, over the CPU seconds of the same run without the profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parasim
from parasim.scenario import from_document

__all__ = ["document", "main", "owner", "profile", "share_of_torch"]

_WIDEST = 20
_EMPTY_CALLS = 10_000


def document(
    workers: int, steps: int, kind: str = "allreduce", width: int = 256, fidelity: str = "message"
) -> dict[str, Any]:
    """The scenario: four layers of this width on the digits, 64 samples per worker and step."""
    return {
        "name": f"{kind} of {workers} on digits",
        "workload": {
            "model": {"kind": "mlp", "width": width, "depth": 4},
            "batch_size": 64,
            "data": {"kind": "digits"},
        },
        "cluster": {
            "topology": {"kind": "star", "hosts": workers + 1},
            "device": {"flops": "20 GFLOP/s", "memory": "8 GiB", "memory_bandwidth": "10 GB/s"},
            "link": {"bandwidth": "10 Gbit/s", "latency": "25 us"},
        },
        "scheme": {"kind": kind, "workers": workers},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "run": {"steps": steps, "learn": True, "trace": "aggregate", "fidelity": fidelity},
    }


def owner(file: str, function: str) -> str:
    """Who a function belongs to: "torch", a package of parasim, or "other"."""
    parts = Path(file).parts
    if "torch" in parts or (file == "~" and "torch" in function):
        return "torch"
    if "parasim" in parts[:-1]:
        return "/".join(parts[len(parts) - 1 - parts[::-1].index("parasim") : -1][:2])
    return "other"


def profile(scenario: parasim.Scenario) -> tuple[Counter[str], pstats.Stats]:
    """CPU seconds spent in functions of each owner, and the whole profile. A short run before takes care of imports."""
    parasim.simulate(scenario)
    stats = _profiled(parasim.simulate, scenario)
    return _by_owner(stats), stats


def share_of_torch(scenario: parasim.Scenario, repeat: int = 5) -> float:
    """Seconds of torch under the profiler, less what that adds to its calls, over the CPU seconds of the run without.

    Both are medians of runs that take turns.
    """
    plain, inside = [], []
    for _ in range(repeat):
        begun = time.process_time()
        parasim.simulate(scenario)
        plain.append(time.process_time() - begun)
        stats = _profiled(parasim.simulate, scenario)
        inside.append(_by_owner(stats)["torch"] - _calls(stats, "torch") * _cost_of_a_call())
    return statistics.median(inside) / statistics.median(plain)


def _profiled(function: Callable[..., Any], *arguments: Any) -> pstats.Stats:
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(function, *arguments)
    return pstats.Stats(profiler)


def _by_owner(stats: pstats.Stats) -> Counter[str]:
    seconds: Counter[str] = Counter()
    for (file, _, function), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        seconds[owner(file, function)] += own
    return seconds


def _calls(stats: pstats.Stats, who: str) -> int:
    found = stats.stats.items()  # type: ignore[attr-defined]
    return sum(calls for (file, _, function), (_, calls, _, _, _) in found if owner(file, function) == who)


def _cost_of_a_call() -> float:
    """Seconds that the profiler has for a compiled function which does nothing to speak of."""
    stats = _profiled(lambda: [len(()) for _ in range(_EMPTY_CALLS)])
    found = stats.stats.items()  # type: ignore[attr-defined]
    return float(next(own / calls for (_, _, function), (_, calls, own, _, _) in found if "len" in function))


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and print shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--scheme", default="allreduce", help="any scheme by its name (default: allreduce)")
    parser.add_argument("--fidelity", default="message", help="of collectives: message or coupled (default: message)")
    parser.add_argument("--functions", action="store_true", help=f"the {_WIDEST} functions that take most, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    given = parser.parse_args(arguments)
    text = document(given.workers, given.steps, given.scheme, fidelity=given.fidelity)
    scenario = from_document(text)
    seconds, stats = profile(scenario)
    total, share = seconds.total(), share_of_torch(scenario)
    if given.json:
        shares = {name: own / total for name, own in seconds.items()}
        print(json.dumps({"seconds": total, "shares": shares, "torch": share}, indent=1))
        return 0
    for name, own in seconds.most_common():
        print(f"{name:<24} {own:7.3f} s  {own / total:6.1%}")
    print(f"without the profiler, torch has {share:.1%} of the CPU time")
    if given.functions:
        stats.sort_stats("tottime").print_stats(_WIDEST)
    return 0


if __name__ == "__main__":
    sys.exit(main())
