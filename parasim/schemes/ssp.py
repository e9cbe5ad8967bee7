"""SSP: stale synchronous parallel, with caches at the workers (Ho et al. 2013; SCHEMES S10).

A worker's clock counts its steps. It reads from its cache while that has all updates of clocks up to c - s - 1; else it
fetches, and a server answers once the slowest worker is at clock c - s. So nobody is more than `slack` = s clocks ahead
of another when its clock() returns. Updates are added as they come; a worker always sees its own (read-my-writes). Push
and fetch are one request here, as in the other asynchronous schemes; after its last clock a worker reads nothing, and
waits for nobody.

Without the cache a worker fetches at every clock, as eager variants do: with a slack that is never used up that is
Downpour. With the cache and such a slack nobody ever fetches: Downpour with n_fetch as long as the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Message,
    NoClosedForm,
    Post,
    Program,
    Replica,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.asynchronous import Asynchronous, Held, Shard
from parasim.schemes.server_times import ServerOptions

__all__ = ["Ssp"]


@dataclass(frozen=True, kw_only=True)
class SspOptions(ServerOptions):
    """Options of SSP."""

    slack: int = option(10, "most clocks (steps) that a worker may be ahead of the slowest (0: a barrier)", ge=0)
    cache: bool = option(True, "a worker fetches only when its cache is too old (else at every clock)")


@dataclass(slots=True)
class Clocks(Shard):
    """A shard with the clocks of all workers, and who waits for the slowest to come to which clock."""

    clocks: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)

    @property
    def slowest(self) -> int:
        """Clock of the slowest worker: all updates of earlier clocks are here."""
        return min(self.clocks.values())


class Ssp(Asynchronous):
    """Data parallel, bounded staleness, centralised. Workers wait for those who are more than `slack` clocks behind."""

    name = "ssp"
    aliases = ("stale_synchronous", "stale_synchronous_parallel", "bounded_staleness", "ssptable")
    citation = "Ho et al. (2013)"
    taxonomy = Taxonomy(
        "data parallel", "stale-synchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = (
        "a gradient misses at most (2s+1)(N-1) updates of others, none older than s clocks; mean (N-1)/2 with slack 0"
    )
    approximates = "stale gradients, of bounded age"
    Options = SspOptions

    @property
    def n_fetch(self) -> int:
        """Clocks from fetch to fetch of one worker alone; others make it fetch earlier."""
        return int(self.options.slack) + 1 if self.options.cache else 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Read from the cache or fetch, compute, push: clock()."""
        replica = me.replica() if self.goes_on else Replica(me.initial(), ())
        gradient, held = me.buffer("gradient"), Held()
        yield from self.talk(me, replica.parameters, held, clock=0)
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            clock = step + 1
            fresh = self.options.cache and self.cached(held) >= clock - self.options.slack
            fetch = not fresh and clock < me.num_steps
            if fresh:
                yield from me.optimize(replica, gradient, step=step)
            yield from self.talk(me, replica.parameters, held, gradient, fetch, clock=clock)
            yield from me.step_done(step)
        return replica.parameters

    def cached(self, held: Held) -> int:
        """All updates of clocks before this one are in the cache."""
        return min(int(reply["slowest"]) for reply in held.replies)

    def shard(self, me: Context, replica: Replica) -> Clocks:
        """A shard, all clocks at 0."""
        return Clocks(replica, clocks=dict.fromkeys(me.ranks("worker"), 0))

    def handle(self, me: Context, shard: Shard, message: Message) -> Program[None]:
        """Apply what was pushed, and note the clock; answer all whose slowest worker has come far enough by that."""
        assert isinstance(shard, Clocks)
        worker, clock, parameters = message.source, int(message.header["clock"]), None
        shard.clocks[worker] = clock  # whoever looks at the parameters from now on sees this update
        if message.header["fetch"]:
            shard.waiting[worker] = clock - self.options.slack
        slowest = shard.slowest
        ready = [other for other, least in shard.waiting.items() if slowest >= least]
        shard.waiting = {other: least for other, least in shard.waiting.items() if slowest < least}
        if message.buffer is not None:
            parameters = yield from self.apply(me, shard, message, message.buffer, copy=bool(ready) and self.copies)
        if ready:
            version = shard.replica.version
            if parameters is None:
                parameters, version = yield from self.snapshot(me, shard)
            sent, header = yield from self.answer(me, parameters, {"version": version, "slowest": slowest})
            answer = partial(Send, buffer=sent, tag="reply", header=header)
            for other in ready:
                if other != worker and self.options.service == "concurrent":
                    yield from Post(answer(other, lent=True), f"answer {other}")
            for other in ready:
                if other == worker or self.options.service == "serial":
                    yield from answer(other, lent=True)

    def counts_vary(self) -> bool:
        """A cache is too old, and is fetched again, as others are slow."""
        options: SspOptions = self.options
        return options.cache and options.slack > 0 and options.workers > 1

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + (alpha + P beta)(1 + 1 / (s + 1))`` and updates; slack 0: a synchronous step (SCHEMES S10.5).

        Slack 0: ``T_c + 2 alpha + 2 max(1, N/S) P beta``, N updates of a shard and a copy of it; exact for equal shards
        and concurrent service.
        """
        if self.options.slack:
            form = super().closed_form(setting)
            assert isinstance(form, ClosedForm)
            if self.options.workers == 1:
                return form
            note = "workers wait for the slowest, which makes them fetch earlier, and for each other at the servers"
            return replace(form, staleness_mean=float("nan"), at_most=None, about=None, note=note)
        workers, servers, place, whole = self.options.workers, self.options.servers, setting.place, setting.model.whole
        pairs = [(worker, workers + shard) for worker in range(workers) for shard in range(servers)]
        push, pull = place.together(pairs), place.together((server, worker) for worker, server in pairs)
        seconds = place.longest(setting.gradient_kernels())
        seconds += push.alpha + pull.alpha + (push.beta + pull.beta) * whole.nbytes / servers
        seconds += (workers - 1) * self.server_seconds(setting, setting.update_kernel(1 / servers))
        seconds += self.server_seconds(setting, self.update_kernel(setting))
        exact = whole.parameters % servers == 0 and self.options.service == "concurrent"
        note = "" if exact else "shards differ in size, or servers of serial service answer in turn"
        stale = (workers - 1) / 2
        return ClosedForm(seconds, whole.nbytes, servers, stale, "exact" if exact else "estimate", note=note)
