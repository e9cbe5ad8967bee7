"""Max-min fair shares of link capacity, by progressive filling.

All rates grow together from zero; when a link is full, the flows on it keep the rate they have reached, and the others
grow on (Bertsekas and Gallager 1992, section 6.5.2). A flow may stand for many messages of one rate: it then counts on
each of its links as often as it has messages there. A pure function on lists of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import repeat

__all__ = ["max_min"]

_TIE = 1.0 + 1e-12
"""Links whose shares differ by less are full at once: equal flows get equal rates to the last bit."""


def max_min(
    capacities: Sequence[float],
    routes: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float] | None] | None = None,
) -> list[float]:
    """Rate of each flow.

    Parameters
    ----------
    capacities
        Of each link, bytes/s, above zero.
    routes
        Of each flow: the links it uses, at least one and none twice.
    weights
        Of each flow: how many messages of its rate it has on each link of its route (None: one).

    Returns
    -------
    list of float
        Bytes/s. No link carries more than its capacity (to 1e-12 of it); every flow has a full link on which
        no other flow is faster.
    """
    flows_on: list[list[int]] = [[] for _ in capacities]
    for flow, route in enumerate(routes):
        for link in route:
            flows_on[link].append(flow)
    left = list(capacities)
    unfrozen = [len(flows) for flows in flows_on]
    growing: list[float] = unfrozen if weights is None else _growing(unfrozen, routes, weights)  # type: ignore[assignment]
    heap = [(left[link] / growing[link], link) for link, count in enumerate(unfrozen) if count]
    heapify(heap)
    rates = [-1.0] * len(routes)
    level = 0.0
    while heap:
        known, link = heappop(heap)
        if not unfrozen[link]:
            continue
        share = left[link] / growing[link]
        if share > known:  # flows have stopped since: shares only rise, so look again in its turn
            heappush(heap, (share, link))
            continue
        if share > level * _TIE:
            level = share
        for flow in flows_on[link]:
            if rates[flow] < 0.0:
                rates[flow] = level
                if weights is None:
                    for used in routes[flow]:
                        left[used] -= level
                        unfrozen[used] -= 1
                else:
                    for used, messages in zip(routes[flow], weights[flow] or repeat(1.0), strict=False):
                        left[used] -= level * messages
                        growing[used] -= messages
                        unfrozen[used] -= 1
    return rates


def _growing(
    counts: Sequence[int], routes: Sequence[Sequence[int]], weights: Sequence[Sequence[float] | None]
) -> list[float]:
    """How many messages there are on each link."""
    growing: list[float] = list(counts)
    for route, weight in zip(routes, weights, strict=True):
        if weight is not None:
            for link, messages in zip(route, weight, strict=True):
                growing[link] += messages - 1.0
    return growing
