"""The devices and routes under a scenario's actors, as planning schemes ask for them; and do their plans fit?"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from parasim.learning.build import make_optimizer
from parasim.program.ops import Kernel
from parasim.program.scheme import Scheme
from parasim.program.setting import Planning, Route
from parasim.scenario.model import ClusterSpec, Optimizer, Workload
from parasim.simulation.devices import kernel_seconds
from parasim.units import format_quantity

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster

__all__ = ["ClusterGround", "make_plan"]


class ClusterGround:
    """The `parasim.program.setting.Ground` of a cluster where actors sit on these hosts; built when first asked."""

    def __init__(self, cluster: ClusterSpec, placement: Sequence[int], speeds: Mapping[int, float]) -> None:
        self._spec = cluster
        self._placement = placement
        self._speeds = speeds

    @functools.cached_property
    def _cluster(self) -> Cluster:
        return self._spec.build()

    def seconds(self, kernel: Kernel, rank: int) -> float:
        """Mean time of a kernel on an actor's device."""
        device = self._cluster.hosts[self._placement[rank]].device
        return kernel_seconds(device, kernel) / self._speeds.get(rank, 1.0)

    def memory(self, rank: int) -> float:
        """Bytes that its device has."""
        return self._cluster.hosts[self._placement[rank]].device.memory

    def route(self, source: int, destination: int) -> Route:
        """Of a message that nobody disturbs."""
        path = self._cluster.path(self._placement[source], self._placement[destination])
        overhead = self._spec.overhead
        return Route(path.latency + overhead.per_message, 1.0 / path.bandwidth + overhead.per_byte)


def make_plan(
    scheme: Scheme, workload: Workload, cluster: ClusterSpec, placement: Sequence[int], optimizer: Optimizer
) -> None:
    """Let a scheme plan; refuse a plan of which an actor holds more than its device does.

    Raises
    ------
    ValueError
        With the arithmetic of the actor that exceeds its device most.
    """
    roles = scheme.roles()
    firsts = [0, *itertools.accumulate(role.count for role in roles)]  # ranks
    speeds = {
        first + index: speed
        for first, role in zip(firsts, roles, strict=False)
        for index, speed in cluster.speeds.items()
        if role.name == "worker" and index < role.count
    }
    ground = ClusterGround(cluster, placement, speeds)
    setting = Planning(workload.model, max(workload.sizes), make_optimizer(*optimizer), ground)
    scheme.plan(setting)
    held = scheme.memory(setting)
    worst = max(range(len(held)), key=lambda rank: sum(held[rank].values()) / ground.memory(rank), default=None)
    if worst is not None and (total := sum(held[worst].values())) > (room := ground.memory(worst)):
        place = bisect.bisect_right(firsts, worst) - 1
        who = f"{roles[place].name} {worst - firsts[place]}"
        terms = " + ".join(f"{name} {format_quantity(nbytes, 'bytes', 4)}" for name, nbytes in held[worst].items())
        raise ValueError(
            f"{who} holds {terms} = {format_quantity(total, 'bytes', 4)}, its device has memory for "
            f"{format_quantity(room, 'bytes', 4)}: use more stages, smaller (micro-)batches or a larger device"
        )
