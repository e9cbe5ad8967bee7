"""Asynchronous workers and sharded parameter servers: the programs that Downpour and its relatives share.

A worker computes on the parameters that it fetched last, pushes the gradient it accumulated every `n_push` steps and
fetches every `n_fetch` steps; between fetches it goes on with its own updates (Dean et al. 2012, appendix). Each server
holds one shard and answers requests; shards know nothing of each other. A push and the fetch that follows it are one
request, so nothing is applied between them.

A relative says what a server does with a gradient (`apply`), what it keeps beside the parameters (`shard`), when it
answers (`handle`), or what a worker sends (`commit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from parasim.program import (
    ANY,
    Buffer,
    Closed,
    Context,
    Message,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Send,
    Wait,
    bounds,
    number,
)
from parasim.program.ops import Header
from parasim.schemes.pushing import into_of, packed, packed_values, unpacked, values_into
from parasim.schemes.server_times import ServerOptions, ServerTimes

__all__ = ["Asynchronous", "Held", "Shard"]


@dataclass(slots=True)
class Shard:
    """A server's part of the parameters; by worker the copy sent last, if kept; requests being served, if counted."""

    replica: Replica
    sent: dict[int, Buffer] = field(default_factory=dict)
    busy: int = 0


@dataclass(slots=True)
class Held:
    """What a worker holds: headers of the servers' latest answers, and a copy of what it fetched, if it remembers."""

    remembers: bool = False
    replies: Sequence[Header] = ()
    fetched: Buffer | None = None

    def version(self, shard: int) -> int:
        """Version of a shard that was fetched last; 0 before the first fetch."""
        return number(self.replies[shard], "version") if self.replies else 0


