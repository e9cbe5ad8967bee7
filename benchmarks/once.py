"""One scenario, simulated in this process: ``python -m benchmarks.once FILE [key=value ...]`` prints JSON.

The clock runs from the loaded scenario to the result: programs, trace of aggregates, figures. The first run imports
what is imported late and compiles what is compiled when first needed; it stands apart (`first_seconds`) unless it takes
so long that it is the only one.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["once", "operations"]

_AGAIN, _SHORT = 3, 10.0
"""Later runs, and CPU seconds of a first one that is followed by so many; a longer one is followed by one."""
_LONG = 100.0
"""CPU seconds of a first run that is the only one."""


def once(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Makespan, events, operations; CPU seconds of `parasim.simulate`: of the first run, and median of later ones."""
    import parasim

    simulate, scenario = parasim.simulate, parasim.load(file, list(overrides))
    taken = []
    while True:
        begun = time.process_time()
        summary = simulate(scenario).summary
        taken.append(time.process_time() - begun)
        again = _AGAIN if taken[0] <= _SHORT else 1 if taken[0] <= _LONG else 0
        if len(taken) > again:
            break
    return {
        "makespan": summary["seconds"],
        "events": summary["events"],
        "operations": operations(summary),
        "first_seconds": taken[0],
        "cpu_seconds": statistics.median(taken[1:] or taken),
    }


def operations(summary: dict[str, Any]) -> int:
    """Messages with a payload, those of all roles, and steps of the workers."""
    steps = summary["steps"]
    sent = summary["workers"] * summary["messages_sent_per_worker_per_step"]
    sent += sum(role["actors"] * role["messages_sent_per_step"] for role in summary["roles"].values())
    return round(steps * (sent + summary["workers"]))


if __name__ == "__main__":
    print(json.dumps(once(Path(sys.argv[1]), sys.argv[2:])))
