r"""The balanced tree of switches, with hosts at its leaves.

::

                 root                       branching: 2, levels: 2
             //        \\
        leaf0            leaf1
        //  \\           //  \\
    host0  host1    host2  host3
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.layers import Layers
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring
from parasim.errors import ScenarioError
from parasim.fields import check_fields, setting

__all__ = ["Tree"]


@dataclass(frozen=True, slots=True)
class Tree:
    """Every switch has `branching` children; hosts hang at the switches of the lowest of `levels` levels.

    With `growth` 1 all cables are alike, and the one above a switch carries the traffic of all its hosts. Otherwise
    cables have `growth` times the bandwidth of those one level below; with `growth` = `branching` no level is a
    bottleneck (a fat tree in the sense of Leiserson 1985).

    Raises
    ------
    ScenarioError
        If a number is below its limit, or there are too many hosts.
    """

    kind: ClassVar[str] = "tree"
    facts: ClassVar[Facts] = Facts(
        {"branching": "b", "levels": "l"}, "b^l", "(N-1)/(b-1)", "N + switches - 1", "2 l", "b/2 B"
    )
    branching: int = setting("children of every switch", ge=1, le=MAX_HOSTS)
    levels: int = setting("levels of switches", ge=1, le=20)
    growth: float = setting("bandwidth of cables relative to those one level below", 1.0, ge=1e-3, le=1e3)

    def __post_init__(self) -> None:
        check_fields(self, "tree")
        if self.hosts > MAX_HOSTS:
            raise ScenarioError(f"tree: {self.branching}^{self.levels} = {self.hosts} hosts; the limit is {MAX_HOSTS}")

    @property
    def hosts(self) -> int:
        """All leaves."""
        return int(self.branching**self.levels)

    @property
    def diameter(self) -> int:
        """Up to the root and down."""
        return self._layers.diameter

    def bisection(self, link: Link) -> float:
        """Half of the root's cables, if they are even and no faster than what is below (`Layers.bisection`)."""
        return self._layers.bisection(self._links(link))

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Switches level by level, from the leaves up."""
        return self._layers.wiring(host, self._links(link))

    def places(self) -> list[Place]:
        """The root at the top."""
        return self._layers.places()

    @property
    def _layers(self) -> Layers:
        words = {1: (), 2: ("leaf",), 3: ("edge", "middle")}.get(
            self.levels, tuple(f"level{level}." for level in range(1, self.levels))
        )
        return Layers((self.branching,) * self.levels, (1,) * self.levels, (*words, "root"))

    def _links(self, link: Link) -> list[Link]:
        return [replace(link, bandwidth=link.bandwidth * self.growth**level) for level in range(self.levels)]