class Asynchronous(ServerTimes):
    """Base of the schemes with workers that wait for nobody, and servers that end with them."""

    compresses = "messages"
    remembers = False
    """Does a worker keep what it fetched last?"""
    approximates = "stale gradients"

    def roles(self) -> tuple[Role, ...]:
        """Workers, and servers that end with them."""
        options = self.options
        return (Role("worker", options.workers, self.worker), Role("server", options.servers, self.server, daemon=True))

    @classmethod
    def extra_actors(cls, options: ServerOptions) -> int:
        """The servers."""
        return options.servers

    # workers -------------------------------------------------------------------------------------------------------
    def worker(self, me: Context) -> Program[Buffer]:
        """Fetch, compute, accumulate, push."""
        replica = me.replica() if self.goes_on else Replica(me.initial(), ())  # without updates of its own: no state
        gradient = me.buffer("gradient")
        pushed = me.buffer("accumulated") if self.accumulates else gradient
        held = Held(self.remembers)
        yield from self.begin(me)
        yield from self.talk(me, replica.parameters, held)
        late = 0
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            if self.accumulates:
                yield from me.accumulate(pushed, gradient)
            last = step + 1 == me.num_steps
            push = (step + 1) % self.n_push == 0 or late > 0 or last  # no gradient is left behind
            fetch = ((step + 1) % self.n_fetch == 0 or late > 0) and not last
            late = late + 1 if push and not last and (yield from self.puts_off(me, late)) else 0
            if self.goes_on and (late or not fetch):
                yield from me.optimize(replica, gradient, step=step)
            if push and not late:
                yield from self.commit(me, replica.parameters, held, pushed, fetch)
                if self.accumulates:
                    yield from me.clear(pushed)
            elif fetch and not late:
                yield from self.talk(me, replica.parameters, held)
            yield from self.step_done(me, step)
        return replica.parameters

    def begin(self, me: Context) -> Program[None]:
        """What a worker does before its first fetch: nothing."""
        yield from ()

    def step_done(self, me: Context, step: int) -> Program[None]:
        """What a worker does at the end of a step: it says so."""
        yield from me.step_done(step)

    def puts_off(self, me: Context, late: int) -> Program[bool]:
        """Does a worker put off a push that is due, and was put off `late` times? Never."""
        yield from ()
        return False

    def commit(self, me: Context, parameters: Buffer, held: Held, pushed: Buffer, fetch: bool) -> Program[None]:
        """Push what was accumulated, and fetch with it."""
        yield from self.talk(me, parameters, held, pushed, fetch)

    def talk(
        self,
        me: Context,
        parameters: Buffer,
        held: Held,
        push: Buffer | None = None,
        fetch: bool = True,
        beside: Buffer | None = None,
        **more: int,
    ) -> Program[None]:
        """One request to every server, on a lane each: push, fetch into `parameters`, or both; notes what is held.

        `beside` is a second vector for the servers, `more` what else the request says.
        """
        handles = []
        cuts = bounds(parameters.elements, self.options.servers)
        for shard, server in enumerate(me.ranks("server")):
            sent = [vector.part(cuts[shard], cuts[shard + 1]) for vector in (push, beside) if vector is not None]
            into = parameters.part(cuts[shard], cuts[shard + 1])
            header = {"fetch": fetch, "read": held.version(shard), **more}
            handles.append((yield from Post(self._request(me, server, sent, into, header), lane=f"shard {shard}")))
        replies = yield from Wait(handles)
        if fetch:
            held.replies = replies
            if held.remembers:
                if held.fetched is None:
                    me.hold("fetched", parameters.nbytes)
                held.fetched = yield from me.copy(parameters)

    def _request(self, me: Context, server: int, sent: list[Buffer], into: Buffer, header: Header) -> Program[Header]:
        """What is said to one server; replies with what the answer's header says."""
        fetch, first = header["fetch"], None
        if sent:
            first, header = yield from packed(me, sent[0], header)
        yield from Send(server, first, "request", header)
        for vector in sent[1:]:
            beside, said = yield from packed_values(me, vector, {})
            yield from Send(server, beside, "beside", said)
        if not fetch:
            return header
        reply = yield from Recv(server, "reply", into_of(me, into))
        yield from values_into(me, reply, into)
        return reply.header

    # servers -------------------------------------------------------------------------------------------------------
    def server(self, me: Context) -> Program[Buffer]:
        """Hold one shard; serve one request after the other, or every worker on a lane of its own."""
        cuts = bounds(me.model.whole.parameters, self.options.servers)
        elements = (cuts[me.index], cuts[me.index + 1])
        shard = self.shard(me, me.replica(elements=elements, per_step=self.updates_per_step))
        yield from self.open(me, shard)
        if self.options.service == "concurrent":
            for worker in self.served(me):
                yield from Post(self._serve(me, shard, worker), f"worker {worker}", daemon=True)
        else:
            yield from self._serve(me, shard, ANY)
        return shard.replica.parameters

    def served(self, me: Context) -> Sequence[int]:
        """The clients' ranks, as a server's context has them where all workers are clients."""
        workers = me.ranks("worker")
        return workers if len(workers) == len(self.clients) else self.clients

    @property
    def updates_per_step(self) -> float:
        """A server's updates while all workers make a step."""
        return len(self.clients) / self.n_push

    def shard(self, me: Context, replica: Replica) -> Shard:
        """What a server keeps."""
        return Shard(replica)

    def open(self, me: Context, shard: Shard) -> Program[None]:
        """What a server does before it serves: nothing."""
        yield from ()

    def _serve(self, me: Context, shard: Shard, source: int) -> Program[None]:
        """Requests of one worker (or of any), one after the other."""
        try:
            while True:
                message = yield from Recv(source, "request")
                yield from self.handle(me, shard, (yield from unpacked(me, message)))
        except Closed:
            return

    def handle(self, me: Context, shard: Shard, message: Message) -> Program[None]:
        """Apply what was pushed, at once; answer a fetch with the parameters right afterwards."""
        fetch, parameters = bool(message.header["fetch"]), None
        if message.buffer is not None:
            parameters = yield from self.apply(me, shard, message, message.buffer, copy=fetch and self.copies)
        if fetch:
            yield from self.reply(me, shard, message.source, parameters)

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """The optimiser's update; with `copy` it replies a copy of the parameters right afterwards."""
        read = number(message.header, "read")
        return (yield from me.update(shard.replica, gradient, read=read, peer=message.source, copy=copy))

    def reply(self, me: Context, shard: Shard, worker: int, parameters: Buffer | None) -> Program[None]:
        """Send the parameters with their version: a copy just made, or as they are now."""
        version = shard.replica.version
        if parameters is None:
            parameters, version = yield from self.snapshot(me, shard)
        if self.keeps_copies:
            if worker not in shard.sent:
                me.hold("sent", parameters.nbytes)
            shard.sent[worker] = parameters
        sent, header = yield from self.answer(me, parameters, {"version": version})
        yield from Send(worker, sent, "reply", header, lent=True)

    def answer(self, me: Context, parameters: Buffer, header: Header) -> Program[tuple[Buffer | None, Header]]:
        """The parameters as they are sent, and the header that goes with them."""
        first = bounds(me.model.whole.parameters, self.options.servers)[me.index]
        return (yield from packed_values(me, parameters, header, first))

    def snapshot(self, me: Context, shard: Shard) -> Program[tuple[Buffer, int]]:
        """The parameters, or a copy where one is needed, and their version: all updates that have begun are in it."""
        parameters, version = shard.replica.parameters, shard.replica.begun
        if self.copies:
            parameters = yield from me.copy(parameters)
        return parameters, version
