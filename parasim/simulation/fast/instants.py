"""Computes that are too short to move the clock end at once, without an event.

It applies to a compute on a host where nothing else runs, when its longest possible time (noise and stragglers
included) is lost in rounding if added to the clock, and when nothing else is left to do at this instant: no actor is to
be stepped, no event is due, and nothing that ended together with what led here is still to be told.

It is exact because the event of its end would be at this instant, and the next to happen. Its random factor is not
drawn; draws are keyed, so that nobody else's change.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING

from simpy.core import Environment

from parasim.simulation.alarm import Burst

if TYPE_CHECKING:
    from parasim.program.ops import Kernel
    from parasim.runtime.actor import Actor
    from parasim.simulation.pace import Modelled
    from parasim.simulation.processors import Processor

__all__ = ["Instants"]


class Instants:
    """Tells which computes take no time.

    Parameters
    ----------
    env
        The simulation.
    burst
        What ended together and is still to be told.
    awake
        Actors that are still to be stepped.
    paces
        By rank: seconds of computes.
    """

    __slots__ = ("_awake", "_burst", "_env", "_most", "_paces")

    def __init__(self, env: Environment, burst: Burst, awake: Sized, paces: Sequence[Modelled]) -> None:
        self._env = env
        self._burst = burst
        self._awake = awake
        self._paces = paces
        self._most: list[float | None] = [None] * len(paces)  # of a rank: the largest factor of its noise

    def take(self, actor: Actor, kernel: Kernel, processor: Processor, now: float) -> bool:
        """Does a compute that starts now on this processor end now, before anything else happens?"""
        if self._burst.left or self._awake or actor.ready or processor.running:
            return False
        pace = self._paces[actor.rank]
        most = self._most[actor.rank]
        if most is None:
            most = self._most[actor.rank] = pace.most
        if now + pace.steady(kernel) * most != now or self._env.peek() <= now:
            return False
        pace.pass_over(kernel)
        return True
