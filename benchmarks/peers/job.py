"""A scenario as a job of the peer's program (`simgrid.cpp`): the same network, placement, pieces and compute times.

The peer knows no schemes, devices or laws of noise. It is told what they amount to: bytes, and the seconds that each
worker computes in each step, noise included. Optimiser updates and reductions must take no time worth mentioning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parasim.program.model import Part
    from parasim.scenario import Scenario

__all__ = ["compute_seconds", "job"]

_NOTHING = 1e-12
"""Seconds: shorter computes are left out."""
_PLAIN = {"service": "concurrent", "n_fetch": 1, "n_push": 1, "warm_start": 0, "zealous": 1}
"""Options of the Downpour that the peer knows."""


def job(scenario: Scenario) -> str:
    """The text of the job.

    Raises
    ------
    ValueError
        If the scenario is of a scheme or network that the peer's program does not have.
    """
    from parasim.program.kernels import backward_kernel
    from parasim.simulation.devices import kernel_seconds

    model, cluster, scheme = scenario.workload.model, scenario.cluster, scenario.scheme
    options = scheme.options
    mode, parts = _mode(scenario)
    kernels = [backward_kernel(part, scenario.workload.batch_size) for part in reversed(parts)]
    seconds = [kernel_seconds(cluster.device, kernel) for kernel in kernels]
    backward = [0.0 if taken < _NOTHING else taken for taken in seconds]
    if cluster.noise.kind != "none" and any(backward):
        raise ValueError(f"{scenario.name}: the peer has noise on forward passes only: make backward passes free")
    buckets = [(part.parameters, taken) for part, taken in zip(reversed(parts), backward, strict=True)]
    lines = [
        f"mode {mode}",
        f"network {_network(scenario)}",
        f"actors {options.workers} {getattr(options, 'servers', 0)}",
        f"hosts {_words(scenario.placement)}",
        f"steps {scenario.run.steps}",
        f"itemsize {model.itemsize}",
        f"buckets {len(buckets)} {_words(number for bucket in buckets for number in bucket)}",
        f"compute {_words(number for worker in compute_seconds(scenario) for number in worker)}",
    ]
    return "\n".join(lines) + "\n"


def compute_seconds(scenario: Scenario) -> list[list[float]]:
    """Seconds of the forward pass of every worker in every step, its noise included."""
    from parasim.program.kernels import forward_kernel
    from parasim.simulation.pace import modelled
    from parasim.study.build import build_cast, build_context

    cast = build_cast(scenario)
    _, parts = _mode(scenario)
    rows = []
    for rank in cast.groups["worker"].ranks:
        me = build_context(scenario, cast, rank, None)
        pace = modelled(scenario.cluster.device, scenario.cluster.noise, me.draws)
        batches = [me.batch(step) for step in me.steps()]
        kernels = [[forward_kernel(part, b.size, b.step, b.micro) for part in parts] for b in batches]
        rows.append([sum(pace(kernel, 0.0) for kernel in step) for step in kernels])
    return rows


def _mode(scenario: Scenario) -> tuple[str, tuple[Part, ...]]:
    """What the peer is to do, and the parts of the model that travel together."""
    scheme, model = scenario.scheme, scenario.workload.model
    options = scheme.options
    if scheme.name == "allreduce" and options.algorithm == "ring":
        least = options.bucket_bytes
        buckets = model.buckets(least, options.first_bucket_bytes or least)
        return ("overlap", buckets) if options.overlap else ("ring", (model.whole,))
    if scheme.name == "downpour" and all(getattr(options, name) == value for name, value in _PLAIN.items()):
        return "server", (model.whole,)
    raise ValueError(
        f"{scenario.name}: the peer has rings (allreduce) and servers (downpour with "
        f"{', '.join(f'{name}: {value}' for name, value in _PLAIN.items())}) only, got {scheme.name}"
    )


def _network(scenario: Scenario) -> str:
    topology, link = scenario.cluster.topology, scenario.cluster.link
    ends = f"{link.bandwidth!r} {link.latency!r}"
    if topology.kind == "star":
        return f"star {topology.hosts} {ends}"
    if topology.kind == "fat_tree" and topology.children and not topology.oversubscription:
        return f"fat {len(topology.children)} {_words(topology.children)} {_words(topology.parents)} {ends}"
    raise ValueError(
        f"{scenario.name}: the peer has stars, and fat trees by children and parents without oversubscription, only"
    )


def _words(numbers: Iterable[float]) -> str:
    return " ".join(map(repr, numbers))
