"""Flows, and what is known together about those that share links.

A *component* is a set of flows that have links in common, directly or through others. It has one deadline, the
end of the flow that ends first, because every end inside it changes it. Most components of a parameter server
are *hubs*: all flows have one link in common, which limits them all, so they have equal shares of it.
"""

from __future__ import annotations

from collections.abc import Callable

from parasim.simulation.sharing import EqualShares

__all__ = ["Component", "Flow", "Hub"]

_UNCHANGED = 1e-12
"""A rate that would change by a smaller part of itself stays as it is."""


class Flow:
    """A message under way: `number` counts the starts, `bandwidth` is its rate when alone (bytes/s).

    Outside hubs it ends at `end` if its `rate` (bytes/s) stays: that is all the state there is. The round of a coupled
    collective is one flow too: of all its messages, which have one rate; `weights` says how many there are on each
    link. A flow with `met` has its links for itself, to its end; if others come, it is taken away and `met` is called.
    `credit` is what it saves at most on links that have paused (seconds).
    """

    __slots__ = (
        "bandwidth",
        "component",
        "credit",
        "done",
        "end",
        "links",
        "met",
        "nbytes",
        "number",
        "rate",
        "seen",
        "started",
        "weights",
    )

    def __init__(
        self,
        number: int,
        links: tuple[int, ...],
        bandwidth: float,
        nbytes: float,
        started: float,
        done: Callable[[float], None],
        weights: tuple[float, ...] | None = None,
    ) -> None:
        self.number = number
        self.links = links
        self.weights = weights
        self.met: Callable[[], None] | None = None
        self.bandwidth = bandwidth
        self.nbytes = nbytes
        self.started = started
        self.done = done
        self.credit = 0.0
        self.rate = 0.0
        self.end = 0.0
        self.component: Component | Hub | None = None
        self.seen = 0

    def set_rate(self, now: float, rate: float) -> None:
        """Go on at another rate from `now`."""
        if abs(rate - self.rate) > _UNCHANGED * rate:
            left = (self.end - now) * self.rate if self.end > now else 0.0  # bytes
            self.rate = rate
            self.end = now + left / rate


class Component:
    """Flows with rates of their own. `first` is the deadline, -1 when the component is no more."""

    __slots__ = ("first", "flows")

    def __init__(self, flows: list[Flow]) -> None:
        self.flows = flows
        self.first = flows[0].end if len(flows) == 1 else min([flow.end for flow in flows])
        for flow in flows:
            flow.component = self

    def dissolve(self) -> None:
        """Be no more."""
        self.first = -1.0


class Hub:
    """Flows with equal shares of `link`: all use it, and no other link of theirs is narrower or used by other flows.

    `first` is the deadline, -1 when the hub is no more.
    """

    __slots__ = ("first", "link", "shares")

    def __init__(self, link: int, capacity: float, flows: list[Flow], now: float) -> None:
        self.link = link
        self.shares: EqualShares[Flow] = EqualShares(capacity, capacity)
        for flow in flows:
            self.shares.add(now, (flow.end - now) * flow.rate if flow.end > now else 0.0, flow)
            flow.component = self
        self.first = self.shares.end

    def add(self, flow: Flow, now: float) -> None:
        """Let a flow in."""
        self.shares.add(now, flow.nbytes, flow)
        flow.component = self
        self.first = self.shares.end

    def take_ended(self, now: float, latest: float) -> list[Flow]:
        """Take out the flows whose end is not after `latest`."""
        ended = self.shares.take(now, latest)
        self.first = self.shares.end if self.shares else -1.0
        return ended

    def dissolve(self) -> None:
        """Be no more: give each flow the rate and the end that it has now."""
        self.first = -1.0
        rate = self.shares.rate
        for flow, end in self.shares.ends():
            flow.rate = rate
            flow.end = end
