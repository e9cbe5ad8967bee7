"""Downpour SGD: asynchronous SGD against a sharded parameter server (Dean et al. 2012, section 4.1; SCHEMES S9).

A worker computes on the parameters that it fetched last, pushes the gradient it accumulated every `n_push` steps and
fetches every `n_fetch` steps; nobody waits for another worker. Each server holds one shard and applies what comes at
once; shards know nothing of each other. Between fetches a worker goes on with its own updates (the paper's appendix).

With a warm start one worker takes its first steps alone, and then tells the others to begin. A zealous worker asks the
servers before it pushes; while one is busy it accumulates another mini-batch instead (Louppe and Geurts 2010, in the
form that Hermans 2017 gives it; that it may do so `zealous` - 1 times is our reading of "at most lambda"). With
`threads` a worker pushes and fetches while it computes the next gradient, as the paper's three threads do; here they
are synchronised once per step, so the parameters in use miss the worker's own last push.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parasim.program import (
    ANY,
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Exchange,
    Handle,
    Message,
    Model,
    NoClosedForm,
    Post,
    Probe,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    Wait,
    option,
)
from parasim.program.elementwise import overwrite
from parasim.schemes.asynchronous import Asynchronous, Held, Shard
from parasim.schemes.server_times import ServerOptions

__all__ = ["Downpour"]


@dataclass(frozen=True, kw_only=True)
class DownpourOptions(ServerOptions):
    """Options of Downpour SGD."""

    n_fetch: int = option(1, "fetch parameters every so many steps", ge=1)
    n_push: int = option(1, "push the accumulated gradient every so many steps", ge=1)
    warm_start: int = option(0, "steps that the first worker takes alone, before the others begin", ge=0)
    zealous: int = option(
        1, "a push that finds a server busy is put off, until it would be so many steps late (1: it never is)", ge=1
    )
    threads: bool = option(False, "push and fetch beside the next gradient (with n_push = n_fetch = 1)")


class Downpour(Asynchronous):
    """Data parallel, asynchronous, centralised. The scenario's optimiser (Adagrad in the paper) is the servers'."""

    name = "downpour"
    aliases = ("downpour_sgd", "asgd", "async_sgd", "asynchronous_sgd", "async_ps", "distbelief")
    citation = "Dean et al. (2012)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = (
        "mean N-1 with n_fetch = n_push = 1, any speeds (2N-1 with threads); "
        "more where n_fetch > n_push: updates since the last fetch, own ones too"
    )
    Options = DownpourOptions

    @property
    def n_push(self) -> int:
        """Steps from push to push."""
        return int(self.options.n_push)

    @property
    def n_fetch(self) -> int:
        """Steps from fetch to fetch."""
        return int(self.options.n_fetch)

    @property
    def accumulates(self) -> bool:
        """A push may hold several gradients by plan, or because it was put off."""
        return self.n_push > 1 or self.options.zealous > 1

    @property
    def goes_on(self) -> bool:
        """A worker takes steps of its own between fetches; a fetch is put off with its push."""
        return self.n_fetch > 1 or self.options.zealous > 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Fetch, compute, accumulate, push: one after the other, or side by side."""
        return (yield from self._side_by_side(me) if self.options.threads else super().worker(me))

    def _side_by_side(self, me: Context) -> Program[Buffer]:
        """Compute a gradient while the one before is pushed; then take what was fetched with that."""
        parameters, gradient, used = me.initial(), me.buffer("gradient"), Held()
        incoming, pushed, coming = me.buffer("incoming"), me.buffer("pushed"), Held()
        under_way: list[Handle] = []
        yield from self.begin(me)
        yield from self.talk(me, parameters, used)
        for step in me.steps():
            yield from me.gradient(parameters, me.batch(step), gradient)
            computed_at = used.replies
            if under_way:
                yield from Wait(under_way)
                yield from me.math(overwrite, (parameters,), (incoming,))
                used = coming
            yield from me.math(overwrite, (pushed,), (gradient,))
            coming = Held(replies=computed_at)
            exchange = self.talk(me, incoming, coming, pushed, step + 1 < me.num_steps)
            under_way = [(yield from Post(exchange, "exchange"))]
            yield from self.step_done(me, step)
        yield from Wait(under_way)
        return parameters

    def begin(self, me: Context) -> Program[None]:
        """All but the first worker wait until it is warm."""
        if self.options.warm_start and me.index:
            yield from Recv(me.ranks("worker")[0], "begin")

    def step_done(self, me: Context, step: int) -> Program[None]:
        """The first worker, once warm, tells the others to begin."""
        yield from me.step_done(step)
        warm = min(self.options.warm_start, me.num_steps)
        if warm and me.index == 0 and step + 1 == warm:
            yield from Exchange(tuple(Send(worker, None, "begin") for worker in me.ranks("worker")[1:]))

    def puts_off(self, me: Context, late: int) -> Program[bool]:
        """A zealous worker asks all servers; it puts its push off if one is busy."""
        if late + 1 >= self.options.zealous:
            return False
        servers = me.ranks("server")
        asked = Exchange(tuple(Send(s, None, "busy?") for s in servers), tuple(Recv(s, "busy") for s in servers))
        return any(answer.header["busy"] for answer in (yield from asked))

    def open(self, me: Context, shard: Shard) -> Program[None]:
        """Servers of zealous workers have a lane for their questions."""
        if self.options.zealous > 1:
            yield from Post(self._tell(me, shard), "busy?", daemon=True)

    def handle(self, me: Context, shard: Shard, message: Message) -> Program[None]:
        """As always; while a request is served, zealous workers are told that the server is busy."""
        if self.options.zealous == 1:
            yield from super().handle(me, shard, message)
        else:
            shard.busy += 1
            yield from super().handle(me, shard, message)
            shard.busy -= 1

    def _tell(self, me: Context, shard: Shard) -> Program[None]:
        """Whoever asks is told whether a request is being served, or waits."""
        try:
            while True:
                asked = yield from Recv(ANY, "busy?")
                waiting = yield from Probe(ANY, "request")
                yield from Send(asked.source, None, "busy", {"busy": shard.busy > 0 or waiting})
        except Closed:
            return

    def counts_vary(self) -> bool:
        """Zealous workers push as servers have time."""
        return bool(self.options.zealous > 1)

    def check(self, model: Model, batch_size: int) -> None:
        """Threads are for workers that push and fetch at every step."""
        options = self.options
        if options.threads and (options.n_push, options.n_fetch, options.zealous) != (1, 1, 1):
            raise ValueError("threads need n_push, n_fetch and zealous 1: a push and a fetch at every step")

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + (alpha + P beta)(1 / n_push + 1 / n_fetch)`` and updates; with threads the longer part, and copies.

        Servers bound the rate (SCHEMES S9.5), as :meth:`Asynchronous.closed_form` says. Zealous workers push as servers
        have time: there is no form.
        """
        if self.options.zealous > 1:
            return NoClosedForm("how often zealous workers push depends on how busy the servers are")
        form = super().closed_form(setting)
        if not self.options.threads or isinstance(form, NoClosedForm):
            return form
        gradient = setting.gradient_seconds()
        exchange = sum(self.exchange_seconds(setting)) + self.server_seconds(setting, self.update_kernel(setting))
        crowded = form.seconds_per_step if form.seconds_per_step > gradient + exchange else 0.0  # servers are the limit
        copies = 2 * setting.place.seconds(setting.math_kernel(overwrite, 2))
        return replace(
            form,
            seconds_per_step=max(crowded, max(gradient, exchange) + copies),
            staleness_mean=2 * self.options.workers - 1,
            at_most=None,
            about=None,
        )
