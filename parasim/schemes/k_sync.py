"""K-sync and K-batch-sync SGD (Dutta, Joshi, Ghosh, Dube, Nagpurkar 2018; SCHEMES S4.2).

The server updates with the first K gradients of a version and sends the new parameters to all; whatever is still being
computed at the old ones is cancelled. In K-sync the K are of different workers. In K-batch-sync a worker that has
pushed computes the next mini-batch at the same parameters, so some may give several. Each of several servers holds a
shard, and takes the first K that come to it; workers go on until they have the new parameters of all.

Computing stops at the next kernel boundary, so gradients are computed layer by layer; a push under way ends first, and
is dropped. A step is an update.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from parasim.program import (
    Activation,
    Batch,
    Buffer,
    Cancel,
    ClosedForm,
    Context,
    Kernel,
    Message,
    Model,
    Post,
    Program,
    Setting,
    Taxonomy,
    Wait,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.schemes.collecting import Collecting, CollectingOptions, Serving, apply_mean, collect, collect_seconds

__all__ = ["KBatchSync", "KSync"]


@dataclass(frozen=True, kw_only=True)
class KSyncOptions(CollectingOptions):
    """Options of K-sync and K-batch-sync."""

    k: int = option(1, "gradients of an update", ge=1)


class KSync(Collecting):
    """Data parallel, synchronous, centralised; the slowest N - K are cancelled."""

    name = "k_sync"
    aliases = ("k_sync_sgd",)
    citation = "Dutta, Joshi, Ghosh, Dube, Nagpurkar (2018)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "0 of every gradient that is applied"
    approximates = "gradients of the slowest dropped"
    Options = KSyncOptions
    fixed_batch = "cancelled gradients take samples too, so workers count gradients, not steps"
    several: ClassVar[bool] = False
    """May a worker push several gradients of one version?"""

    def pipelines(self) -> int:
        """An update takes K mini-batches."""
        return int(self.options.k)

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute and push until new parameters come; cancel what is under way."""
        parameters, incoming, gradient = me.initial(), me.buffer("incoming"), me.buffer("gradient")
        yield from self.pull(me, self.shards(me, parameters))
        draws = itertools.count()
        for version in me.steps():
            news = yield from Post(self.pull(me, self.shards(me, incoming)), "news")
            work = yield from Post(self._work(me, parameters, gradient, version, draws), "work")
            yield from Wait([news])
            yield from Cancel(work)
            yield from Wait([work])
            yield from me.step_done(version)
            parameters, incoming = incoming, parameters
        return incoming  # what came last is a number alone

    def _work(
        self, me: Context, parameters: Buffer, gradient: Buffer, version: int, draws: Iterator[int]
    ) -> Program[None]:
        """Gradients of one version: one, or one after the other, each of the next mini-batch."""
        pieces = self.shards(me, gradient)
        for draw in draws:
            yield from self._gradient(me, parameters, me.batch(draw), gradient)
            yield from self.push(me, pieces, dict.fromkeys(pieces, version))
            if not self.several:
                return

    def _gradient(self, me: Context, parameters: Buffer, batch: Batch, gradient: Buffer) -> Program[None]:
        """Layer by layer; cancelled, it holds nothing."""
        passed: list[Activation] = []
        upstream = inputs = None
        try:
            for part in me.model.each():
                passed.append((yield from me.forward(part, part.of(parameters), batch, inputs)))
                inputs = passed[-1].outputs
            yield from me.log_loss(passed[-1])
            for activation in reversed(passed):
                upstream = yield from me.backward(activation, upstream, activation.part.of(gradient))
        finally:
            for activation in passed:
                me.drop(activation)

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """The first K gradients of the version are collected, later ones dropped; an update is sent to all."""
        version = int(message.header["version"])
        if version < serving.version:
            return
        last = len(serving.collected) + 1 == self.options.k
        collected = serving.close() if last else serving.collected
        yield from collect(me, collected, message, version)
        if last:
            newest, parameters = yield from apply_mean(me, serving.replica, collected)
            yield from self.publish(me, me.ranks("worker"), newest, None if newest == me.num_steps else parameters)

    def counts_vary(self) -> bool:
        """Cancelled gradients are not pushed."""
        return self.several or self.options.k < self.options.workers

    def check(self, model: Model, batch_size: int) -> None:
        """K different workers."""
        k, workers = self.options.k, self.options.workers
        if k > workers and not self.several:
            raise ValueError(f"k {k} gradients of different workers: there are {workers}; use k_batch_sync, or fewer")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """The K-th fastest worker, messages and the update (SCHEMES S4.2); exact where all take equally long.

        Then all push at once, and all but K in vain. Of exponential times (H_N - H_{N-K}) / lambda.
        """
        workers, k, place, whole = self.options.workers, self.options.k, setting.place, setting.model.whole
        kernels, servers = layer_kernels(setting), self.servers
        pairs = [(worker, workers + shard) for worker in range(workers) for shard in range(servers)]
        push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
        seconds = place.fastest(kernels, k) + collect_seconds(setting, workers, k, 1 / servers)
        seconds += push.alpha + pull.alpha + (push.beta + pull.beta) * whole.nbytes / servers
        alike = place.fastest(kernels, 1) == place.fastest(kernels, workers) and whole.parameters % servers == 0
        sent = 1.0 if alike else float("nan")
        return ClosedForm(
            seconds,
            sent * whole.nbytes,
            sent * servers,
            0.0,
            "exact" if alike else "estimate",
            note="" if alike else "layers under way end first, and so do late pushes; or shards differ in size",
        )


class KBatchSync(KSync):
    """Data parallel, synchronous, centralised; any K gradients of a version, the rest is cancelled."""

    name = "k_batch_sync"
    aliases = ("k_batch_sync_sgd",)
    several = True

    def closed_form(self, setting: Setting) -> ClosedForm:
        """At least K / N gradients of each, a push, the update and a pull; of exponential times K / (N lambda)."""
        workers, k, place = self.options.workers, self.options.k, setting.place
        rounds = math.ceil(k / workers) if not place.noisy else k / workers
        seconds = rounds * sum(place.seconds(kernel) for kernel in layer_kernels(setting))
        seconds += sum(self.alone_seconds(setting)) + collect_seconds(setting, workers, 1, 1 / self.servers)
        unknown = float("nan")
        note = "layers and pushes under way end first, gradients of the last round are cancelled"
        return ClosedForm(seconds, unknown, unknown, 0.0, "lower bound", note=note)


def layer_kernels(setting: Setting) -> list[Kernel]:
    """Forward and backward passes of all layers."""
    parts = setting.model.each()
    kernels = [forward_kernel(part, setting.batch_size) for part in parts]
    return kernels + [backward_kernel(part, setting.batch_size) for part in reversed(parts)]
