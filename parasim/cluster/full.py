r"""The full mesh: a cable between any two hosts.

::

    host 0 <==> host 1
      ^^  \\  //  ^^
      ||    XX    ||
      vv  //  \\  vv
    host 2 <==> host 3
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.places import on_circle
from parasim.cluster.topology import Facts, Place, Wiring, named
from parasim.fields import check_fields, setting

__all__ = ["Full"]


@dataclass(frozen=True, slots=True)
class Full:
    """Every host has a cable to every other.

    Raises
    ------
    ScenarioError
        If there is no host, or more than 1,500 (a million cables).
    """

    kind: ClassVar[str] = "full"
    facts: ClassVar[Facts] = Facts({"hosts": "N"}, "N", "0", "N(N-1)/2", "1", "floor(N/2) ceil(N/2) B")
    hosts: int = setting("number of hosts", ge=1, le=1500)

    def __post_init__(self) -> None:
        check_fields(self, "full")

    @property
    def diameter(self) -> int:
        """One link joins any two hosts."""
        return 1 if self.hosts > 1 else 0

    def bisection(self, link: Link) -> float:
        """Each host of one half has a cable to each of the other."""
        return (self.hosts // 2) * (self.hosts - self.hosts // 2) * link.bandwidth

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Links in the order of the hosts from which they lead; no switches."""
        links = dict.fromkeys(itertools.permutations(range(self.hosts), 2), link)  # fast, as there may be two million
        return Wiring(named(host, self.hosts), (), links, _route)

    def places(self) -> list[Place]:
        """On a circle."""
        return on_circle(self.hosts)


def _route(source: int, destination: int) -> tuple[int, int]:
    return source, destination
