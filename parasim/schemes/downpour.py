"""Downpour SGD: asynchronous SGD against a sharded parameter server (Dean et al. 2012, section 4.1; SCHEMES S9).

A worker computes on the parameters that it fetched last, pushes the gradient it accumulated every `n_push` steps and
fetches every `n_fetch` steps; nobody waits for another worker. Each server holds one shard and applies what comes at
once; shards know nothing of each other. Between fetches a worker goes on with its own updates (the paper's appendix).

With a warm start one worker takes its first steps alone, and then tells the others to begin. A zealous worker asks the
servers before it pushes; while one is busy it accumulates another mini-batch instead (Louppe and Geurts 2010, in the
form that Hermans 2017 gives it; that it may do so `zealous` - 1 times is our reading of "at most lambda").
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    ANY,
    Closed,
    ClosedForm,
    Context,
    Exchange,
    NoClosedForm,
    Post,
    Probe,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.asynchronous import Asynchronous, ServerOptions, Shard

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


class Downpour(Asynchronous):
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

    def begin(self, me: Context) -> Program[None]:
        """All but the first worker wait until it is warm."""
        if self.options.warm_start and me.index:
            yield from Recv(me.ranks("worker")[0], "begin")

    def step_done(self, me: Context, step: int) -> Program[None]:
        """The first worker, once warm, tells the others to begin."""
        yield from me.step_done(step)
        if me.index == 0 and step + 1 == min(self.options.warm_start, me.num_steps):
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

    def _tell(self, me: Context, shard: Shard) -> Program[None]:
        """Whoever asks is told whether a request is being served, or waits."""
        try:
            while True:
                asked = yield from Recv(ANY, "busy?")
                waiting = yield from Probe(ANY, "request")
                yield from Send(asked.source, None, "busy", {"busy": shard.busy > 0 or waiting})
        except Closed:
            return

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """That of all asynchronous workers; zealous ones push as servers have time."""
        if self.options.zealous > 1:
            return NoClosedForm("how often zealous workers push depends on how busy the servers are")
        return super().closed_form(setting)
