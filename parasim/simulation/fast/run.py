"""What collectives without messages know of the run that they are part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from parasim.simulation.fast.timetable import Place

if TYPE_CHECKING:
    from simpy.core import Environment

    from parasim.cluster.cluster import Cluster
    from parasim.runtime.actor import Actor
    from parasim.runtime.tasks import Envelope, Pending, Receipt
    from parasim.simulation.network import Network
    from parasim.simulation.pace import Modelled
    from parasim.simulation.processors import Processor

__all__ = ["Dissolved", "Run"]


class Dissolved(Exception):
    """A collective whose values are made at once would have to go on message by message."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A simulated run.

    Attributes
    ----------
    env, cluster, network, processors
        Clock; hosts and links; who moves messages; cores by host.
    actors, placement
        By rank: who, and the host of each.
    paces
        By rank: seconds of computes.
    overhead
        Seconds per message and per byte at each end.
    computed, delivered
        Called at the end of a reduction (actor, pending, start), and of a message (receiver, envelope, receipt, start).
    deliveries
        Messages delivered so far.
    go_on
        Called after programs have been told to go on.
    """

    env: Environment
    cluster: Cluster
    network: Network
    processors: Sequence[Processor]
    actors: Sequence[Actor]
    placement: Sequence[int]
    paces: Sequence[Modelled]
    overhead: tuple[float, float]
    computed: Callable[[Actor, Pending, float], None]
    delivered: Callable[[Actor, Envelope, Receipt, float], None]
    deliveries: Callable[[], int]
    go_on: Callable[[], None]

    @property
    def now(self) -> float:
        """Virtual seconds."""
        now: float = self.env.now
        return now

    def place(self, ranks: Sequence[int]) -> Place:
        """Where a group sits."""
        hosts = [self.placement[rank] for rank in ranks]
        return Place(self.cluster, hosts, [self.paces[rank] for rank in ranks], *self.overhead)

    def links(self, envelope: Envelope) -> tuple[int, ...]:
        """The links that a message takes."""
        return self.cluster.path(self.placement[envelope.source], self.placement[envelope.destination]).links

    def cores_left(self, host: int, taken: int) -> int:
        """Cores of a host that nobody uses, if `taken` are; 0 if cores cost each other and one is used."""
        processor, used = self.processors[host], self.processors[host].running + taken
        alike = all(factor == 1.0 for factor in self.cluster.hosts[host].contention)
        return processor.cores - used if alike else int(not used)

    def compute(self, actor: Actor, pending: Pending, start: float, left: float) -> None:
        """Go on with a compute that began at `start` and has `left` seconds to do."""
        processor = self.processors[self.placement[actor.rank]]
        processor.start(left, partial(self.computed, actor, pending, start))

    def move(self, envelope: Envelope, nbytes: float, latency: float, delivered: Callable[[float], None]) -> None:
        """Go on with a message: so many bytes, and seconds before they flow."""
        source, destination = self.placement[envelope.source], self.placement[envelope.destination]
        self.network.start(source, destination, nbytes, delivered, latency)
