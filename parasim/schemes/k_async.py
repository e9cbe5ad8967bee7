"""K-async and K-batch-async SGD (Dutta, Joshi, Ghosh, Dube, Nagpurkar 2018; SCHEMES S4.2).

The server updates with the mean of the next K gradients that come, at whatever versions they were computed; nothing is
cancelled or dropped. In K-async a worker that has pushed waits for the update, so the K are of different workers; in
K-batch-async it gets the newest parameters at once and goes on. The last gradients of a run may be fewer than K.

Each of several servers holds a shard. In K-batch-async it takes gradients as they come to it. In K-async workers could
then wait in a circle, each for a shard that waits for another worker; so all servers take gradients in the order in
which they come to the first, which tells the others whose is next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from parasim.program import (
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Message,
    Model,
    Post,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    number,
    option,
)
from parasim.schemes.collecting import Collecting, CollectingOptions, Serving, apply_mean, collect, collect_seconds
from parasim.theory.staleness import asynchronous_mean

__all__ = ["KAsync", "KBatchAsync"]


@dataclass(frozen=True, kw_only=True)
class KAsyncOptions(CollectingOptions):
    """Options of K-async and K-batch-async."""

    k: int = option(1, "gradients of an update", ge=1)


class KAsync(Collecting):
    """Data parallel, asynchronous, centralised; K different workers wait for each other."""

    name = "k_async"
    aliases = ("k_async_sgd",)
    citation = "Dutta, Joshi, Ghosh, Dube, Nagpurkar (2018)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean N/K - 1, any speeds: every update is between two pushes of a worker, or contains one"
    approximates = "stale gradients"
    Options = KAsyncOptions
    waits: ClassVar[bool] = True
    """Does a worker that has pushed wait for the update?"""

    @property
    def updates_per_step(self) -> float:
        """N/K."""
        return float(self.options.workers / self.options.k)

    def worker(self, me: Context) -> Program[Buffer]:
        """Pull, compute, push."""
        parameters, gradient = me.initial(), me.buffer("gradient")
        weights, pieces = self.shards(me, parameters), self.shards(me, gradient)
        for step in me.steps():
            versions = yield from self.pull(me, weights)
            yield from me.gradient(parameters, me.batch(step), gradient)
            yield from self.push(me, pieces, versions, {"last": step + 1 == me.num_steps})
            yield from me.step_done(step)
        return parameters

    def serve(self, me: Context, serving: Serving) -> Program[None]:
        """A lane for each worker; where all must agree whose gradient is next, the first server tells the others."""
        if me.index and self.waits:
            yield from Post(self._follow(me, serving), "in turn", daemon=True)
        else:
            yield from super().serve(me, serving)

    def _follow(self, me: Context, serving: Serving) -> Program[None]:
        """Take gradients in the order in which they came to the first server."""
        first = me.ranks("server")[0]
        try:
            while True:
                turn = yield from Recv(first, "next")
                message = yield from Recv(number(turn.header, "worker"), "gradient")
                yield from self.arrived(me, serving, message)
        except Closed:
            return

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """Every gradient is collected; the K-th, or the last that can come, makes the update."""
        if self.waits and not me.index:
            for other in me.ranks("server")[1:]:
                yield from Post(Send(other, None, "next", {"worker": message.source}), f"to {other}")
        last = bool(message.header["last"])
        serving.working -= last
        collected = serving.collected
        everyone = serving.working == len(collected.waiting) + (self.waits and not last)
        full = len(collected) + 1 == self.options.k or everyone
        if (self.waits or full) and not last:
            collected.waiting.append(message.source)
        if full:
            serving.close()
        yield from collect(me, collected, message, int(message.header["version"]))
        if full:
            newest, parameters = yield from apply_mean(me, serving.replica, collected, copy=True)
            yield from self.publish(me, collected.waiting, newest, parameters)
        elif not (self.waits or last):
            newest = serving.replica.begun  # updates that were begun before the copy is made come before it
            parameters = yield from me.copy(serving.replica.parameters)
            yield from self.publish(me, [message.source], newest, parameters)

    def check(self, model: Model, batch_size: int) -> None:
        """K different workers."""
        k, workers = self.options.k, self.options.workers
        if k > workers and self.waits:
            raise ValueError(f"k {k} gradients of different workers: there are {workers}; use k_batch_async, or fewer")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + 2 (alpha + P beta)`` and the server's work; at least N P beta / S, all that its link takes in a step.

        Exact for K = N and one server, which is the synchronous one: all push, one update, all pull. Of several servers
        the first may update and answer while the others still take their pieces: only the last piece is sure to be
        pulled after the push.
        """
        workers, k, place, servers = self.options.workers, self.options.k, setting.place, self.servers
        nbytes, kernels = setting.model.whole.nbytes, setting.gradient_kernels()
        exact = k == workers and servers == 1 and place.fastest(kernels, 1) == place.fastest(kernels, workers)
        seconds = setting.gradient_seconds()
        seconds += collect_seconds(setting, workers, k if exact else 1, 1 / servers, copy=True)
        if exact:
            pairs = [(worker, workers) for worker in range(workers)]
            push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
            seconds += push.alpha + pull.alpha + (push.beta + pull.beta) * nbytes
        else:
            pushing, pulling = self.alone_seconds(setting)
            if servers > 1:
                last = setting.worst_between((workers + shard, i) for shard in range(servers) for i in range(workers))
                pulling = last.alpha + last.beta * nbytes / servers
            seconds = max(seconds + pushing + pulling, self.busiest_seconds(setting))
        return ClosedForm(
            seconds,
            nbytes,
            servers,
            self._staleness_mean(),
            "exact" if exact else self._bound(setting),
            note="" if exact else "workers wait for each other at the servers, and for the update",
        )

    def _bound(self, setting: Setting) -> Literal["lower bound", "estimate"]:
        """Where shards differ in size, a server may be done with its own before another has got it."""
        return "estimate" if setting.model.whole.parameters % self.servers else "lower bound"

    def _staleness_mean(self) -> float:
        """Each worker is in K / N of the updates, so N / K - 1 lie between two of its own."""
        return float(self.options.workers / self.options.k - 1)


class KBatchAsync(KAsync):
    """Data parallel, asynchronous, centralised; nobody waits, an update per K gradients."""

    name = "k_batch_async"
    aliases = ("k_batch_async_sgd",)
    staleness = "mean (N-1)/K, any speeds"
    waits = False

    def closed_form(self, setting: Setting) -> ClosedForm:
        """As K-async; a worker waits for the addition of its gradient and a copy, one in K for the update."""
        workers, fraction = self.options.workers, 1 / self.servers
        copying = collect_seconds(setting, workers, 1, fraction, copy=True)
        copying -= collect_seconds(setting, workers, 1, fraction)
        seconds = setting.gradient_seconds() + copying + sum(self.alone_seconds(setting))
        return ClosedForm(
            max(seconds, self.busiest_seconds(setting)),
            setting.model.whole.nbytes,
            self.servers,
            self._staleness_mean(),
            self._bound(setting),
            note="workers wait for each other at the servers, and for additions and updates",
        )

    def _staleness_mean(self) -> float:
        return asynchronous_mean(self.options.workers, self.options.k)
