"""The runs that the simulator's speed is measured on: scenario documents, and what their makespans must be.

All of them train a model of 100 MB on a star of links of 10 Gbit/s and 25 us, 50 us from host to host. A gradient takes
100 ms, all of it in the forward pass; the device is so fast otherwise that updates and reductions take no time worth
mentioning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["CASES", "LOG_NORMAL", "USUAL", "Case", "document", "downpour", "ring", "star"]

COMPUTE_SECONDS = 0.1
PARAMETERS = 25_000_000
BANDWIDTH = 1.25e9
LATENCY = 25e-6
_FLOPS = 1e21
_TOLERANCE = 1e-9
LOG_NORMAL = {"kind": "lognormal", "sigma": 0.2}


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario document, and its makespan: from `least` to `most` seconds (equal where a closed form is exact)."""

    name: str
    document: dict[str, Any]
    least: float
    most: float

    def check(self, seconds: float) -> None:
        """Raise `ValueError` if a makespan is not what it must be."""
        if not self.least * (1 - _TOLERANCE) <= seconds <= self.most * (1 + _TOLERANCE):
            raise ValueError(
                f"{self.name}: makespan of {seconds} s, it must be from {self.least} to {self.most} s: "
                "the simulator is wrong, whatever its speed"
            )


def document(name: str, topology: dict[str, Any], steps: int, scheme: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A scenario of this model; `noise` and `fidelity` may be given."""
    layer = {"parameters": PARAMETERS, "forward_flops": COMPUTE_SECONDS * _FLOPS, "input_flops": 0, "weight_flops": 0}
    return {
        "name": name,
        "workload": {"model": {"kind": "layers", "layers": [layer]}, "batch_size": 1},
        "cluster": {
            "topology": topology,
            "device": {"flops": f"{_FLOPS} FLOP/s", "memory": "1 TB", "memory_bandwidth": "1e24 B/s"},
            "link": {"bandwidth": f"{BANDWIDTH} B/s", "latency": f"{LATENCY} s"},
            "noise": more.get("noise", {"kind": "none"}),
        },
        "scheme": scheme,
        "optimizer": {"kind": "sgd", "lr": 0.1},
        "run": {"steps": steps, "trace": "aggregate", "fidelity": more.get("fidelity", "message")},
    }


def star(hosts: int) -> dict[str, Any]:
    """A switch with so many hosts, as scenarios have it."""
    return {"kind": "star", "hosts": hosts}


def ring(workers: int, steps: int) -> Case:
    """Compute, then a ring all-reduce of the gradient, message by message.

    With n workers a step takes ``0.1 + 2 (n - 1) (alpha + S / n / bandwidth)`` seconds, where S / n stands for the
    largest piece: in every round someone sends it. 10 steps of 256 workers take 2.848762 s (2.848750 s if 25e6
    parameters could be cut into 256 equal pieces).
    """
    name = f"ring {workers}"
    scheme = {"kind": "allreduce", "algorithm": "ring", "overlap": False, "workers": workers}
    piece = 4 * math.ceil(PARAMETERS / workers)
    seconds = 2 * (workers - 1) * (2 * LATENCY + piece / BANDWIDTH)
    total = steps * (COMPUTE_SECONDS + seconds)
    return Case(name, document(name, star(workers), steps, scheme), total, total)


def downpour(workers: int, steps: int) -> Case:
    """Pushes and fetches of 100 MB through the links of one server, which serves all workers at once.

    The server's link carries the parameters `steps` times to each worker. It is never idle for longer than the slowest
    worker computes and its push comes in, alone or with the others.
    """
    name = f"downpour {workers}"
    scheme = {"kind": "downpour", "servers": 1, "service": "concurrent", "workers": workers}
    scenario = document(name, star(workers + 1), steps, scheme, noise=LOG_NORMAL)
    carried = steps * workers * 4 * PARAMETERS / BANDWIDTH
    return Case(name, scenario, carried, 2 * carried + steps * (4 * COMPUTE_SECONDS + 4 * LATENCY))


CASES: dict[str, Callable[[], Case]] = {
    "ring-64": lambda: ring(64, 10),
    "ring-256": lambda: ring(256, 1),
    "ring-256-long": lambda: ring(256, 10),
    "downpour-16": lambda: downpour(16, 10),
    "downpour-256": lambda: downpour(256, 10),
}
"""What `python -m benchmarks.engine` can run."""
USUAL = ("ring-64", "ring-256", "downpour-256")
"""What it runs if no case is named."""
