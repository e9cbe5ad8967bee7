"""A run of asynchronous workers and servers, from their programs to the sums of its trace.

When it applies: one role of workers, and one of servers that are daemons and end with them, whose programs can be
recorded (recording.py, services.py) and make `WORTH` requests; only sums are kept of the trace, no values are carried,
messages are simulated one by one and handled at no cost, and no rule slows down anybody for a while.

Why it is exact: the loop (playing.py) does what the actors would do one by one, at the same instants and in the same
order, and adds up what their rows would add up to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.errors import ParasimError
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.paces import Paces
from parasim.simulation.crowd import compiled
from parasim.simulation.handling import handles
from parasim.simulation.tapes.contexts import AnyWorker, Server
from parasim.simulation.tapes.recording import WorkerTape
from parasim.simulation.tapes.services import ServerTape

if TYPE_CHECKING:
    from parasim.program.cast import Cast, Role
    from parasim.simulation.chorus.sing import Stage
    from parasim.simulation.tapes.sheets import Seats
    from parasim.trace.aggregate import Alike

__all__ = ["WORTH", "Performed", "perform"]

WORTH = 4_000
"""Requests, simulated one by one in some second; fewer are not worth loading compiled functions."""


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of a run: sums of its actors; events of the loop; what each program returned."""

    actors: list[Alike]
    events: int
    returned: list[Any]


def perform(stage: Stage, cast: Cast, context: Callable[..., Any]) -> Performed:
    """Simulate from tapes.

    Parameters
    ----------
    stage
        The run.
    cast
        Who takes part.
    context
        Makes the context of an actor, of its rank, from a class and further arguments.

    Raises
    ------
    Distinguished
        If the actors have to be simulated one by one; it says why.
    """
    team, crew = _team_and_crew(cast)
    if handles(stage.cluster.kinds.hosts):
        raise Distinguished("cores are busy with the handling of messages")
    if stage.stragglers or stage.fidelity != "message":
        raise Distinguished("there are stragglers" if stage.stragglers else "fidelity is not message")
    first_worker, first_server = (
        next(actor.rank for actor in cast if actor.role is role) for role in (team, crew)
    )  # fmt: skip
    for role, first in ((team, first_worker), (crew, first_server)):
        if cast.groups[role.name].ranks != tuple(range(first, first + role.count)):
            raise Distinguished("ranks of a role do not follow each other")
    try:
        make = partial(context, Server, clients=team.name)
        ranks = range(first_server, first_server + crew.count)
        servers = [ServerTape(crew.program, partial(make, rank), team.count) for rank in ranks]
        worker = WorkerTape(team.program, context(AnyWorker, first_worker), servers, first_server)
        for server in servers:
            server.close()
        if any(server.each != servers[0].each for server in servers):
            raise Distinguished("servers serve in different ways")
        requests = sum(worker.requests.values()) * team.count
        if requests < WORTH:
            raise Distinguished(f"{requests:,} requests are not worth it, {WORTH:,} are")
        if compiled() is None:
            raise Distinguished("numba is not there")
        from parasim.simulation.tapes.sheets import Seats

        seats = Seats(first_worker, team.count, first_server, crew.count)
        played = _play(stage, worker, servers, seats, team.name, crew.name)
    except ParasimError as failure:  # errors are those of the actors one by one
        raise Distinguished(str(failure)) from failure
    if played is None:
        raise Distinguished("the loop came to no end")
    actors, events = played
    returned = [server.returned for server in servers]
    mine = [worker.returned] * team.count
    return Performed(actors, events, [*mine, *returned] if first_worker < first_server else [*returned, *mine])


def _team_and_crew(cast: Cast) -> tuple[Role, Role]:
    """The workers' role, and that of servers who end with them."""
    if len(cast.roles) == 2:
        team, crew = sorted(cast.roles, key=lambda role: role.daemon)
        if crew.daemon and not team.daemon and crew.count and team.count > 1:
            return team, crew
    raise Distinguished("the roles are not several workers and their servers")


def _play(
    stage: Stage, worker: WorkerTape, servers: Sequence[ServerTape], seats: Seats, team: str, crew: str
) -> tuple[list[Alike], int] | None:
    from parasim.simulation.tapes.clock import make_clock
    from parasim.simulation.tapes.playing import play
    from parasim.simulation.tapes.shares import make_shares
    from parasim.simulation.tapes.sheets import make_company, make_sheets
    from parasim.simulation.tapes.sums import actors_of
    from parasim.simulation.tapes.ways import make_wires

    hosts = stage.cluster.hosts
    devices = stage.cluster.devices(stage.placement[seats.first_worker :][: seats.workers])
    speeds = {rank - seats.first_worker: speed for rank, speed in stage.speeds.items()}
    paces = Paces(stage.seed, team, *devices, speeds, stage.noise, {})
    parts = make_sheets(worker, servers, seats, stage, paces, crew)
    company = make_company(parts, seats, stage)
    wires, hubs, traffic = make_wires(stage.cluster, stage.placement, seats, stage.overhead)
    slow = [host.contention[: host.cores] if any(factor != 1.0 for factor in host.contention) else () for host in hosts]
    sizes = np.array([len(factors) for factors in slow])
    lanes = len(company.lanes) // seats.servers
    jobs = np.bincount(stage.placement[: len(company.ranks)], minlength=len(hosts))
    jobs += (lanes - 1) * np.bincount(stage.placement[seats.first_server :][: seats.servers], minlength=len(hosts))
    cores = np.array([float(host.cores) for host in hosts])
    shares = make_shares(
        cores, np.ones(len(hosts)), jobs, np.array([factor for factors in slow for factor in factors], float),
        np.cumsum(sizes) - sizes, sizes,
    )  # fmt: skip
    events = play(parts.sheets, company, wires, hubs, traffic, shares, make_clock(len(hosts), len(company.pairs)))
    through = company.numbers[2] == seats.workers and company.lanes["idle"].all()
    if events < 0 or not through:
        return None
    return actors_of(company, worker, servers, seats, (team, crew)), int(events)
