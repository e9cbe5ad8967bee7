"""A whole run as a chorus, if it can be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parasim.errors import ParasimError
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.gathering import Coupled, Messages
from parasim.simulation.chorus.paces import Paces
from parasim.simulation.chorus.score import Score
from parasim.simulation.chorus.voice import Voice
from parasim.simulation.handling import handles

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster
    from parasim.program.cast import Cast
    from parasim.program.ops import Collective
    from parasim.simulation.chorus.score import Gatherer
    from parasim.simulation.coupled.plan import Plan
    from parasim.simulation.fast.timetable import Timetable
    from parasim.simulation.noise import NoiseLaw
    from parasim.simulation.stragglers import Straggler
    from parasim.trace.aggregate import Alike

__all__ = ["Stage", "Sung", "sing"]

_PLAIN_RESULTS = ("NoneType", "Buffer", "int", "float", "str", "bool")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where and how a run takes place, as `Engine` has it."""

    cluster: Cluster
    placement: Sequence[int]
    noise: NoiseLaw
    speeds: Mapping[int, float]
    stragglers: Mapping[int, Sequence[Straggler]]
    overhead: tuple[float, float]
    fidelity: str
    seed: int


@dataclass(frozen=True, slots=True)
class Sung:
    """What came of a run: sums of its actors; collectives by how they were simulated; what each program returned."""

    actors: list[Alike]
    collectives: dict[str, int] | None
    returned: Any


def sing(stage: Stage, cast: Cast, context: Callable[..., Any]) -> Sung:
    """Simulate all actors as one program.

    Parameters
    ----------
    stage
        The run.
    cast
        Who takes part.
    context
        Makes the first actor's context from a class and further arguments.

    Raises
    ------
    Distinguished
        If they have to be simulated one by one; it says why.
    """
    if len(cast.roles) != 1 or cast.roles[0].daemon or len(cast) < 2:
        raise Distinguished("there are several roles, or a daemon's, or one actor alone")
    if handles(stage.cluster.kinds.hosts):
        raise Distinguished("cores are busy with the handling of messages")
    if stage.fidelity not in ("message", "coupled"):
        raise Distinguished(f"fidelity {stage.fidelity} looks at each collective when it comes")
    role = cast.roles[0]
    devices = stage.cluster.devices(stage.placement)
    paces = Paces(stage.seed, role.name, *devices, stage.speeds, stage.noise, stage.stragglers)
    score = Score(paces, _gatherer(stage, cast, paces), _spare(stage))
    try:
        returned = score.run(role.program, context(Voice, before_step=score.before_step))
    except ParasimError as failure:  # errors are those of the actors one by one
        raise Distinguished(str(failure)) from failure
    if type(returned).__name__ not in _PLAIN_RESULTS:
        raise Distinguished(f"programs return a {type(returned).__name__}")
    actors = score.tallies.actors(role.name, len(cast), score.skipped)
    found = None if stage.fidelity == "message" else {"message": 0, "coupled": score.collectives}
    return Sung(actors, found, returned)


def _spare(stage: Stage) -> int:
    """Cores that each actor has to itself; 1 if they cost each other and one is used at most."""
    kinds, most = stage.cluster.kinds, len(stage.placement)
    crowds = Counter(stage.placement)
    for kind, actors in set(zip(kinds.of[list(crowds)].tolist(), crowds.values(), strict=True)):
        host = kinds.hosts[kind]
        alike = all(factor == 1.0 for factor in host.contention)
        most = min(most, host.cores // actors if alike else int(actors == 1))
    return most


def _gatherer(stage: Stage, cast: Cast, paces: Paces) -> Gatherer:
    hosts = tuple(stage.placement)

    def timetable(op: Collective) -> Timetable | None:
        from parasim.program.draws import Draws
        from parasim.simulation.fast.timetable import Place, make_timetable
        from parasim.simulation.pace import modelled

        own = [
            modelled(
                stage.cluster.hosts[host].device,
                stage.noise,
                Draws(stage.seed, cast.roles[0].name, rank),
                stage.speeds.get(rank, 1.0),
                stage.stragglers.get(rank, ()),
            )
            for rank, host in enumerate(hosts)
        ]
        return make_timetable(op, Place(stage.cluster, hosts, own, *stage.overhead))

    def plan(op: Collective) -> Plan:
        from parasim.simulation.coupled.plan import Setting, make_plan

        setting = Setting(stage.cluster, hosts, *paces.kinds(), *stage.overhead)
        return make_plan([op] * len(hosts), setting)

    return Messages(len(hosts), timetable) if stage.fidelity == "message" else Coupled(len(hosts), plan)
