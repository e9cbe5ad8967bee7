"""Leads whole collectives through the network: alone by one event, meeting others as trains or message by message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simpy.core import Environment

from parasim.simulation.network import Network
from parasim.simulation.play import Play
from parasim.simulation.trains import Train

if TYPE_CHECKING:
    from parasim.simulation.plan import Plan

__all__ = ["Conductor"]


class Conductor:
    """The collectives under way.

    Parameters
    ----------
    env, network
        Clock; links and cores.
    """

    def __init__(self, env: Environment, network: Network) -> None:
        self._env = env
        self._network = network
        self._under_way: dict[_Journey, None] = {}

    def start(self, plan: Plan, done: Callable[[float], None]) -> None:
        """Start a collective now; `done` is called at its end, with the time of this call."""
        journey = _Journey(plan, self._env.now, done)
        for other in self._under_way:
            if not journey.links.isdisjoint(other.links):
                journey.rivals.add(other)
                other.rivals.add(journey)
        self._under_way[journey] = None
        if plan.rehearsal is None:
            self._next_leg(journey, Train(plan.stretches))
        else:
            self._play(journey)

    def _end(self, journey: _Journey) -> None:
        del self._under_way[journey]
        for rival in journey.rivals:
            rival.rivals.discard(journey)
        journey.done(journey.started)

    def _alone(self, journey: _Journey) -> bool:
        return not journey.rivals and self._network.idle(journey.plan.links)

    # members in step -----------------------------------------------------------------------------------------------
    def _next_leg(self, journey: _Journey, train: Train) -> None:
        """Go on with a train: express if it is alone, else with its next leg; or end it."""
        leg = train.leg
        if leg is None:
            self._end(journey)
        elif train.between_rounds and self._alone(journey):
            left = self._env.now
            seconds = train.depart()
            self._network.express(
                journey.plan.links,
                seconds,
                lambda _: self._end(journey),
                lambda: self._meet(journey, train, self._env.now - left),
            )
        else:
            self._leg(journey, train, leg.pause, leg.amount)

    def _meet(self, journey: _Journey, train: Train, elapsed: float) -> None:
        """A train meets others: go on with the rest of the leg under way."""
        leg, since = train.stop(elapsed)
        moved = max(0.0, since - leg.pause) * leg.rate
        self._leg(journey, train, max(0.0, leg.pause - since), max(0.0, leg.amount - moved))

    def _leg(self, journey: _Journey, train: Train, pause: float, amount: float) -> None:
        leg = train.leg
        assert leg is not None

        def over(_: float) -> None:
            train.leg_over()
            self._next_leg(journey, train)

        self._network.flow(leg.links, leg.weights, amount, leg.rate, pause, over)

    # members each for themselves -----------------------------------------------------------------------------------
    def _play(self, journey: _Journey) -> None:
        rehearsal = journey.plan.rehearsal
        assert rehearsal is not None
        play = Play(
            self._env,
            self._network,
            journey.plan.steps,
            journey.plan.hosts,
            lambda: self._end(journey),
        )
        if not self._alone(journey):
            play.begin()
            return
        self._network.express(
            journey.plan.links,
            rehearsal.seconds,
            lambda _: self._end(journey),
            lambda: play.resume(rehearsal, self._env.now - journey.started),
        )


class _Journey:
    """A collective under way, and those under way that use links of its."""

    __slots__ = ("done", "links", "plan", "rivals", "started")

    def __init__(self, plan: Plan, started: float, done: Callable[[float], None]) -> None:
        self.plan = plan
        self.links = frozenset(plan.links)
        self.started = started
        self.done = done
        self.rivals: set[_Journey] = set()
