"""Synchronous SGD through a parameter server: "hardsync" (Valiant 1990, BSP; Li et al. 2014; SCHEMES S2).

In every step each worker pulls the parameters from all servers, computes the gradient of its share of the mini-batch
and pushes it, cut into the servers' shards. A server waits for the pieces of all workers, makes one update with their
mean, added in the order of the workers, and answers the next pulls. All wait for all.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    Options,
    Program,
    Recv,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    bounds,
    option,
)
from parasim.schemes.coded_cost import coded_messages
from parasim.schemes.collecting import Collected, apply_mean, collect, collect_seconds
from parasim.schemes.pushing import into_of, packed, packed_values, values_into

__all__ = ["ParameterServer"]


@dataclass(frozen=True, kw_only=True)
class ParameterServerOptions(Options):
    """Options of synchronous SGD through a parameter server."""

    servers: int = option(
        1,
        "parameter servers, each with one shard (0: as many as workers, beside them unless hosts are left free)",
        ge=0,
    )


class ParameterServer(Scheme):
    """Data parallel, synchronous, centralised."""

    name = "parameter_server"
    aliases = ("sync_ps", "hardsync", "bsp", "bulk_synchronous", "ps")
    citation = "Valiant (1990); Li et al. (2014)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "0"
    Options = ParameterServerOptions
    compresses = "messages"
    prices_codes = True

    @property
    def servers(self) -> int:
        """Number of servers."""
        return self.options.servers or int(self.options.workers)

    def roles(self) -> tuple[Role, ...]:
        """Workers and servers."""
        return (Role("worker", self.options.workers, self.worker), Role("server", self.servers, self.server))

    @classmethod
    def extra_actors(cls, options: ParameterServerOptions) -> int:
        """The servers, unless they sit beside the workers."""
        return options.servers

    def worker(self, me: Context) -> Program[Buffer]:
        """Pull, compute, push."""
        parameters, gradient = me.initial(), me.buffer("gradient")
        cuts, servers = bounds(parameters.elements, self.servers), me.ranks("server")
        weights = [parameters.part(cuts[shard], cuts[shard + 1]) for shard in range(self.servers)]
        pieces = [gradient.part(cuts[shard], cuts[shard + 1]) for shard in range(self.servers)]
        for step in me.steps():
            pulls = [Recv(s, "weights", into_of(me, into)) for s, into in zip(servers, weights, strict=True)]
            for message, into in zip((yield from Exchange((), tuple(pulls))), weights, strict=True):
                yield from values_into(me, message, into)
            yield from me.gradient(parameters, me.batch(step), gradient)
            pushes = []
            for server, piece in zip(servers, pieces, strict=True):
                sent, header = yield from packed(me, piece, {})
                pushes.append(Send(server, sent, "gradient", header, lent=True))
            yield from Exchange(tuple(pushes))
            yield from me.step_done(step)
        return parameters

    def server(self, me: Context) -> Program[Buffer]:
        """Hold one shard: send it to all, collect all their pieces, update."""
        cuts, workers = bounds(me.model.whole.parameters, self.servers), me.ranks("worker")
        replica = me.replica(elements=(cuts[me.index], cuts[me.index + 1]))
        for _ in me.steps():
            sent, header = yield from packed_values(me, replica.parameters, {}, cuts[me.index])
            yield from Exchange(tuple(Send(w, sent, "weights", header, lent=True) for w in workers))
            collected = Collected()
            for message in (yield from Exchange((), tuple(Recv(w, "gradient") for w in workers))):
                yield from collect(me, collected, message, replica.version)
            yield from apply_mean(me, replica, collected)
        return replica.parameters

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + 2 alpha + 2 max(1, N/S) P beta``, N - 1 additions and an update of a shard (SCHEMES S2.5).

        The two phases of messages are separated by the update. Exact where shards are equally large.
        """
        workers, servers, place, whole = self.options.workers, self.servers, setting.place, setting.model.whole
        pairs = [(worker, workers + shard) for worker in range(workers) for shard in range(servers)]
        push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
        coded = coded_messages(setting, servers, workers)
        seconds = place.longest([*setting.gradient_kernels(), *coded.worker])
        seconds += push.alpha + pull.alpha + push.beta * coded.up / servers + pull.beta * coded.down / servers
        seconds += collect_seconds(setting, workers, workers, 1 / servers)
        seconds += sum(place.seconds(kernel, workers) for kernel in coded.server)
        even = whole.parameters % servers == 0 and coded.equal
        return ClosedForm(
            seconds,
            coded.up,
            servers,
            0.0,
            "exact" if even else "estimate",
            note="" if even else "shards differ, or the code changes while it runs",
        )
