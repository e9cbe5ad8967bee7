"""How cost grows, drawn: ``python -m benchmarks.growth`` writes benchmarks/growth.svg and .png, and prints exponents.

Log-log curves, CPU seconds of `parasim.simulate`, each the least of several runs. *asynchronous*: Downpour on one
server, over its operations; actors one by one where they are few, from tapes where there are more. *coupled, one more
collective*: a ring and a hierarchy of equal workers at coupled fidelity, pieces of equal length, the seconds that 1000
more steps take over 1000, by workers; a rule of stragglers that never holds keeps steps from being skipped.
*synchronous steps*: equal steps of a ring, message by message.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.once import operations
from benchmarks.scale import FAMILIES

__all__ = ["Curve", "asynchronous", "collectives", "draw", "exponent", "main", "steps"]

_HERE = Path(__file__).parent
_NEVER = {"workers": [0], "slowdown": 2, "from": "1e9 s"}


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds over what they grow with."""

    name: str
    grows_with: str
    sizes: tuple[float, ...]
    seconds: tuple[float, ...]


def _run(text: dict[str, Any], repeat: int) -> tuple[float, dict[str, Any]]:
    """Least CPU seconds of some runs, after one that imports; the figures."""
    import parasim
    from parasim.scenario import from_document

    scenario, taken = from_document(text), []
    summary = parasim.simulate(scenario).summary
    for _ in range(repeat):
        begun = time.process_time()
        parasim.simulate(scenario)
        taken.append(time.process_time() - begun)
    return min(taken), summary


def asynchronous(way: str, sizes: Sequence[int], repeat: int) -> Curve:
    """Downpour, by operations; sizes that all go one `way`."""
    found = [_run(FAMILIES["asynchronous"].make(size), repeat) for size in sizes]
    done = tuple(float(operations(summary)) for _, summary in found)
    return Curve(f"asynchronous, {way}", "operations", done, tuple(seconds for seconds, _ in found))


def collectives(name: str, sizes: Sequence[int], repeat: int, more: int) -> Curve:
    """What one more step with its all-reduce costs at coupled fidelity, by workers."""
    seconds = []
    for size in sizes:
        text = FAMILIES[name].make(size)
        text["cluster"] |= {"noise": {"kind": "none"}, "stragglers": [_NEVER]}
        text["workload"]["model"]["layers"][0]["parameters"] = 2**25
        few, many = ({**text, "run": {**text["run"], "steps": count}} for count in (4, 4 + more))
        seconds.append(max(1e-9, _run(many, repeat)[0] - _run(few, repeat)[0]) / more)
    return Curve(f"coupled {name}, one more collective", "workers", tuple(map(float, sizes)), tuple(seconds))


def steps(sizes: Sequence[int], repeat: int) -> Curve:
    """Equal synchronous steps, by their number."""
    found = [_run(FAMILIES["steps"].make(size), repeat)[0] for size in sizes]
    return Curve("synchronous steps, 8 workers", "steps", tuple(map(float, sizes)), tuple(found))


def exponent(curve: Curve) -> float:
    """Exponent p of ``seconds ~ size ** p``: least squares of the logarithms."""
    import numpy as np

    return float(np.polyfit(np.log(curve.sizes), np.log(curve.seconds), 1)[0])


def draw(curves: Sequence[Curve], path: Path) -> list[Path]:
    """One log-log picture of all, as `path`.png and .svg; the files."""
    from matplotlib.ticker import FuncFormatter

    from parasim.report.style import SERIES, figure, house, save

    with house():
        picture = figure(5.6, 4.2, "constrained")
        axes = picture.subplots()
        for look, curve in zip(SERIES, curves, strict=False):
            label = f"{curve.name}: {curve.grows_with} to the power of {exponent(curve):.2f}"
            axes.loglog(curve.sizes, curve.seconds, **look.line(label=label))
        axes.set_xlabel("operations, workers or steps")
        axes.set_ylabel("CPU seconds")
        axes.set_title("What a simulation costs")
        axes.grid(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        picture.legend(loc="outside lower center")
    return save(picture, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, default=_HERE / "growth", help="file without ending (benchmarks/growth)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size; the least counts (default: 3)")
    parser.add_argument("--small", action="store_true", help="small sizes, as tests draw them")
    given = parser.parse_args(arguments)
    more = 10 if given.small else 1000
    workers = (8, 16) if given.small else (64, 256, 1024, 4096, 16384)
    curves = [
        asynchronous("one by one", (4, 8) if given.small else (16, 32, 64, 128, 256), given.repeat),
        collectives("ring", workers, given.repeat, more),
        collectives("hierarchy", (16, 32) if given.small else workers, given.repeat, more),
        steps((10, 100) if given.small else (10, 100, 1000, 10_000, 100_000, 1_000_000), given.repeat),
    ]
    if not given.small:  # fewer go one by one
        curves.insert(1, asynchronous("from tapes", (512, 1024, 2048, 4096, 8192), given.repeat))
    for curve in curves:
        print(f"{curve.name}: seconds grow as {curve.grows_with} to the power of {exponent(curve):.2f}")
        for size, seconds in zip(curve.sizes, curve.seconds, strict=True):
            print(f"  {size:>12,.0f}  {seconds:.3g} s")
    for file in draw(curves, given.out):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
