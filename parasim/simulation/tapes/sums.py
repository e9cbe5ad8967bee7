"""From what was played to the sums of the trace of each actor.

Why it is exact: what is added is what parasim/trace/actor.py adds for the rows; where the time goes follows the rules
of parasim/trace/lanes.py: a worker waits for all its talks at once, so what moves in a wait is transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.tapes.totals import SUMS, Totals
from parasim.trace.actor import ActorTotals
from parasim.trace.aggregate import Alike
from parasim.trace.lanes import KnownTimes

if TYPE_CHECKING:
    from parasim.simulation.tapes.company import Company
    from parasim.simulation.tapes.recording import WorkerTape
    from parasim.simulation.tapes.services import ServerTape
    from parasim.simulation.tapes.sheets import Seats

__all__ = ["actors_of"]


def actors_of(
    company: Company, worker: WorkerTape, servers: Sequence[ServerTape], seats: Seats, roles: tuple[str, str]
) -> list[Alike]:
    """The sums of all actors, each by itself; `roles` are the names of the workers' and of the servers'."""
    actors = []
    for index in range(seats.workers):
        rank = company.ranks[seats.first_worker + index]
        own = company.workers[index]
        times = float(rank["computed"]), float(own["waited"]), float(rank["computed"]), float(rank["moved"])
        actors.append(_actor(seats.first_worker + index, roles[0], index, worker.totals, rank, times))
    layer_peers = _layers(servers)
    ends = np.append(company.servers["noted"], 0)
    begins = np.roll(ends, 1)
    for index, server in enumerate(servers):
        totals = Totals()
        totals.add(server.opening, 1)
        totals.held, totals.peaks = server.opening.held, server.opening.peaks
        for request, service in server.services.items():
            totals.add(service.totals, worker.requests.get((index, request), 0) * seats.workers)
        totals.sums["num_rows"] += len(server.idle) + (seats.workers if server.each else 1)
        rank = company.ranks[seats.first_server + index]
        busy = float(rank["computed"]), float(rank["moved"])
        times = (0.0, 0.0, *busy) if server.each else (*busy, *busy)
        actor = _actor(seats.first_server + index, roles[1], index, totals, rank, times)
        actor.updates = int(company.servers[index]["updates"])
        if layer_peers is not None:
            _note(actor, company, seats, slice(int(begins[index]), int(ends[index])), *layer_peers)
        actors.append(actor)
    return [Alike(actor, (actor.rank,)) for actor in actors]


def _actor(rank: int, role: str, index: int, totals: Totals, record: Any, times: tuple[float, ...]) -> ActorTotals:
    actor = ActorTotals(rank, role, index, KnownTimes(*times))
    for name in SUMS:
        setattr(actor, name, totals.sums[name])
    actor.end = float(record["end"])
    actor.last_step = actor.end if actor.steps else 0.0  # a worker ends with its last step
    actor.peak_bytes = totals.peaks[""]
    actor.peak_bytes_of = {part: peak for part, peak in totals.peaks.items() if part}
    return actor


def _layers(servers: Sequence[ServerTape]) -> tuple[str, bool] | None:
    """The layer of which gradients are applied, and whether they are said to be those of workers; None: none are.

    Raises
    ------
    Distinguished
        If there are several.
    """
    services = [service for server in servers for service in server.services.values()]
    layers = {layer for service in services for layer in service.layers}
    peers = {peer for service in services for peer in service.peers}
    if len(layers) > 1 or len(peers) > 1:
        raise Distinguished("gradients of several layers are applied")
    return (layers.pop(), peers.pop()) if layers else None


def _note(actor: ActorTotals, company: Company, seats: Seats, where: slice, layer: str, workers: bool) -> None:
    """The staleness of the gradients that a server has applied."""
    stale, whose = company.stale[where].astype(np.int64), company.whose[where].astype(np.int64)
    if not len(stale):
        return
    low = int(stale.min())
    width = int(stale.max()) - low + 1
    found, counts = np.unique((whose * width if workers else 0) + (stale - low), return_counts=True)
    peers, firsts = np.unique(found // width, return_index=True)
    values, times, lasts = (found % width + low).tolist(), counts.tolist(), [*firsts[1:].tolist(), len(found)]
    for peer, first, last in zip(peers.tolist(), firsts.tolist(), lasts, strict=True):
        key = (seats.first_worker + peer if workers else actor.rank, layer)
        actor.staleness[key] = dict(zip(values[first:last], times[first:last], strict=True))
