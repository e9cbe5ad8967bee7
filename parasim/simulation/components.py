"""Flows that share links, component by component, flow by flow.

What starts and ends at one instant is gathered, and then the shares are solved once, for the connected components of
flows that the changes touch: flows are connected when they have a link in common. Flows that only join or leave a hub
need no solving.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf

from parasim.simulation.fairness import max_min
from parasim.simulation.flows import Component, Flow, Hub

__all__ = ["Components"]


class Components:
    """The components of a network.

    Parameters
    ----------
    capacities
        Of the links, bytes/s.
    users
        The flows on each link, in order of arrival. Whoever lets flows in and takes them out keeps it.

    Attributes
    ----------
    solves, solved
        Number of times that shares were computed, and of how many flows in all.
    largest
        Number of flows in the largest component of the last solving.
    """

    __slots__ = (
        "_capacities", "_ends", "_expected", "_hubs", "_numbers", "_seen", "_sweep", "_touched", "_users", "largest",
        "solved", "solves",
    )  # fmt: skip

    def __init__(self, capacities: Sequence[float], users: Sequence[dict[Flow, None]]) -> None:
        self.solves = self.solved = self.largest = 0
        self._capacities = capacities
        self._users = users
        self._ends: list[tuple[float, int, Component | Hub]] = []  # deadlines as they were noted; stale if changed
        self._expected = 0
        self._hubs: dict[int, Hub] = {}  # by link
        self._touched: list[int] = []  # links whose flows have changed since the last solving
        self._sweep = 0
        self._seen = [0] * len(capacities)  # the last sweep that came by
        self._numbers = [0] * len(capacities)  # number of a link in that sweep's component

    @property
    def changed(self) -> bool:
        """Must shares be solved at this instant?"""
        return bool(self._touched)

    @property
    def first(self) -> float:
        """When the next flow ends if nothing changes, in seconds; infinite if there is none."""
        ends = self._ends
        while ends and ends[0][0] != ends[0][2].first:
            heappop(ends)
        return ends[0][0] if ends else inf

    def enter(self, flow: Flow, now: float) -> None:
        """Let a flow in that is on its links already, as are all others that arrive with it."""
        users = self._users
        shared = [link for link in flow.links if len(users[link]) > 1]
        hub = self._hub_for(flow, shared) if shared and flow.weights is None else None
        if hub is not None:
            before = hub.first
            hub.add(flow, now)
            if hub.first != before:
                self._expect(hub)
            return
        flow.rate = flow.bandwidth
        flow.end = now + flow.nbytes / flow.bandwidth
        if shared:
            self._touched += shared
        else:
            self._expect(Component([flow]))

    def enter_alone(self, flow: Flow) -> None:
        """Let a flow in that has its links for itself until its end."""
        self._expect(Component([flow]))

    def resume(self, flow: Flow, left: float, now: float) -> None:
        """Let a flow in that is on its links and has so many bytes left; shares must be solved at this instant."""
        flow.component = None
        flow.rate = flow.bandwidth
        flow.end = now + left / flow.bandwidth
        self._touched += flow.links

    def add_link(self) -> None:
        """There is one link more."""
        self._seen.append(0)
        self._numbers.append(0)

    def take_ended(self, now: float, latest: float) -> list[Flow]:
        """Take out the flows whose end is not after `latest`, off their links too."""
        ends, users = self._ends, self._users
        ended: list[Flow] = []
        while ends and ends[0][0] <= latest:
            first, _, component = heappop(ends)
            if first != component.first:
                continue
            if isinstance(component, Hub):
                leaving = component.take_ended(now, latest)
                if component.first < 0.0:
                    del self._hubs[component.link]
                else:
                    self._expect(component)
                for flow in leaving:
                    for link in flow.links:
                        del users[link][flow]
            else:
                component.dissolve()
                leaving = [flow for flow in component.flows if flow.end <= latest]
                for flow in leaving:
                    for link in flow.links:
                        on_link = users[link]
                        del on_link[flow]
                        if on_link:
                            self._touched.append(link)
            ended += leaving
        return ended

    def dissolve(self, now: float) -> list[tuple[Flow, float]]:
        """Give all flows away that have not their links for themselves: each with its bytes left."""
        flows = dict.fromkeys(flow for on_link in self._users for flow in on_link if flow.met is None)
        left = []
        for flow in flows:
            if flow.component is not None and flow.component.first >= 0.0:
                flow.component.dissolve()
        for flow in flows:
            flow.component = None
            left.append((flow, (flow.end - now) * flow.rate if flow.end > now else 0.0))
        self._hubs.clear()
        self._touched.clear()
        return left

    def _hub_for(self, flow: Flow, shared: list[int]) -> Hub | None:
        """The hub that stays one when `flow` joins it: all flows near it are of that hub."""
        users, hubs = self._users, self._hubs
        if not hubs:
            return None
        hub = None
        for link in shared:
            hub = hubs.get(link)
            if hub is not None:
                break
        if hub is None or self._capacities[hub.link] > flow.bandwidth:
            return None
        for link in shared:
            if link != hub.link:
                for other in users[link]:
                    if other.component is not hub and other is not flow:
                        return None
        return hub

    def share(self, now: float) -> None:
        """Solve the components of the links whose flows have changed."""
        self._sweep += 1
        self.largest = 0
        for link in self._touched:
            if self._seen[link] != self._sweep:
                self._solve(link, now)
        self._touched.clear()

    def _solve(self, link: int, now: float) -> None:
        """Give the flows that are connected to a link their rates, and their component its deadline."""
        flows, capacities, routes, weights = self._connected(link)
        if not flows:
            return
        self.solves += 1
        self.solved += len(flows)
        self.largest = max(self.largest, len(flows))
        for flow in flows:
            component = flow.component
            if component is not None and component.first >= 0.0:
                component.dissolve()
                if isinstance(component, Hub):
                    del self._hubs[component.link]
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
