"""K-async and K-batch-async SGD (Dutta, Joshi, Ghosh, Dube, Nagpurkar 2018; SCHEMES S4.2).

The server updates with the mean of the next K gradients that come, at whatever versions they were computed; nothing is
cancelled or dropped. In K-async a worker that has pushed waits for the update, so the K are of different workers; in
K-batch-async it gets the newest parameters at once and goes on. The last gradients of a run may be fewer than K.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Message,
    Model,
    Options,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.collecting import Collecting, Serving, apply_mean, collect, collect_seconds
from parasim.schemes.pushing import into_of, packed, values_into
from parasim.theory.staleness import asynchronous_mean

__all__ = ["KAsync", "KBatchAsync"]


@dataclass(frozen=True, kw_only=True)
class KAsyncOptions(Options):
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
        (server,) = me.ranks("server")
        for step in me.steps():
            message = yield from Recv(server, "weights", into_of(me, parameters))
            yield from values_into(me, message, parameters)
            yield from me.gradient(parameters, me.batch(step), gradient)
            header = {"version": message.header["version"], "last": step + 1 == me.num_steps}
            sent, said = yield from packed(me, gradient, header)
            yield from Send(server, sent, "gradient", said, lent=True)
            yield from me.step_done(step)
        return parameters

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """Every gradient is collected; the K-th, or the last that can come, makes the update."""
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
        """``T_c + 2 (alpha + P beta)`` and the server's work; at least N P beta, all that its link takes in a step.

        Exact for K = N, which is the synchronous server: all push, one update, all pull.
        """
        workers, k, place, whole = self.options.workers, self.options.k, setting.place, setting.model.whole
        pairs = [(worker, workers) for worker in range(workers)]
        kernels = setting.gradient_kernels()
        exact = k == workers and place.fastest(kernels, 1) == place.fastest(kernels, workers)
        if exact:
            push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
        else:
            push, pull = (setting.worst_between(p) for p in (pairs, [(server, worker) for worker, server in pairs]))
        server = collect_seconds(setting, workers, k if exact else 1, copy=True)
        seconds = sum(map(place.seconds, kernels)) + server
        seconds += push.alpha + pull.alpha + (push.beta + pull.beta) * whole.nbytes
        busiest = workers * whole.nbytes * max(push.beta, pull.beta)
        return ClosedForm(
            seconds if exact else max(seconds, busiest),
            whole.nbytes,
            1.0,
            self._staleness_mean(),
            "exact" if exact else "lower bound",
            note="" if exact else "workers wait for each other at the server, and for the update",
        )

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
        workers, whole = self.options.workers, setting.model.whole
        pairs = [(worker, workers) for worker in range(workers)]
        push, pull = (setting.worst_between(p) for p in (pairs, [(server, worker) for worker, server in pairs]))
        copying = collect_seconds(setting, workers, 1, copy=True) - collect_seconds(setting, workers, 1)
        seconds = setting.gradient_seconds() + copying + push.alpha + pull.alpha
        seconds += (push.beta + pull.beta) * whole.nbytes
        busiest = workers * whole.nbytes * max(push.beta, pull.beta)
        return ClosedForm(
            max(seconds, busiest),
            whole.nbytes,
            1.0,
            self._staleness_mean(),
            "lower bound",
            note="workers wait for each other at the server, and for additions and updates",
        )

    def _staleness_mean(self) -> float:
        return asynchronous_mean(self.options.workers, self.options.k)
