"""Downpour SGD: asynchronous SGD against a sharded parameter server (Dean et al. 2012, section 4.1; SCHEMES S9).

A worker computes on the parameters that it fetched last, pushes the gradient it accumulated every `n_push` steps and
fetches every `n_fetch` steps; nobody waits for another worker. Each server holds one shard and applies what comes at
once; shards know nothing of each other. A push and the fetch that follows it are one request, so nothing is applied
between them. Between fetches a worker goes on with its own updates (the paper's appendix).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    ANY,
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Message,
    Options,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    Wait,
    bounds,
    option,
)
from parasim.theory.queueing import mean_value_analysis
from parasim.theory.staleness import asynchronous_mean

__all__ = ["Downpour"]


@dataclass(frozen=True, kw_only=True)
class DownpourOptions(Options):
    """Options of Downpour SGD."""

    servers: int = option(1, "parameter servers, each with one shard of the parameters", ge=1)
    n_fetch: int = option(1, "fetch parameters every so many steps", ge=1)
    n_push: int = option(1, "push the accumulated gradient every so many steps", ge=1)
    service: Literal["serial", "concurrent"] = option(
        "concurrent", "a server serves one request at a time, or all workers at once (a lane per worker)"
    )


class Downpour(Scheme):
    """Data parallel, asynchronous, centralised. The scenario's optimiser (Adagrad in the paper) is the servers'."""

    name = "downpour"
    aliases = ("asgd", "async_ps")
    citation = "Dean et al. (2012)"
    taxonomy = Taxonomy("data parallel", "asynchronous", "centralised")
    staleness = (
        "mean N-1 with n_fetch = n_push = 1, any speeds; "
        "more where n_fetch > n_push: updates since the last fetch, own ones too"
    )
    Options = DownpourOptions

    def roles(self) -> tuple[Role, ...]:
        """Workers, and servers that end with them."""
        options = self.options
        return (Role("worker", options.workers, self.worker), Role("server", options.servers, self.server, daemon=True))

    @classmethod
    def extra_actors(cls, options: DownpourOptions) -> int:
        """The servers."""
        return options.servers

    def worker(self, me: Context) -> Program[Buffer]:
        """Fetch, compute, accumulate, push."""
        n_fetch, n_push = self.options.n_fetch, self.options.n_push
        replica = me.replica() if n_fetch > 1 else Replica(me.initial(), ())  # no updates of its own, no state for them
        gradient = me.buffer("gradient")
        pushed = gradient if n_push == 1 else me.buffer("accumulated")
        versions = yield from self._talk(me, replica, None, [], fetch=True)
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            if n_push > 1:
                yield from me.accumulate(pushed, gradient)
            push = (step + 1) % n_push == 0 or step + 1 == me.num_steps  # no gradient is left behind
            fetch = (step + 1) % n_fetch == 0 and step + 1 < me.num_steps
            if not fetch and n_fetch > 1:
                yield from me.optimize(replica, gradient)
            if push or fetch:
                versions = yield from self._talk(me, replica, pushed if push else None, versions, fetch)
            if push and n_push > 1:
                yield from me.clear(pushed)
            yield from me.step_done(step)
        return replica.parameters

    def _talk(
        self, me: Context, replica: Replica, push: Buffer | None, versions: list[int], fetch: bool
    ) -> Program[list[int]]:
        """One request to every server, on a lane each; replies with the versions of the shards now held."""
        handles = []
        cuts = bounds(replica.parameters.elements, self.options.servers)
        for shard, server in enumerate(me.ranks("server")):
            piece = None if push is None else push.part(cuts[shard], cuts[shard + 1])
            into = replica.parameters.part(cuts[shard], cuts[shard + 1])
            read = versions[shard] if versions else 0
            program = self._request(server, piece, into, read, fetch)
            handles.append((yield from Post(program, lane=f"shard {shard}")))
        return list((yield from Wait(handles)))

    def _request(self, server: int, push: Buffer | None, into: Buffer, read: int, fetch: bool) -> Program[int]:
        """Push, fetch or both; replies with the version held afterwards."""
        yield from Send(server, push, "request", {"fetch": fetch, "read": read})
        if not fetch:
            return read
        reply = yield from Recv(server, "reply", into)
        return int(reply.header["version"])

    def server(self, me: Context) -> Program[Buffer]:
        """Hold one shard; apply every push at once; answer every fetch with what is there."""
        cuts = bounds(me.model.whole.parameters, self.options.servers)
        replica = me.replica(elements=(cuts[me.index], cuts[me.index + 1]))
        if self.options.service == "concurrent":
            for worker in me.ranks("worker"):
                yield from Post(self._serve(me, replica, worker), f"worker {worker}", daemon=True)
        else:
            yield from self._serve(me, replica, ANY)
        return replica.parameters

    def _serve(self, me: Context, replica: Replica, source: int) -> Program[None]:
        """Requests of one worker (or of any), one after the other."""
        try:
            while True:
                message = yield from Recv(source, "request")
                parameters = yield from self._apply(me, replica, message)
                if message.header["fetch"]:
                    header = {"version": replica.version}
                    yield from Send(message.source, parameters, "reply", header, lent=True)
        except Closed:
            return

    def _apply(self, me: Context, replica: Replica, message: Message) -> Program[Buffer]:
        """Apply what was pushed; replies with the parameters right afterwards (of concurrent service: a copy)."""
        copy = self.options.service == "concurrent" and bool(message.header["fetch"])
        if message.buffer is not None:
            read = int(message.header["read"])
            updated = yield from me.update(replica, message.buffer, read=read, peer=message.source, copy=copy)
        elif copy:
            updated = yield from me.copy(replica.parameters)
        else:
            updated = None
        return updated or replica.parameters

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + (alpha + P beta)(1 / n_push + 1 / n_fetch)``, and updates; servers bound the rate (SCHEMES S9.5).

        A worker waits for its update only where it fetches with the push. Exact for one worker that never fetches
        alone: its first fetch and its missing last one make up for each other. Servers of serial service all serve the
        same worker at a time, as fast as its link allows; sharding them gains nothing. At most, everyone waits for all
        others at all links and updates; in between, mean value analysis takes the servers as queues.
        """
        options, place = self.options, setting.place
        workers, servers, nbytes = options.workers, options.servers, setting.model.whole.nbytes
        pushes, fetches, both = 1 / options.n_push, 1 / options.n_fetch, 1 / math.lcm(options.n_push, options.n_fetch)
        route = setting.worst_between(
            pair for i in range(workers) for j in range(workers, workers + servers) for pair in ((i, j), (j, i))
        )
        exchange = route.alpha + nbytes * route.beta
        concurrent = options.service == "concurrent"
        apply = place.seconds(setting.update_kernel(1 / servers, copy=concurrent), workers)
        gradient = compute = setting.gradient_seconds()
        if options.n_push > 1:
            compute += place.seconds(setting.math_kernel(_add, 2))
            compute += pushes * place.seconds(setting.math_kernel(_clear))
        if options.n_fetch > 1:
            compute += (1 - fetches) * place.seconds(setting.update_kernel())
        alone = compute + exchange * (pushes + fetches) + apply * both
        if concurrent:
            wire = nbytes / servers * route.beta
            demands = [wire * pushes, wire * fetches, apply * pushes]
            crowd = max(1.0, workers / servers) * nbytes * route.beta
            worst = compute + pushes * (2 * (route.alpha + crowd) + workers * apply)
        else:
            demands = [exchange * (pushes + fetches) + apply * pushes]
            worst = compute + workers * demands[0]
        lower = max(alone, workers * max(demands))
        even = setting.model.whole.parameters % servers == 0
        in_step = options.n_fetch == options.n_push
        exact = workers == 1 and even and (in_step or apply <= gradient) and options.n_fetch % options.n_push == 0
        bracketed = in_step and even and not exact
        queued = workers / mean_value_analysis(workers, alone - sum(demands), demands) if bracketed else lower
        return ClosedForm(
            lower,
            nbytes * pushes,
            servers * pushes,
            asynchronous_mean(workers) if in_step else float("nan"),
            "exact" if exact else "lower bound",
            at_most=worst if bracketed else None,
            about=min(max(lower, queued), worst) if bracketed else None,
            note="" if exact else _NOTE,
        )


_NOTE = "workers wait for each other at the servers (about: as in random order); start and end of the run aside"


def _add(xp: Tensors, into: Tensor, x: Tensor) -> None:
    xp.add_(into, x)


def _clear(xp: Tensors, x: Tensor) -> None:
    xp.fill_(x, 0.0)
