"""The ring: a line whose ends are joined.

::

    host 0 <==> host 1
      ^^          ^^
      vv          vv
    host 3 <==> host 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.places import on_circle
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring
from parasim.cluster.torus import Torus
from parasim.fields import check_fields, setting

__all__ = ["Ring"]


@dataclass(frozen=True, slots=True)
class Ring:
    """A cable between each host and the next, and between the last and the first: a torus of one dimension.

    Routes go the shorter way round; exactly half-way, to even hosts upwards and to odd hosts downwards. Two hosts have
    one cable, not two.

    Raises
    ------
    ScenarioError
        If there is no host.
    """

    kind: ClassVar[str] = "ring"
    facts: ClassVar[Facts] = Facts({"hosts": "N"}, "N", "0", "N", "floor(N/2)", "2 B")
    hosts: int = setting("number of hosts", ge=1, le=MAX_HOSTS)

    def __post_init__(self) -> None:
        check_fields(self, "ring")

    @property
    def diameter(self) -> int:
        """Half-way round."""
        return self.hosts // 2

    def bisection(self, link: Link) -> float:
        """Two cables join the halves (one cable, of two hosts)."""
        return Torus((self.hosts,)).bisection(link)

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Cables in the order of the hosts, the closing one last."""
        return Torus((self.hosts,)).wiring(host, link)

    def places(self) -> list[Place]:
        """On a circle."""
        return on_circle(self.hosts)
