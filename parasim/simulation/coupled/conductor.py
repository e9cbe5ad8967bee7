"""Leads whole collectives through the network: alone by one event, meeting others as trains or message by message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from simpy.core import Environment
from simpy.events import Event

from parasim.simulation.alarm import EndOfInstant
from parasim.simulation.coupled.play import Play
from parasim.simulation.coupled.trains import Train
from parasim.simulation.network import Network

if TYPE_CHECKING:
    from parasim.simulation.coupled.plan import Plan

__all__ = ["Conductor", "Journey"]


_BEGUN = 1 - 1e-12
"""Fraction of a leg that is left when it has just begun."""


class Journey:
    """A collective that members have come to.

    Attributes
    ----------
    plan
        What it does.
    through
        Called with each member that may go on.
    entered
        Members that have come, in order.
    rivals
        Others under way that use links of its.
    """

    __slots__ = ("entered", "left", "links", "plan", "play", "rivals", "through")

    def __init__(self, plan: Plan, through: Callable[[int], None]) -> None:
        self.plan = plan
        self.through = through
        self.links = frozenset(plan.links)
        self.entered: list[int] = []
        self.left: set[int] = set()
        self.play: Play | None = None
        self.rivals: set[Journey] = set()


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
        self._under_way: dict[Journey, None] = {}

    def open(self, plan: Plan, through: Callable[[int], None]) -> Journey:
        """Make a collective that members can enter."""
        return Journey(plan, through)

    def enter(self, journey: Journey, member: int) -> None:
        """A member comes. With the last one it starts.

        Members need not wait for the last where others use their links, or where they do not keep step and come one by
        one: each begins when it comes, and goes on when it is through. (Unless that would be too many messages.)
        """
        journey.entered.append(member)
        everyone = len(journey.entered) == len(journey.plan.hosts)
        if journey.play is not None:
            journey.play.enter(member)
            return
        if len(journey.entered) == 1:
            self._register(journey)
            if not everyone:
                EndOfInstant(self._env, lambda _: self._go_without(journey))
        if everyone and journey.plan.rehearsal is None:
            self._next_leg(journey, Train(journey.plan.stretches))
        elif everyone and self._alone(journey):
            self._play_alone(journey)
        elif everyone:
            self._play_live(journey)

    def _register(self, journey: Journey) -> None:
        for other in self._under_way:
            if not journey.links.isdisjoint(other.links):
                journey.rivals.add(other)
                other.rivals.add(journey)
        self._under_way[journey] = None

    def _go_without(self, journey: Journey) -> None:
        """At the end of the instant in which the first has come: those that have, begin."""
        waiting = journey.play is None and len(journey.entered) < len(journey.plan.hosts)
        if waiting and journey.plan.steps and (journey.plan.rehearsal is not None or not self._alone(journey)):
            self._play_live(journey)

    def _alone(self, journey: Journey) -> bool:
        return not journey.rivals and self._network.idle(journey.plan.links)

    def _through(self, journey: Journey, member: int) -> None:
        """A member may go on, if it has not before; with the last one the collective is over."""
        if member in journey.left:
            return
        journey.left.add(member)
        if len(journey.left) == len(journey.plan.hosts):
            del self._under_way[journey]
            for rival in journey.rivals:
                rival.rivals.discard(journey)
        journey.through(member)

    def _all_through(self, journey: Journey) -> None:
        for member in range(len(journey.plan.hosts)):
            self._through(journey, member)

    # members in step -----------------------------------------------------------------------------------------------
    def _next_leg(self, journey: Journey, train: Train) -> None:
        """Go on with a train: express if it is alone, else with its next leg; or end it."""
        leg = train.leg
        if leg is None:
            self._all_through(journey)
        elif train.between_rounds and self._alone(journey):
            left = self._env.now
            seconds = train.depart()
            self._network.express(
                journey.plan.links,
                seconds,
                lambda _: self._all_through(journey),
                lambda: self._meet(journey, train, self._env.now - left),
            )
        elif journey.plan.steps:
            self._play(journey).take_over(*train.position, leg.pause, 1.0)
        else:
            self._leg(journey, train, leg.pause, leg.amount)

    def _meet(self, journey: Journey, train: Train, elapsed: float) -> None:
        """A train meets others: go on with the rest of the leg under way."""
        leg, since = train.stop(elapsed)
        pause = max(0.0, leg.pause - since)
        amount = max(0.0, leg.amount - max(0.0, since - leg.pause) * leg.rate)
        if journey.plan.steps:
            at, number = train.position
            left = min(amount / leg.amount, _BEGUN) if leg.amount else _BEGUN
            self._play(journey).take_over(at, number, pause, left)
        else:
            self._leg(journey, train, pause, amount)

    def _leg(self, journey: Journey, train: Train, pause: float, amount: float) -> None:
        leg = train.leg
        assert leg is not None

        def over(_: float) -> None:
            train.leg_over()
            self._next_leg(journey, train)

        self._network.flow(leg.links, leg.weights, amount, leg.rate, pause, over)

    # members each for themselves -----------------------------------------------------------------------------------
    def _play(self, journey: Journey) -> Play:
        plan = journey.plan
        journey.play = Play(
            self._env, self._network, plan.steps, plan.hosts, lambda member: self._through(journey, member)
        )
        return journey.play

    def _play_live(self, journey: Journey) -> None:
        """Others are there: go on with those that have come."""
        play = self._play(journey)
        for member in journey.entered:
            play.enter(member)

    def _play_alone(self, journey: Journey) -> None:
        """Take the links until the end that the rehearsal had, or until others come."""
        rehearsal = journey.plan.rehearsal
        assert rehearsal is not None
        started = self._env.now
        for seconds, members in rehearsal.early().items():
            self._env.timeout(seconds).callbacks.append(partial(self._early, journey, members))
        self._network.express(
            journey.plan.links,
            rehearsal.seconds,
            lambda _: self._all_through(journey),
            lambda: self._play(journey).resume(rehearsal, self._env.now - started),
        )

    def _early(self, journey: Journey, members: list[int], _: Event) -> None:
        """Members are through before the last, if all went as rehearsed."""
        if journey.play is None:
            for member in members:
                self._through(journey, member)
