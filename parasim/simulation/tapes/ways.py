"""The ways of all messages between workers and servers, as arrays, and the links that all those of a server share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.simulation.filling import Traffic, make_traffic
from parasim.simulation.tapes.shares import Shares, make_shares
from parasim.simulation.tapes.wires import Wires

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.cluster.cluster import Cluster
    from parasim.simulation.tapes.sheets import Seats

__all__ = ["make_wires"]


def make_wires(
    cluster: Cluster, placement: Sequence[int], seats: Seats, overhead: tuple[float, float]
) -> tuple[Wires, Shares, Traffic]:
    """Wires on which nothing moves.

    Parameters
    ----------
    cluster, placement, seats
        Where everybody sits.
    overhead
        Seconds per message and per byte at its end points, before it flows.
    """
    workers, servers = seats.workers, seats.servers
    pairs = workers * servers
    here = placement[seats.first_worker : seats.first_worker + workers]
    there = placement[seats.first_server : seats.first_server + servers]
    route, hops, latency, bandwidth = _routes(cluster, here, there)
    present = np.arange(route.shape[2]) < hops[:, :, None]
    bandwidths = np.array(cluster.bandwidths)
    hub_links, hub = _hubs(route, hops, workers, bandwidths)
    capacities = bandwidths[hub_links] if len(hub_links) else np.zeros(0)
    of_links = len(bandwidths)
    sides = bandwidths[np.setdiff1d(route[present], hub_links)]
    limits = (sides.min() if len(sides) else np.inf, capacities.max() if len(capacities) else 0.0, overhead[1])
    room = np.bincount(hub.ravel(), minlength=len(hub_links)) if len(hub_links) else np.zeros(0, np.int64)
    plain = np.zeros(len(capacities), np.int64)
    hubs = make_shares(capacities, capacities.copy(), room.astype(np.int64), np.zeros(0), plain, plain)
    apart = not set(np.unique(route[0][present[0]])) & set(np.unique(route[1][present[1]]))
    group = np.array([0, 1 if apart else 0], np.int32)
    groups = np.zeros((1 + apart, 4), np.int64)
    groups[:, 0] = not len(hub_links)
    crowds = np.zeros((1 + apart, pairs + 2), np.int32)
    crowds[:, 0] = of_links + 1
    hub_group = np.zeros(len(hub_links), np.int32)
    if apart and len(hub_links):
        hub_group[hub[1]] = 1
    small, reals, whole = np.zeros((5, pairs), np.int32), np.zeros((3, pairs)), np.zeros((2, pairs), np.int64)
    wires = Wires(
        numbers=np.zeros(7, np.int64), started=whole[0], nbytes=reals[0], way=small[0], keys=reals[1], orders=whole[1],
        waiting=small[1], ended=small[2], entering=small[3], meeting=small[4], group=group, groups=groups, route=route,
        hops=hops, latency=latency + overhead[0], bandwidth=bandwidth, hub=hub, users=np.zeros(of_links, np.int32),
        crowds=crowds, on_hub=np.zeros(len(capacities), np.int64), hub_group=hub_group, hub_capacity=capacities,
        limits=np.array(limits), tree=_tree(pairs), hub_tree=_tree(len(capacities)),
        lone=np.full(len(capacities), -1, np.int32), end=reals[2],
    )  # fmt: skip
    return wires, hubs, make_traffic(bandwidths, pairs, route.shape[2])


_Routes = tuple["NDArray[Any]", "NDArray[Any]", "NDArray[Any]", "NDArray[Any]"]
"""Of each way and each pair: links, number of links, latency, bandwidth."""


def _routes(cluster: Cluster, here: Sequence[int], there: Sequence[int]) -> _Routes:
    workers, servers = np.tile(here, len(there)), np.repeat(there, len(here))
    ways = [cluster.paths(*pairs) for pairs in ((workers, servers), (servers, workers))]
    links, counts, latency, bandwidth = zip(*ways, strict=True)
    hops = np.array(counts, np.int32)
    route = np.zeros((*hops.shape, int(hops.max())), np.int32)
    route[np.arange(route.shape[2]) < hops[:, :, None]] = np.concatenate(links)
    return route, hops, np.array(latency), np.array(bandwidth)


def _tree(leaves: int) -> NDArray[Any]:
    return np.full(2 << max(0, leaves - 1).bit_length(), np.inf)


def _hubs(
    route: NDArray[Any], hops: NDArray[Any], workers: int, bandwidths: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Links that all messages of a server share, each way, the narrowest of them; of each message, which it is.

    No links and -1 if some server has none, or a message would pass two. A message's hub is moved to the end of its
    route.
    """
    ways, pairs, width = route.shape
    chosen = np.zeros((ways, pairs // workers), np.int64)
    for way in range(ways):
        for server in range(pairs // workers):
            mine = slice(server * workers, (server + 1) * workers)
            links, lengths = route[way, mine], hops[way, mine]
            first = links[0, : lengths[0]]
            common = [
                link
                for link in first.tolist()
                if ((links == link) & (np.arange(width) < lengths[:, None])).any(1).all()
            ]
            if not common:
                return np.zeros(0, np.int64), np.full((ways, pairs), -1, np.int32)
            chosen[way, server] = min(common, key=lambda link: bandwidths[link])
    hub_links, which = np.unique(chosen, return_inverse=True)
    hub = np.repeat(which.reshape(ways, -1), workers, axis=1).astype(np.int32)
    is_hub = np.zeros(len(bandwidths), bool)
    is_hub[hub_links] = True
    present = np.arange(width) < hops[:, :, None]
    if ((is_hub[route] & present).sum(axis=2) != 1).any():
        return np.zeros(0, np.int64), np.full((ways, pairs), -1, np.int32)
    at = (is_hub[route] & present).argmax(axis=2)[:, :, None]
    last = hops[:, :, None].astype(np.int64) - 1
    ends = np.take_along_axis(route, last, 2)
    links = np.take_along_axis(route, at, 2)
    np.put_along_axis(route, at, ends, 2)
    np.put_along_axis(route, last, links, 2)
    return hub_links, hub
