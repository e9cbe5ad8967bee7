"""The network: messages over directed links, max-min fair among those that share one.

A message takes the sum of its route's latencies, holding no bandwidth, and then flows. Alone, n bytes take n over the
smallest bandwidth of the route. Who shares with whom, and at what rates, is the business of
parasim/simulation/components.py, or of parasim/simulation/crowd.py where flows that share are many. Links that save up
what they don't send, as shapers do, are queues instead (parasim/simulation/queues.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf
from operator import attrgetter

from simpy.core import Environment
from simpy.events import Event

from parasim.cluster.cluster import Cluster
from parasim.simulation.alarm import Alarm, Burst, EndOfInstant, due
from parasim.simulation.buckets import Buckets
from parasim.simulation.components import Components
from parasim.simulation.crowd import FEW, MANY, WORTH, Crowd, compiled
from parasim.simulation.flows import Flow
from parasim.simulation.queues import Queues

__all__ = ["Network"]


class Network:
    """The links of a cluster in use.

    Parameters
    ----------
    env
        The simulation.
    cluster
        Links and routes.
    overhead
        Time that the end points add to each message (seconds) and to each of its bytes (seconds/byte), before it flows
        and holding no bandwidth.
    fast_paths
        May many flows that share links become a crowd?
    burst
        Told of messages that are delivered together.
    credit
        If not 0, links are queues that earn so many seconds (parasim/simulation/queues.py); for single messages only.

    Attributes
    ----------
    flows_started
        Number of messages so far.
    crowds
        How often flows became a crowd.
    """

    def __init__(
        self,
        env: Environment,
        cluster: Cluster,
        overhead: tuple[float, float] = (0.0, 0.0),
        *,
        fast_paths: bool = True,
        burst: Burst | None = None,
        credit: float = 0.0,
    ) -> None:
        self.flows_started = 0
        self._burst = burst or Burst()
        self.crowds = 0
        self.env = env
        self._path = cluster.path
        self._message_overhead, self._byte_overhead = overhead
        self._alarm = Alarm(env, self._ring)
        self._cores = len(cluster.links)
        self._capacities = [*cluster.bandwidths, *(float(host.cores) for host in cluster.hosts)]
        self._users: list[dict[Flow, None]] = [{} for _ in self._capacities]  # flows on each link, in order of arrival
        self._arrivals: list[tuple[float, int, Flow]] = []  # end of the latencies, number of the flow
        self._components = Components(self._capacities, self._users)
        self._crowd: Crowd | None = None
        self._crowded = 0  # solves of the crowds before this one
        self._may_crowd = fast_paths
        self._gathering = False
        self._expresses = 0
        self._weighted = 0  # flows that stand for several messages
        self._buckets = Buckets(self._capacities, self._users)
        self._queues = Queues(self._capacities, self._cores, credit) if credit else None

    @property
    def solves(self) -> int:
        """Number of times that shares were computed."""
        return self._components.solves + self._crowded + (self._crowd.solves if self._crowd else 0)

    def start(
        self,
        source: int,
        destination: int,
        nbytes: float,
        done: Callable[[float], None],
        latency: float | None = None,
        *,
        extra: float = 0.0,
        credit: float = 0.0,
        ends: tuple[int, ...] = (),
    ) -> float:
        """Start a message now; `done` is called at its delivery, with the time of this call.

        Deliveries at one instant are made in the order of the starts, and never before this returns.

        Parameters
        ----------
        source, destination
            Numbers of the hosts.
        nbytes
            Size; zero bytes take the latencies only.
        done
            Receives the time at which the message started, in seconds.
        latency
            Seconds before it flows, if not those of route and overheads.
        extra
            Seconds on top of them.
        credit
            Seconds of its narrowest links that it saves at most, if they are idle when it begins to flow: as much as
            they have paused since a message with credit was there. Where links are queues they know themselves.
        ends
            Links of its actors that it passes too: numbers that :meth:`end` replied.

        Returns
        -------
        float
            When it begins to flow.

        Raises
        ------
        ValueError
            If the size is negative.
        ScenarioError
            If no route joins the hosts.
        """
        if nbytes < 0:
            raise ValueError(f"a message must have 0 bytes or more, got {nbytes}")
        links, route_latency, bandwidth = self._path(source, destination)
        now = self.env.now
        if latency is None:
            latency = self._delay(route_latency, nbytes)
        latency += extra
        if ends:
            links = (*links, *ends)
            bandwidth = min(bandwidth, *(self._capacities[end] for end in ends))
        number = self.flows_started
        self.flows_started = number + 1
        arrival = now + latency
        flow = Flow(number, links, bandwidth, nbytes, now, done)
        flow.credit = credit
        heappush(self._arrivals, (arrival, number, flow))
        self._alarm.at(arrival, now)
        return arrival

    def latency(self, source: int, destination: int, nbytes: float = 0.0) -> float:
        """Seconds before a message between two hosts flows: the latencies of its route and the overheads of its ends.

        Raises
        ------
        ScenarioError
            If no route joins the hosts.
        """
        return self._delay(self._path(source, destination)[1], nbytes)

    def _delay(self, route_latency: float, nbytes: float) -> float:
        return route_latency + self._message_overhead + self._byte_overhead * nbytes

    @property
    def now(self) -> float:
        """Virtual seconds."""
        now: float = self.env.now
        return now

    def end(self, bandwidth: float) -> int:
        """Add a link that stands for an end point, of `bandwidth` bytes/s in and out together; replies with its number.

        All of them are added before the first message.
        """
        self._capacities.append(bandwidth)
        self._users.append({})
        self._components.add_link()
        return len(self._capacities) - 1

    def idle(self, links: Sequence[int]) -> bool:
        """Does nobody use any of these links now?"""
        return not any(self._users[link] for link in links)

    def core(self, host: int) -> int:
        """The link that stands for the cores of a host, for reductions that are part of collectives.

        It has their number as capacity; a flow of s seconds of work takes s seconds on a core of its own.
        """
        return self._cores + host

    def flow(
        self,
        links: tuple[int, ...],
        weights: tuple[float, ...],
        amount: float,
        rate: float,
        pause: float,
        done: Callable[[float], None],
    ) -> None:
        """Start many messages of one rate as one flow: `amount` each, at `rate` when alone, after `pause` seconds.

        `weights` says how many there are on each of `links`; the rest is as in :meth:`start`.
        """
        now = self.env.now
        number = self.flows_started
        self.flows_started = number + 1
        heappush(self._arrivals, (now + pause, number, Flow(number, links, rate, amount, now, done, weights)))
        self._alarm.at(now + pause, now)

    def express(
        self, links: tuple[int, ...], seconds: float, done: Callable[[float], None], met: Callable[[], None]
    ) -> None:
        """Take all of some idle links for so long, as whoever does so alone on them; then call `done`.

        When another flow comes to one of them, call `met` instead: the links are free then, and it starts what it still
        has to do.
        """
        now = self.env.now
        flow = Flow(self.flows_started, links, 0.0, 0.0, now, done)
        self.flows_started += 1
        flow.end, flow.met = now + seconds, met
        for link in links:
            self._users[link][flow] = None
        self._expresses += 1
        self._components.enter_alone(flow)
        self._alarm.at(flow.end, now)

    def _end_expresses(self, arrived: Sequence[Flow]) -> None:
        """Others have come to links that were taken."""
        users = self._users
        ended = {other: None for flow in arrived for link in flow.links for other in users[link] if other.met}
        for express in ended:
            assert express.met is not None
            assert express.component is not None
            self._expresses -= 1
            express.component.dissolve()
            for link in express.links:
                del users[link][express]
            express.met()

    def _ring(self) -> None:
        """Take out the flows that end, let in those whose latencies are over, deliver, and share anew."""
        now = self.env.now
        latest = due(now)
        ended = self._take_ended(now, latest) if self._first() <= latest else []
        if self._arrivals and self._arrivals[0][0] <= latest:
            ended += self._let_in(now, latest)
        if len(ended) > 1:
            ended.sort(key=attrgetter("number"))
        burst = self._burst
        burst.left += len(ended)
        for flow in ended:
            flow.component = None  # which knows the flow: no cycle is left to the garbage collector
            burst.left -= 1
            flow.done(flow.started)
        if (self._queues or self._crowd or self._components).changed and not self._gathering:
            if self.env.peek() > now:
                self._share()
            else:
                self._gathering = True
                EndOfInstant(self.env, self._end_instant)
        self._set_alarm(now)

    def _take_ended(self, now: float, latest: float) -> list[Flow]:
        if self._queues is not None:
            return self._queues.take_ended(now)
        ended = self._components.take_ended(now, latest)
        if self._crowd is not None:
            crowded = self._crowd.take_ended(latest)
            for flow in crowded:
                for link in flow.links:
                    del self._users[link][flow]
            ended += crowded
        for flow in ended:
            if flow.met is not None:
                self._expresses -= 1
            if flow.weights is not None:
                self._weighted -= 1
            if flow.credit:
                self._buckets.drain(flow, now)
        return ended

    def _let_in(self, now: float, latest: float) -> list[Flow]:
        """Put the flows that arrive on their links; returns those that carry nothing."""
        arrivals, users = self._arrivals, self._users
        arrived, empty = [], []
        while arrivals and arrivals[0][0] <= latest:
            flow = heappop(arrivals)[2]
            if self._queues is not None and flow.nbytes:
                self._queues.enter(flow, now)
                continue
            if flow.credit:
                self._buckets.spend(flow, now)
            if flow.nbytes:
                arrived.append(flow)
                for link in flow.links:
                    users[link][flow] = None
                if flow.weights is not None:
                    self._weighted += 1
            else:
                empty.append(flow)
        if self._expresses and arrived:
            self._end_expresses(arrived)
        if self._crowd is not None and self._weighted:
            self._disperse(now)
        if self._crowd is not None:
            for flow in arrived:
                self._crowd.enter(flow, flow.nbytes, now)
        else:
            for flow in arrived:
                self._components.enter(flow, now)
        return empty

    def _end_instant(self, _: Event) -> None:
        self._gathering = False
        self._share()
        self._set_alarm(self.env.now)

    def _share(self) -> None:
        """Solve what has changed, and see whether the flows have become many, or few."""
        now = self.env.now
        if self._queues is not None:
            self._queues.share(now)
        elif self._crowd is not None:
            self._crowd.share(now)
            if len(self._crowd) < FEW:
                self._disperse(now)
                self._components.share(now)
        elif self._components.changed:
            self._components.share(now)
            if self._components.largest >= MANY and self._components.solved > WORTH and self._may_crowd:
                self._gather(now)

    def _gather(self, now: float) -> None:
        """The flows become a crowd."""
        functions = compiled()
        if functions is None:
            self._may_crowd = False
        elif not self._weighted:
            self.crowds += 1
            self._crowd = Crowd(functions, self._capacities, self._components.dissolve(now), now)
            self._crowd.share(now)

    def _disperse(self, now: float) -> None:
        """The flows are few, or one of another kind has come: they go on as components, from the next solving on."""
        crowd, self._crowd = self._crowd, None
        assert crowd is not None
        self._crowded += crowd.solves
        for flow, left in crowd.flows(now):
            self._components.resume(flow, left, now)

    def _first(self) -> float:
        """When the next flow ends, or is done with a link."""
        if self._queues is not None:
            return self._queues.first
        first = self._components.first
        return first if self._crowd is None else min(first, self._crowd.first)

    def _set_alarm(self, now: float) -> None:
        """Ring at the next end or arrival."""
        first = self._first()
        arrivals = self._arrivals
        if arrivals and arrivals[0][0] < first:
            first = arrivals[0][0]
        if first < inf:
            self._alarm.at(first, now)
