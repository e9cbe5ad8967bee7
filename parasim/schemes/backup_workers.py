"""Synchronous SGD with backup workers (Chen, Pan, Monga, Bengio, Jozefowicz 2016; SCHEMES S4.1).

Of N + e workers the server takes the first N gradients of a version, updates with their mean, and answers those that
wait. Gradients that come later are dropped on arrival; their worker, which was not interrupted, goes on at the newest
version. So nobody waits for the e slowest. Each of several servers holds a shard, and says for itself which gradients
come first (the paper's algorithm 4); a worker that hears of a version from one asks those that are behind for it.

A step is an update here; one that a worker missed counts as done when it hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    Message,
    Model,
    Program,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.collecting import (
    Collecting,
    CollectingOptions,
    Serving,
    apply_mean,
    collect,
    collect_seconds,
)

__all__ = ["BackupWorkers"]


@dataclass(frozen=True, kw_only=True)
class BackupWorkersOptions(CollectingOptions):
    """Options of backup workers; `workers` counts them too."""

    backups: int = option(1, "workers whose gradients an update does without (the paper: 4 of 100)", ge=0)


class BackupWorkers(Collecting):
    """Data parallel, synchronous, centralised; late gradients are dropped."""

    name = "backup_workers"
    aliases = ("backup", "sync_backup", "sync_sgd_with_backup_workers")
    citation = "Chen, Pan, Monga, Bengio, Jozefowicz (2016)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "0 of every gradient that is applied"
    approximates = "gradients of the slowest dropped"
    Options = BackupWorkersOptions

    @property
    def required(self) -> int:
        """N: gradients of an update."""
        return int(self.options.workers - self.options.backups)

    def pipelines(self) -> int:
        """An update takes the mini-batches of N workers."""
        return self.required

    def worker(self, me: Context) -> Program[Buffer]:
        """Pull, compute, push; what comes back says which version is the newest."""
        parameters, gradient = me.initial(), me.buffer("gradient")
        weights, pieces = self.shards(me, parameters), self.shards(me, gradient)
        version = yield from self._newest(me, weights)
        while version < me.num_steps:
            yield from me.gradient(parameters, me.batch(version), gradient)
            yield from self.push(me, pieces, dict.fromkeys(pieces, version))
            newest = yield from self._newest(me, weights)
            for step in range(version, newest):
                yield from me.step_done(step)
            version = newest
        return parameters

    def _newest(self, me: Context, weights: Mapping[int, Buffer]) -> Program[int]:
        """The newest version of all shards: who is behind another is asked for it."""
        versions: dict[int, int] = {}
        behind = list(weights)
        while True:
            versions |= yield from self.pull(me, {server: weights[server] for server in behind})
            newest = max(versions.values())
            behind = [server for server, version in versions.items() if version < newest]
            if not behind:
                return newest
            yield from Exchange(tuple(Send(server, None, "gradient", {"version": newest}) for server in behind))

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """The first N gradients of the version are collected, later ones dropped."""
        version, asked = int(message.header["version"]), message.buffer is None
        if asked and version > serving.version:
            serving.collected.waiting.append(message.source)
            return
        if asked or version < serving.version:
            if serving.applying is not None:  # the newest parameters are being made
                serving.applying.waiting.append(message.source)
            else:
                yield from self._answer(me, serving, [message.source])
            return
        serving.collected.waiting.append(message.source)
        last = len(serving.collected) + 1 == self.required
        collected = serving.close() if last else serving.collected
        yield from collect(me, collected, message, version)
        if last:
            yield from apply_mean(me, serving.replica, collected)
            serving.applying = None
            yield from self._answer(me, serving, collected.waiting)

    def _answer(self, me: Context, serving: Serving, workers: list[int]) -> Program[None]:
        """Send the newest parameters; after the last update its number alone."""
        over = serving.version == me.num_steps
        yield from self.publish(me, workers, serving.version, None if over else serving.replica.parameters)

    def counts_vary(self) -> bool:
        """Who comes late enough to miss a version pushes nothing for it."""
        return bool(self.options.backups)

    def check(self, model: Model, batch_size: int) -> None:
        """Some worker must be required."""
        workers, backups = self.options.workers, self.options.backups
        if backups >= workers:
            raise ValueError(f"{backups} of {workers} workers are backups: leave one or more that are required")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """The N-th of N + e workers, then as the synchronous server (SCHEMES S4.1.5).

        Exact where all take equally long. Else late gradients use the server's link at other times, and their workers
        begin the next version late: with noise the N-th order statistic is less than what is met.
        """
        workers, required, place, whole = self.options.workers, self.required, setting.place, setting.model.whole
        servers = self.servers
        pairs = [(worker, workers + shard) for worker in range(workers) for shard in range(servers)]
        push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
        kernels = setting.gradient_kernels()
        seconds = place.fastest(kernels, required) + collect_seconds(setting, workers, required, 1 / servers)
        seconds += push.alpha + pull.alpha + (push.beta + pull.beta) * whole.nbytes / servers
        alike = place.fastest(kernels, 1) == place.fastest(kernels, workers) and whole.parameters % servers == 0
        return ClosedForm(
            seconds,
            whole.nbytes,
            servers,
            0.0,
            "exact" if alike else "estimate",
            note="" if alike else "late workers push and begin at other times; of a missed version they push nothing",
        )
