"""The line: hosts joined to their neighbours.

::

    host 0 <==> host 1 <==> host 2 <==> host 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring, cables, named
from parasim.fields import check_fields, setting

__all__ = ["Line"]


@dataclass(frozen=True, slots=True)
class Line:
    """A cable between each host and the next; hosts forward.

    Raises
    ------
    ScenarioError
        If there is no host.
    """

    kind: ClassVar[str] = "line"
    facts: ClassVar[Facts] = Facts({"hosts": "N"}, "N", "0", "N-1", "N-1", "B")
    hosts: int = setting("number of hosts", ge=1, le=MAX_HOSTS)

    def __post_init__(self) -> None:
        check_fields(self, "line")

    @property
    def diameter(self) -> int:
        """From one end to the other."""
        return self.hosts - 1

    def bisection(self, link: Link) -> float:
        """One cable joins the halves."""
        return link.bandwidth if self.hosts > 1 else 0.0

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Cables in the order of the hosts."""
        ends = ((number, number + 1) for number in range(self.hosts - 1))
        return Wiring(named(host, self.hosts), (), cables(ends, link), _route)

    def places(self) -> list[Place]:
        """From left to right."""
        return [(float(number), 0.0) for number in range(self.hosts)]


def _route(source: int, destination: int) -> Sequence[int]:
    step = 1 if destination > source else -1
    return range(source, destination + step, step)
