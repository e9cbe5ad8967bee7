r"""The fat tree: levels of equal switches, with several cables up from each.

::

     core0    core1    core2    core3         k: 4. Aggregation switch 0 of every pod is joined to core0 and core1,
      ||  \\   ||  ...                         aggregation switch 1 to core2 and core3
     agg0     agg1   |  agg2     agg3  | ...
      ||   X   ||    |   ||   X   ||   |
    edge0    edge1   | edge2    edge3  | ...
     / \      / \    |  / \      / \   |
    0   1    2   3   | 4   5    6   7  | ...  hosts
        pod 0        |      pod 1      |

References
----------
M. Al-Fares, A. Loukissas, A. Vahdat, "A scalable, commodity data center network architecture", SIGCOMM 2008.
S. R. Öhring, M. Ibel, S. K. Das, M. J. Kumar, "On generalized fat trees", IPPS 1995.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.layers import Layers
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring
from parasim.errors import ScenarioError
from parasim.fields import check_fields, setting

__all__ = ["FatTree"]

_MAX_LEVELS = 8
_WORDS = {1: ("switch",), 2: ("leaf", "spine"), 3: ("edge", "agg", "core")}


@dataclass(frozen=True, slots=True)
class FatTree:
    """A three-level fat tree of switches with `k` ports, or any by its `children` and `parents` per level.

    `k` stands for children [k/2, k/2, k] and parents [1, k/2, k/2]: k pods of k/2 edge and k/2 aggregation switches,
    (k/2)^2 core switches, k^3/4 hosts, numbered pod by pod. In general `children` says how many nodes hang below a
    switch of each level, and `parents` to how many switches of it a node below is joined, from the hosts up: children
    [8, 4] and parents [1, 2] are 4 leaf switches of 8 hosts, all joined to 2 spine switches.

    Oversubscription is the ratio of what comes up to a switch from below to what it can send up. A list gives it for
    each level of switches with a level above, from the edge up; a number for the highest of these, where pods (leaves)
    meet the top, the others being 1. It makes the up-links of that level thinner: each gets the bandwidth of all
    down-links of its switch / up-links / ratio. Without it all cables are alike.

    Raises
    ------
    ScenarioError
        If `k` is odd, both forms or neither is given, lists do not fit together, or there are too many hosts.
    """

    kind: ClassVar[str] = "fat_tree"
    facts: ClassVar[Facts] = Facts({"k": "k", "oversubscription": "r"}, "k^3/4", "5 k^2/4", "3 N", "6", "N/2 B / r")
    k: int = setting("ports of every switch, even (0: by children and parents)", 0, ge=0, le=158)
    children: tuple[int, ...] = setting("nodes below a switch of each level, from the edge up", (), ge=1, le=MAX_HOSTS)
    parents: tuple[int, ...] = setting("switches of each level above a node, from the hosts up", (), ge=1, le=1024)
    oversubscription: float | tuple[float, ...] = setting(
        "traffic up to a switch over its capacity upwards: at the highest level, or a list from the edge up", ()
    )

    def __post_init__(self) -> None:
        check_fields(self, "fat_tree")
        if bool(self.k) == bool(self.children or self.parents):
            raise ScenarioError("fat_tree: give k: 4, or children: [8, 4] and parents: [1, 2]: one of the two")
        if self.k % 2:
            raise ScenarioError(f"fat_tree: k must be even, got {self.k}: half of a switch's ports lead up")
        if len(self.children) != len(self.parents) or len(self.children) > _MAX_LEVELS:
            raise ScenarioError(
                f"fat_tree: children has {len(self.children)} levels and parents {len(self.parents)}: give both as"
                f" many, 1 to {_MAX_LEVELS}"
            )
        layers = self._layers
        nodes = sum(map(layers.size, range(len(layers.children) + 1)))
        if nodes > MAX_HOSTS:
            raise ScenarioError(f"fat_tree: {layers.hosts} hosts and {nodes - layers.hosts} switches are too many")
        upper = len(layers.children) - 1
        ratios = self.oversubscription if isinstance(self.oversubscription, tuple) else (self.oversubscription,)
        for ratio in ratios:
            if not 1e-3 <= ratio <= 1e3:
                raise ScenarioError(f"fat_tree: oversubscription must be from 0.001 to 1000, got {ratio}")
        if not upper and ratios:
            raise ScenarioError("fat_tree: oversubscription needs two levels of switches or more")
        if isinstance(self.oversubscription, tuple) and len(ratios) not in (0, upper):
            raise ScenarioError(
                f"fat_tree: oversubscription has {len(ratios)} ratios: give {upper}, one for each level of switches"
                " with a level above it, from the edge up"
            )

    @property
    def hosts(self) -> int:
        """All leaves."""
        return self._layers.hosts

    @property
    def diameter(self) -> int:
        """Up to the highest level and down."""
        return self._layers.diameter

    def bisection(self, link: Link) -> float:
        """What half of the pods can send up (`Layers.bisection`)."""
        return self._layers.bisection(self._links(link))

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Switches level by level, from the edge up."""
        return self._layers.wiring(host, self._links(link))

    def places(self) -> list[Place]:
        """The core at the top."""
        return self._layers.places()

    @property
    def _layers(self) -> Layers:
        half = self.k // 2
        children = (half, half, self.k) if self.k else self.children
        parents = (1, half, half) if self.k else self.parents
        words = tuple(f"level{level}." for level in range(1, len(children) + 1))
        return Layers(children, parents, _WORDS.get(len(children), words))

    def _ratios(self) -> tuple[float, ...]:
        """Oversubscription of each level of switches below the top; empty if cables are all alike."""
        if isinstance(self.oversubscription, tuple):
            return self.oversubscription
        return (1.0,) * (len(self._layers.children) - 2) + (self.oversubscription,)

    def _links(self, link: Link) -> list[Link]:
        """Cables above each level, from the hosts' up."""
        layers = self._layers
        ratios = self._ratios()
        if not ratios:
            return [link] * len(layers.children)
        steps = [
            children / parents / ratio
            for children, parents, ratio in zip(layers.children, layers.parents[1:], ratios, strict=False)
        ]
        factors = itertools.accumulate([1.0, *steps], lambda below, step: below * step)
        return [replace(link, bandwidth=link.bandwidth * factor) for factor in factors]
