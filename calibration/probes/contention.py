"""Probe of what computes cost each other on the cores of one host: caches, memory and clock are shared.

Ranks of the executor compute the same chains side by side: the given scenarios' own, or else those of two reference
networks, one bound by arithmetic and one by memory. Right before, one rank does so alone, in a run of its own: cores
that compute cost each other clock and caches for longer than they do compute. Measured on two cores, a rank whose
neighbour paused every other pass (or every other 25 ms) took 9 to 17 % longer than one whose neighbour never computed,
and as long as while both did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calibration.probes.blocks import chains, timed
from calibration.probes.record import Observation, Task

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["REFERENCES", "numbers_of_cores", "probe_contention", "reference"]

REFERENCES = {
    "arithmetic": ({"kind": "mlp", "width": 512, "depth": 4}, 128),
    "memory": ({"kind": "mlp", "width": 2048, "depth": 4}, 1),
}
"""Model and batch size: matrices that the caches hold, used 128 times; 34 MB of weights, each used once."""


def probe_contention(task: Task) -> Iterator[Observation]:
    """Chains of the scenarios that have data (of the references without any) on 1, 2, 4 ... and all cores."""
    scenarios = _in_turn(list(_networks(task)), task.round)
    numbers = numbers_of_cores(len(os.sched_getaffinity(0)))
    for scenario in scenarios:
        found = chains(scenario)
        for ranks in numbers:
            seconds = task.budget / (len(scenarios) * len(numbers) * len(found))
            yield from timed("contention", task, scenario, found, ranks, seconds)


def _networks(task: Task) -> Iterator[Scenario]:
    """A scenario for each network and batch size; the references if none is given."""
    known = set()
    for scenario in task.scenarios:
        workload = scenario.workload
        key = (workload.model_kind, repr(workload.model_options), workload.batch_size)
        if workload.data is not None and key not in known:
            known.add(key)
            yield scenario
    if not known:
        yield from map(reference, REFERENCES)


def _in_turn(scenarios: list[Scenario], number: int) -> list[Scenario]:
    """Two of them in each round, as starting ranks takes longer than computing; all in odd rounds, and in even ones."""
    first = number // 2 * _A_ROUND
    return [scenarios[(first + k) % len(scenarios)] for k in range(min(_A_ROUND, len(scenarios)))]


_A_ROUND = 2


def numbers_of_cores(cores: int) -> list[int]:
    """1, 2, 4 ... and all of them."""
    powers = [2**k for k in range(cores.bit_length()) if 2**k < cores]
    return [*powers, cores]


def reference(name: str) -> Scenario:
    """A reference network on the digits, as a scenario of one worker."""
    from parasim.scenario import from_document

    model, samples = REFERENCES[name]
    document: dict[str, Any] = {
        "name": f"reference {name}",
        "workload": {"model": dict(model), "batch_size": samples, "data": {"kind": "digits"}},
        "cluster": {
            "topology": {"kind": "star", "hosts": 1},
            "device": {"flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"},
            "link": {"bandwidth": "1 Gbit/s"},
        },
        "scheme": {"kind": "sequential"},
        "run": {"steps": 1},
    }
    return from_document(document)
