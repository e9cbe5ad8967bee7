"""What servers share that apply the mean of several gradients: they collect them, then make one update.

`Collecting` is the base of schemes with such servers, each of which holds a shard. A server serves every worker on a
lane of its own, so it never waits for one of them. The rule of a scheme says which gradients are collected, and who is
answered when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from parasim.program import (
    Buffer,
    Closed,
    Context,
    Event,
    Exchange,
    Log,
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
    bounds,
    option,
)
from parasim.program.elementwise import add
from parasim.program.ops import Header
from parasim.schemes.pushing import into_of, packed, packed_values, unpacked, values_into, vote

__all__ = ["Collected", "Collecting", "CollectingOptions", "Serving", "apply_mean", "collect", "collect_seconds"]


@dataclass(frozen=True, kw_only=True)
class CollectingOptions(Options):
    """Options of all schemes whose servers collect gradients."""

    servers: int = option(1, "parameter servers, each with one shard of the parameters", ge=1)


@dataclass(slots=True)
class Collected:
    """Gradients for one update: their sum (None: none yet), and of each who computed it at which version."""

    total: Buffer | None = None
    origins: list[tuple[int, int]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """Workers that wait for the update."""

    def __len__(self) -> int:
        return len(self.origins)


def collect(me: Context, collected: Collected, message: Message, read: int) -> Program[None]:
    """Add the gradient that a message brought, computed at version `read`; the first one's buffer is the sum."""
    message = yield from unpacked(me, message)
    assert message.buffer is not None
    collected.origins.append((message.source, read))
    if collected.total is None:
        collected.total = message.buffer
    else:
        yield from me.math(add, (collected.total,), (message.buffer,))


def apply_mean(me: Context, replica: Replica, collected: Collected, copy: bool = False) -> Program[tuple[int, Buffer]]:
    """One update with the mean of what was collected; every gradient's staleness is logged.

    Replies with the new version and its parameters (with `copy`: a copy, which later updates leave alone).
    """
    assert collected.total is not None
    yield from vote(me, collected.total, len(collected))
    updated = yield from me.optimize(replica, collected.total, scale=1 / len(collected), copy=copy)
    version = replica.version
    replica.version += 1
    for peer, read in collected.origins:
        yield from Log(Event("applied", peer=peer, version_read=read, version_applied=version))
    return version + 1, updated or replica.parameters


@dataclass(slots=True)
class Serving:
    """A server at work: its parameters, the version that it collects for, what it collects, what it is applying."""

    replica: Replica
    version: int = 0
    collected: Collected = field(default_factory=Collected)
    applying: Collected | None = None
    working: int = 0
    """Workers that have not pushed their last gradient."""

    def close(self) -> Collected:
        """End the collection for one version; the next gradients are for the next."""
        self.applying, self.collected = self.collected, Collected()
        self.version += 1
        return self.applying


class Collecting(Scheme):
    """Workers, and servers that end with them."""

    compresses = "messages"

    def roles(self) -> tuple[Role, ...]:
        """Workers and servers."""
        return (
            Role("worker", self.options.workers, self.worker),
            Role("server", self.servers, self.server, daemon=True),
        )

    @property
    def servers(self) -> int:
        """Number of servers."""
        return int(self.options.servers)

    @classmethod
    def extra_actors(cls, options: CollectingOptions) -> int:
        """The servers."""
        return options.servers

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute gradients and push them."""
        raise NotImplementedError

    def shards(self, me: Context, vector: Buffer) -> dict[int, Buffer]:
        """The pieces of a vector as large as the model, by the rank of the server that holds such a shard."""
        cuts = bounds(vector.elements, self.servers)
        return {server: vector.part(*cut) for server, cut in zip(me.ranks("server"), pairwise(cuts), strict=True)}

    def pull(self, me: Context, weights: Mapping[int, Buffer]) -> Program[dict[int, int]]:
        """Wait for what these servers send next; replies with the versions of their shards."""
        pulls = tuple(Recv(server, "weights", into_of(me, into)) for server, into in weights.items())
        messages = yield from Exchange((), pulls)
        for message in messages:
            yield from values_into(me, message, weights[message.source])
        return {message.source: int(message.header["version"]) for message in messages}

    def push(
        self, me: Context, gradient: Mapping[int, Buffer], versions: Mapping[int, int], header: Header | None = None
    ) -> Program[None]:
        """Send every server its piece of a gradient that was computed at these versions of the shards."""
        pushes = []
        for server, piece in gradient.items():
            sent, said = yield from packed(me, piece, {"version": versions[server], **(header or {})})
            pushes.append(Send(server, sent, "gradient", said, lent=True))
        yield from Exchange(tuple(pushes))

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """The scheme's rule: what becomes of a gradient."""
        raise NotImplementedError

    def server(self, me: Context) -> Program[Buffer]:
        """Send the initial parameters to all; then serve each on a lane of its own."""
        workers, cuts = me.ranks("worker"), bounds(me.model.whole.parameters, self.servers)
        shard = (cuts[me.index], cuts[me.index + 1]) if self.servers > 1 else None
        serving = Serving(me.replica(elements=shard, per_step=self.updates_per_step), working=len(workers))
        yield from self.publish(me, workers, 0, serving.replica.parameters)
        yield from self.serve(me, serving)
        return serving.replica.parameters

    def serve(self, me: Context, serving: Serving) -> Program[None]:
        """A lane for each worker."""
        for worker in me.ranks("worker"):
            yield from Post(self._serve(me, serving, worker), f"from {worker}", daemon=True)

    def alone_seconds(self, setting: Setting) -> tuple[float, float]:
        """What a push and a pull of all shards take a worker whom nobody disturbs, the slowest where they differ."""
        workers, place, nbytes = self.options.workers, setting.place, setting.model.whole.nbytes / self.servers
        servers = range(workers, workers + self.servers)
        push = setting.worst(place.together((worker, server) for server in servers) for worker in range(workers))
        pull = setting.worst(place.together((server, worker) for server in servers) for worker in range(workers))
        return push.alpha + push.beta * nbytes, pull.alpha + pull.beta * nbytes

    def busiest_seconds(self, setting: Setting) -> float:
        """What the busiest link takes for a push, or a pull, of every worker."""
        workers = range(self.options.workers)
        pairs = [(worker, len(workers) + shard) for worker in workers for shard in range(self.servers)]
        back = [(server, worker) for worker, server in pairs]
        busiest = max(setting.place.busiest(pairs), setting.place.busiest(back))
        return busiest * setting.model.whole.nbytes / self.servers

    def _serve(self, me: Context, serving: Serving, worker: int) -> Program[None]:
        try:
            while True:
                message = yield from Recv(worker, "gradient")
                yield from self.arrived(me, serving, message)
        except Closed:
            return

    def publish(
        self, me: Context, workers: list[int] | tuple[int, ...], version: int, parameters: Buffer | None
    ) -> Program[None]:
        """Send parameters (None: the version alone) to these workers, each on a lane of its own; wait for none."""
        first = bounds(me.model.whole.parameters, self.servers)[me.index]
        sent, header = yield from packed_values(me, parameters, {"version": version}, first)
        for worker in workers:
            yield from Post(Send(worker, sent, "weights", header), f"to {worker}")


def collect_seconds(setting: Setting, server: int, count: int, fraction: float = 1.0, copy: bool = False) -> float:
    """Seconds of `count` gradients collected and applied by a server that holds this fraction of the parameters."""
    place = setting.place
    adding = place.seconds(setting.math_kernel(add, 2, fraction), server)
    return (count - 1) * adding + place.seconds(setting.update_kernel(fraction, copy, scale=1 / count), server)
