"""Times of asynchronous schemes with servers: closed forms of Downpour and its relatives (SCHEMES S9.5).

A scheme says how often its workers push and fetch, and what that costs them and the servers (`cycle`); servers, and the
links to them, are queues.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import ClosedForm, Kernel, NoClosedForm, Options, Scheme, Setting, option
from parasim.program.elementwise import add, clear
from parasim.theory.queueing import mean_value_analysis
from parasim.theory.staleness import asynchronous_mean

__all__ = ["Cycle", "ServerOptions", "ServerTimes"]


@dataclass(frozen=True, kw_only=True)
class ServerOptions(Options):
    """Options of all schemes with asynchronous servers."""

    servers: int = option(1, "parameter servers, each with one shard of the parameters", ge=1)
    service: Literal["serial", "concurrent"] = option(
        "concurrent", "a server serves one request at a time, or all workers at once (a lane per worker)"
    )


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """What a step costs beside its gradient, for closed forms.

    Attributes
    ----------
    n_push, n_fetch
        Steps from push to push, and from fetch to fetch.
    pushes, fetches
        Messages as long as the parameters per push and per fetch (1 each, but for schemes that send more).
    apply
        What a server does with a push that comes with a fetch, on average; its work for the fetch is a part of it.
    apply_only
        What it does with a push alone.
    local
        What a worker computes per step beside the gradient, in seconds.
    per_update
        Gradients per update.
    """

    n_push: int = 1
    n_fetch: int = 1
    pushes: int = 1
    fetches: int = 1
    apply: float = 0.0
    apply_only: float = 0.0
    local: float = 0.0
    per_update: int = 1


class ServerTimes(Scheme):
    """Base of asynchronous schemes: what their times depend on, and these."""

    Options = ServerOptions
    keeps_copies = False
    """Does a server keep what each worker fetched last?"""

    @property
    def n_push(self) -> int:
        """Steps from push to push."""
        return 1

    @property
    def n_fetch(self) -> int:
        """Steps from fetch to fetch."""
        return 1

    @property
    def accumulates(self) -> bool:
        """May a push hold several gradients?"""
        return self.n_push > 1

    @property
    def goes_on(self) -> bool:
        """May a worker take steps of its own between fetches?"""
        return self.n_fetch > 1

    @property
    def copies(self) -> bool:
        """Must what is sent be a copy? Others change the parameters while it travels, or it is kept."""
        return self.keeps_copies or self.options.service == "concurrent"

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + (alpha + P beta)(1 / n_push + 1 / n_fetch)``, and updates; servers bound the rate (SCHEMES S9.5).

        A worker waits for its update only where it fetches with the push. Exact for one worker that never fetches
        alone: its first fetch and its missing last one make up for each other. Servers of serial service all serve the
        same worker at a time, as fast as its link allows; sharding them gains nothing. At most, everyone waits for all
        others at all links and updates; in between, mean value analysis takes the servers as queues.
        """
        options, cycle = self.options, self.cycle(setting)
        workers, servers, nbytes = len(self.clients), options.servers, setting.model.whole.nbytes
        n_push, n_fetch = cycle.n_push, cycle.n_fetch
        pushes, fetches, both = cycle.pushes / n_push, cycle.fetches / n_fetch, 1 / math.lcm(n_push, n_fetch)
        push, fetch = self.exchange_seconds(setting)
        gradient = setting.gradient_seconds()
        compute = gradient + cycle.local
        served = cycle.apply * both + cycle.apply_only * (1 / n_push - both)
        alone = compute + push * pushes + fetch * fetches + cycle.apply * both
        if options.service == "concurrent":
            there, back = self.routes()
            busiest, shard = setting.place.busiest, nbytes / servers
            shares = busiest(there) * pushes / workers, busiest(back) * fetches / workers
            demands = [shard * shares[0], shard * shares[1], served]
            latency, crowd = setting.worst_between([*there, *back]).alpha, shard * busiest([*there, *back])
            worst = compute + (pushes + fetches) * (latency + crowd) + workers * cycle.apply / n_push
        else:
            demands = [push * pushes + fetch * fetches + served]
            worst = compute + workers * demands[0]
        lower = max(alone, workers * max(demands))
        even = setting.model.whole.parameters % servers == 0
        in_step = n_fetch == n_push
        exact = workers == 1 and even and (in_step or cycle.apply <= gradient) and n_fetch % n_push == 0
        bracketed = in_step and even and not exact
        queued = workers / mean_value_analysis(workers, alone - sum(demands), demands) if bracketed else lower
        return ClosedForm(
            lower,
            nbytes * pushes,
            servers * pushes,
            asynchronous_mean(workers, cycle.per_update) if in_step else float("nan"),
            "exact" if exact else "lower bound" if even else "estimate",
            at_most=worst if bracketed else None,
            about=min(max(lower, queued), worst) if bracketed else None,
            note="" if exact else _NOTE if even else "shards differ in size, so servers are not busy at the same times",
        )

    @property
    def clients(self) -> Sequence[int]:
        """Ranks of the actors that talk to the servers."""
        return range(self.options.workers)

    def routes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """From every client to every server, and back."""
        workers, servers = self.options.workers, self.options.servers
        there = [(client, server) for client in self.clients for server in range(workers, workers + servers)]
        return there, [(server, client) for client, server in there]

    def exchange_seconds(self, setting: Setting) -> tuple[float, float]:
        """What a push and a fetch of all shards take a worker whom nobody disturbs, the slowest where they differ."""
        found, shard, servers = [], setting.model.whole.nbytes / self.options.servers, self.options.servers
        for pairs in self.routes():
            own = [setting.place.busiest(pairs[at : at + servers]) for at in range(0, len(pairs), servers)]
            if len(set(own)) > 1:
                setting.place.differ("routes")
            found.append(setting.worst_between(pairs).alpha + shard * max(own))
        return found[0], found[1]

    def cycle(self, setting: Setting) -> Cycle:
        """What a step costs beside its gradient."""
        return Cycle(
            n_push=self.n_push,
            n_fetch=self.n_fetch,
            apply=self.server_seconds(setting, self.update_kernel(setting)),
            apply_only=self.server_seconds(setting, setting.update_kernel(1 / self.options.servers)),
            local=self.local_seconds(setting),
        )

    def update_kernel(self, setting: Setting) -> Kernel:
        """What a server computes for a push that comes with a fetch."""
        return setting.update_kernel(1 / self.options.servers, copy=self.copies)

    def server_seconds(self, setting: Setting, kernel: Kernel) -> float:
        """Time of a kernel on a server."""
        return setting.place.seconds(kernel, self.options.workers)

    def local_seconds(self, setting: Setting) -> float:
        """What a worker computes per step to accumulate gradients and to go on between fetches."""
        place, seconds = setting.place, 0.0
        if self.accumulates:
            seconds += place.seconds(setting.math_kernel(add, 2))
            seconds += place.seconds(setting.math_kernel(clear)) / self.n_push
        if self.n_fetch > 1:
            seconds += (1 - 1 / self.n_fetch) * place.seconds(setting.update_kernel())
        return seconds


_NOTE = "workers wait for each other at the servers (about: as in random order); start and end of the run aside"
