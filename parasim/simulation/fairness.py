"""Max-min fair shares of link capacity, by progressive filling.

All rates grow together from zero; when a link is full, the flows on it keep the rate they have reached, and the others
grow on (Bertsekas and Gallager 1992, section 6.5.2). A pure function on lists of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

__all__ = ["max_min"]

_TIE = 1.0 + 1e-12
"""Links whose shares differ by less are full at once: equal flows get equal rates to the last bit."""


def max_min(capacities: Sequence[float], routes: Sequence[Sequence[int]]) -> list[float]:
    """Rate of each flow.

    Parameters
    ----------
    capacities
        Of each link, bytes/s, above zero.
    routes
        Of each flow: the links it uses, at least one and none twice.

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
    growing = [len(flows) for flows in flows_on]
    heap = [(left[link] / count, link) for link, count in enumerate(growing) if count]
    heapify(heap)
    rates = [-1.0] * len(routes)
    level = 0.0
    while heap:
        known, link = heappop(heap)
        count = growing[link]
        if not count:
            continue
        share = left[link] / count
        if share > known:  # flows have stopped since: shares only rise, so look again in its turn
            heappush(heap, (share, link))
            continue
        if share > level * _TIE:
            level = share
        for flow in flows_on[link]:
            if rates[flow] < 0.0:
                rates[flow] = level
                for used in routes[flow]:
                    left[used] -= level
                    growing[used] -= 1
    return rates
