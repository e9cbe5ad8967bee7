"""The hypercube: hosts whose numbers differ in one binary digit are joined.

::

    000 <==> 001
     ^^       ^^
     vv       vv
    010 <==> 011          dimension: 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.topology import Facts, Place, Wiring, cables, named
from parasim.fields import check_fields, setting

__all__ = ["Hypercube"]

_AXES = ((1.0, 0.0), (0.0, -1.0), (0.35, 0.3))


@dataclass(frozen=True, slots=True)
class Hypercube:
    """2^dimension hosts, each with a cable to the hosts whose numbers differ from its own in one binary digit.

    Routes put digits right in order, the lowest first.

    Raises
    ------
    ScenarioError
        If the dimension is negative, or above 16.
    """

    kind: ClassVar[str] = "hypercube"
    facts: ClassVar[Facts] = Facts({"dimension": "d"}, "2^d", "0", "d N/2", "d", "N/2 B")
    dimension: int = setting("number of binary digits of a host: 2^dimension hosts", ge=0, le=16)

    def __post_init__(self) -> None:
        check_fields(self, "hypercube")

    @property
    def hosts(self) -> int:
        """One for every number of so many binary digits."""
        return 1 << self.dimension

    @property
    def diameter(self) -> int:
        """All digits differ."""
        return self.dimension

    def bisection(self, link: Link) -> float:
        """Each host of one half has one cable to the other."""
        return self.hosts // 2 * link.bandwidth

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Cables digit by digit, the lowest first; no switches."""
        ends = (
            (number, number | 1 << digit)
            for digit in range(self.dimension)
            for number in range(self.hosts)
            if not number >> digit & 1
        )
        return Wiring(named(host, self.hosts), (), cables(ends, link), self._route)

    def places(self) -> list[Place]:
        """Three digits make a cube; further ones repeat it, to the right and down in turn."""
        axes = [*_AXES]
        for digit in range(3, self.dimension):
            apart = 2.2 ** ((digit - 3) // 2)  # a little askew, so that no cable runs through a host
            axes.append((0.3 * apart, -2.2 * apart) if digit % 2 == 0 else (1.8 * apart, -0.35 * apart))
        return [
            (
                sum(axes[digit][0] for digit in range(self.dimension) if number >> digit & 1),
                sum(axes[digit][1] for digit in range(self.dimension) if number >> digit & 1),
            )
            for number in range(self.hosts)
        ]

    def _route(self, source: int, destination: int) -> list[int]:
        route = [source]
        for digit in range(self.dimension):
            if (source ^ destination) >> digit & 1:
                route.append(route[-1] ^ 1 << digit)
        return route
