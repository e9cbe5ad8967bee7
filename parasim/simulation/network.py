"""The network: messages over directed links, max-min fair among those that share one.

A message takes the sum of its route's latencies, holding no bandwidth, and then flows. Alone, n bytes take n over the
smallest bandwidth of the route. What starts and ends at one instant is gathered, and then the shares are
solved once, for the connected components of flows that the changes touch: flows are connected when they have a link in
common. Flows that only join or leave a hub need no solving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from operator import attrgetter

from simpy.core import Environment
from simpy.events import Event

from parasim.cluster.cluster import Cluster
from parasim.simulation.alarm import Alarm, EndOfInstant, due
from parasim.simulation.buckets import Buckets
from parasim.simulation.fairness import max_min
from parasim.simulation.flows import Component, Flow, Hub

__all__ = ["Network"]


class Network:
    """The links of a cluster in use.

    Parameters
    ----------
    env
        The simulation.
    cluster
        Links and routes.
    message_overhead, byte_overhead
        Time that the end points add to each message (seconds) and to each of its bytes (seconds/byte), before it flows
        and holding no bandwidth.

    Attributes
    ----------
    flows_started
        Number of messages so far.
    solves
        Number of times that shares were computed.
    """

    def __init__(
        self, env: Environment, cluster: Cluster, *, message_overhead: float = 0.0, byte_overhead: float = 0.0
    ) -> None:
        self.flows_started = 0
        self.solves = 0
        self._env = env
        self._path = cluster.path
        self._message_overhead = message_overhead
        self._byte_overhead = byte_overhead
        self._alarm = Alarm(env, self._ring)
        self._cores = len(cluster.links)
        self._capacities = [*cluster.bandwidths, *(float(host.cores) for host in cluster.hosts)]
        self._users: list[dict[Flow, None]] = [{} for _ in self._capacities]  # flows on each link, in order of arrival
        self._arrivals: list[tuple[float, int, Flow]] = []  # end of the latencies, number of the flow
        self._ends: list[tuple[float, int, Component | Hub]] = []  # deadlines as they were noted; stale if changed
        self._expected = 0
        self._hubs: list[Hub | None] = [None for _ in self._capacities]
        self._touched: list[int] = []  # links whose flows have changed at this instant
        self._gathering = False
        self._expresses = 0
        self._sweep = 0
        self._buckets = Buckets(self._capacities, self._users)
        self._seen = [0] * len(self._capacities)  # the last sweep that came by
        self._numbers = [0] * len(self._capacities)  # number of a link in that sweep's component

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
            they have paused since a message with credit was there.
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
        now = self._env.now
        if latency is None:
            latency = route_latency + self._message_overhead + self._byte_overhead * nbytes
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
        self._alarm.at(arrival)
        return arrival

    @property
    def now(self) -> float:
        """Virtual seconds."""
        now: float = self._env.now
        return now

    def end(self, bandwidth: float) -> int:
        """Add a link that stands for an end point, of `bandwidth` bytes/s in and out together; replies with its number.

        All of them are added before the first message.
        """
        for known in (self._seen, self._numbers):
            known.append(0)
        self._capacities.append(bandwidth)
        self._users.append({})
        self._hubs.append(None)
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
        now = self._env.now
        number = self.flows_started
        self.flows_started = number + 1
        heappush(self._arrivals, (now + pause, number, Flow(number, links, rate, amount, now, done, weights)))
        self._alarm.at(now + pause)

    def express(
        self, links: tuple[int, ...], seconds: float, done: Callable[[float], None], met: Callable[[], None]
    ) -> None:
        """Take all of some idle links for so long, as whoever does so alone on them; then call `done`.

        When another flow comes to one of them, call `met` instead: the links are free then, and it starts what it still
        has to do.
        """
        now = self._env.now
        flow = Flow(self.flows_started, links, 0.0, 0.0, now, done)
        self.flows_started += 1
        flow.end, flow.met = now + seconds, met
        for link in links:
            self._users[link][flow] = None
        self._expresses += 1
        self._expect(Component([flow]))
        self._alarm.at(flow.end)

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
        now = self._env.now
        latest = due(now)
        ended = self._take_ended(now, latest)
        ended += self._let_in(now, latest)
        if len(ended) > 1:
            ended.sort(key=attrgetter("number"))
        for flow in ended:
            flow.component = None  # which knows the flow: no cycle is left to the garbage collector
            flow.done(flow.started)
        if self._touched and not self._gathering:
            if self._env.peek() > now:
                self._share()
            else:
                self._gathering = True
                EndOfInstant(self._env, self._end_instant)
        self._set_alarm()

    def _take_ended(self, now: float, latest: float) -> list[Flow]:
        ends = self._ends
        ended: list[Flow] = []
        while ends and ends[0][0] <= latest:
            first, _, component = heappop(ends)
            if first != component.first:
                continue
            if isinstance(component, Hub):
                leaving = component.take_ended(now, latest)
                if component.first < 0.0:
                    self._hubs[component.link] = None
                else:
                    self._expect(component)
                for flow in leaving:
                    for link in flow.links:
                        del self._users[link][flow]
                    if flow.credit:
                        self._buckets.drain(flow, now)
            else:
                component.dissolve()
                leaving = [flow for flow in component.flows if flow.end <= latest]
                for flow in leaving:
                    self._expresses -= flow.met is not None
                    for link in flow.links:
                        on_link = self._users[link]
                        del on_link[flow]
                        if on_link:
                            self._touched.append(link)
                    if flow.credit:
                        self._buckets.drain(flow, now)
            ended += leaving
        return ended

    def _let_in(self, now: float, latest: float) -> list[Flow]:
        """Put the flows that arrive on their links; returns those that carry nothing."""
        arrivals, users = self._arrivals, self._users
        arrived, empty = [], []
        while arrivals and arrivals[0][0] <= latest:
            flow = heappop(arrivals)[2]
            if flow.credit:
                self._buckets.spend(flow, now)
            if flow.nbytes:
                arrived.append(flow)
                for link in flow.links:
                    users[link][flow] = None
            else:
                empty.append(flow)
        if self._expresses and arrived:
            self._end_expresses(arrived)
        for flow in arrived:
            shared = [link for link in flow.links if len(users[link]) > 1]
            hub = self._hub_for(flow, shared) if shared and flow.weights is None else None
            if hub is not None:
                hub.add(flow, now)
                self._expect(hub)
            else:
                flow.rate = flow.bandwidth
                flow.end = now + flow.nbytes / flow.bandwidth
                if shared:
                    self._touched += shared
                else:
                    self._expect(Component([flow]))
        return empty

    def _hub_for(self, flow: Flow, shared: list[int]) -> Hub | None:
        """The hub that stays one when `flow` joins it: all flows near it are of that hub."""
        users = self._users
        hub = next((self._hubs[link] for link in shared if self._hubs[link] is not None), None)
        if hub is None or self._capacities[hub.link] > flow.bandwidth:
            return None
        for link in shared:
            if link != hub.link:
                for other in users[link]:
                    if other.component is not hub and other is not flow:
                        return None
        return hub

    def _end_instant(self, _: Event) -> None:
        self._gathering = False
        self._share()
        self._set_alarm()

    def _share(self) -> None:
        """Solve the components of the touched links."""
        self._sweep += 1
        for link in self._touched:
            if self._seen[link] != self._sweep:
                self._solve(link)
        self._touched.clear()

    def _solve(self, link: int) -> None:
        """Give the flows that are connected to a link their rates, and their component its deadline."""
        flows, capacities, routes, weights = self._connected(link)
        if not flows:
            return
        self.solves += 1
        now = self._env.now
        for flow in flows:
            component = flow.component
            if component is not None and component.first >= 0.0:
                component.dissolve()
                if isinstance(component, Hub):
                    self._hubs[component.link] = None
        hub = self._hub_of(flows, now) if len(flows) > 1 else None
        if hub is not None:
            self._hubs[hub.link] = hub
            self._expect(hub)
        else:
            for flow, rate in zip(flows, max_min(capacities, routes, weights), strict=True):
                flow.set_rate(now, rate)
            self._expect(Component(flows))

    def _hub_of(self, flows: list[Flow], now: float) -> Hub | None:
        """Make a hub of a whole component, if it is one."""
        for link in flows[0].links:
            if len(self._users[link]) == len(flows):
                capacity = self._capacities[link]
                if all(flow.bandwidth == capacity and flow.weights is None for flow in flows):
                    return Hub(link, capacity, flows, now)
        return None

    def _connected(
        self, start: int
    ) -> tuple[list[Flow], list[float], list[list[int]], list[list[float] | None] | None]:
        """All flows connected to a link, with capacities, routes and weights numbered for them alone.

        Links of one flow are left out where another link of its route keeps them from being full.
        """
        users, seen, numbers, sweep = self._users, self._seen, self._numbers, self._sweep
        flows: list[Flow] = []
        capacities: list[float] = []
        routes: list[list[int]] = []
        weighted = False
        links = [start]
        if len(users[start]) > 1:
            seen[start], numbers[start] = sweep, 0
            capacities.append(self._capacities[start])
        for link in links:  # grows as it goes
            for flow in users[link]:
                if flow.seen == sweep:
                    continue
                flow.seen = sweep
                route = []
                narrowest_is_private = True
                for other in flow.links:
                    if len(users[other]) > 1:
                        if seen[other] != sweep:
                            seen[other], numbers[other] = sweep, len(capacities)
                            capacities.append(self._capacities[other])
                            links.append(other)
                        number = numbers[other]
                        route.append(number)
                        if capacities[number] == flow.bandwidth:
                            narrowest_is_private = False
                if flow.weights is not None:
                    weighted = narrowest_is_private = True
                if narrowest_is_private:
                    route.append(len(capacities))
                    capacities.append(flow.bandwidth)
                flows.append(flow)
                routes.append(route)
        return flows, capacities, routes, [self._counts(flow) for flow in flows] if weighted else None

    def _counts(self, flow: Flow) -> list[float] | None:
        """How many messages a flow has on each link of the route that was numbered for it."""
        if flow.weights is None:
            return None
        shared = [count for link, count in zip(flow.links, flow.weights, strict=True) if len(self._users[link]) > 1]
        return [*shared, 1.0]

    def _expect(self, component: Component | Hub) -> None:
        """Note the deadline of a component, in place of the one that it had."""
        heappush(self._ends, (component.first, self._expected, component))
        self._expected += 1

    def _set_alarm(self) -> None:
        ends = self._ends
        while ends and ends[0][0] != ends[0][2].first:
            heappop(ends)
        if ends:
            self._alarm.at(ends[0][0])
        if self._arrivals:
            self._alarm.at(self._arrivals[0][0])
