"""The torus: a grid of hosts whose rows, columns ... are rings.

::

    0 = 1 = 2 = 3 = (0)         dimensions: [3, 4], numbered row by row; cables lead down and to the right, from the
    "   "   "   "               last row to the first and from the last column to the first
    4 = 5 = 6 = 7 = (4)
    "   "   "   "
    8 = 9 =10 =11 = (8)
    "   "   "   "
   (0) (1) (2) (3)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring, cables, named
from parasim.errors import ScenarioError
from parasim.fields import check_fields, setting

__all__ = ["Torus"]

_MAX_DIMENSIONS = 6
_AXES = ((0.0, -1.0), (1.0, 0.0), (0.38, 0.3))


@dataclass(frozen=True, slots=True)
class Torus:
    """Hosts on a grid of any number of dimensions, each joined to its two neighbours along each of them.

    Hosts are numbered row by row, the last dimension fastest. Along a dimension of extent 2 there is one cable, not two
    between the same hosts; a dimension of extent 1 has none. Routes are in dimension order: the first coordinate is
    put right first, the shorter way round; exactly half-way, to even coordinates upwards and to odd ones downwards.

    Raises
    ------
    ScenarioError
        If there is no dimension or more than six, an extent is below one, or there are too many hosts.
    """

    kind: ClassVar[str] = "torus"
    facts: ClassVar[Facts] = Facts(
        {"dimensions": "d1 d2 ..."}, "d1 d2 ...", "0", "N per extent > 2", "d1/2 + d2/2 + ...", "2 N / largest d B"
    )
    dimensions: tuple[int, ...] = setting("extents, as in [4, 4] or [4, 4, 4]", ge=1, le=MAX_HOSTS)

    def __post_init__(self) -> None:
        check_fields(self, "torus")
        if not 1 <= len(self.dimensions) <= _MAX_DIMENSIONS:
            raise ScenarioError(
                f"torus: dimensions has {len(self.dimensions)} extents: give 1 to {_MAX_DIMENSIONS}, as in [4, 4]"
            )
        if self.hosts > MAX_HOSTS:
            product = " x ".join(map(str, self.dimensions))
            raise ScenarioError(f"torus: dimensions make {product} = {self.hosts} hosts; the limit is {MAX_HOSTS}")

    @property
    def hosts(self) -> int:
        """Product of the extents."""
        return math.prod(self.dimensions)

    @property
    def diameter(self) -> int:
        """Half-way round in every dimension."""
        return sum(extent // 2 for extent in self.dimensions)

    def bisection(self, link: Link) -> float:
        """Cables across a plane that halves the torus, times their bandwidth.

        Across a dimension of extent k run 2 N/k cables (N/2, if k is 2). Where that extent is odd, the layer in the
        middle has to be halved in turn, across the dimension that comes next, until an even one is met (Azizoglu and
        Egecioglu, "The isoperimetric number and the bisection width of generalized cylinders", 2003).
        """
        sides = [(extent, 1 if extent == 2 else 2) for extent in self.dimensions if extent > 1]
        sides.sort(key=lambda side: side[0] / side[1], reverse=True)
        area = self.hosts
        crossing = 0
        for extent, cables_across in sides:
            area //= extent
            crossing += cables_across * area
            if extent % 2 == 0:
                break
        return crossing * link.bandwidth

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Cables dimension by dimension; no switches."""
        return Wiring(named(host, self.hosts), (), cables(self._cables(), link), self._route)

    def places(self) -> list[Place]:
        """On a grid: rows down, columns to the right, a third dimension askew, further ones as panels."""
        axes = [*_AXES]
        if len(self.dimensions) == 1:
            axes = [(1.0, 0.0)]
        width = height = 1.0
        for number, extent in enumerate(self.dimensions):
            if number >= len(axes):
                axes.append((width + 0.8, 0.0) if number % 2 else (0.0, -height - 0.8))
            width += (extent - 1) * abs(axes[number][0])
            height += (extent - 1) * abs(axes[number][1])
        coordinates = itertools.product(*map(range, self.dimensions))
        used = axes[: len(self.dimensions)]
        return [
            (
                sum(step * axis[0] for step, axis in zip(at, used, strict=True)),
                sum(step * axis[1] for step, axis in zip(at, used, strict=True)),
            )
            for at in coordinates
        ]

    def _strides(self) -> Iterator[tuple[int, int]]:
        """Extent of each dimension, and by how much a step along it changes the number of a host."""
        stride = self.hosts
        for extent in self.dimensions:
            stride //= extent
            yield extent, stride

    def _cables(self) -> Iterator[tuple[int, int]]:
        for extent, stride in self._strides():
            for number in range(self.hosts):
                at = number // stride % extent
                if at + 1 < extent:
                    yield number, number + stride
                elif extent > 2:
                    yield number, number - at * stride

    def _route(self, source: int, destination: int) -> list[int]:
        route = [source]
        for extent, stride in self._strides():
            at, to = source // stride % extent, destination // stride % extent
            ahead = (to - at) % extent
            upward = 2 * ahead < extent or (2 * ahead == extent and to % 2 == 0)
            for _ in range(ahead if upward else extent - ahead if ahead else 0):
                following = (at + (1 if upward else -1)) % extent
                route.append(route[-1] + (following - at) * stride)
                at = following
        return route
