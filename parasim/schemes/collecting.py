"""What servers share that apply the mean of several gradients: they collect them, then make one update.

`Collecting` is the base of schemes with such servers (one, unless a scheme shards them). Each serves every worker on a
lane of its own, so it never waits for one of them. The rule of a scheme says which gradients are collected, and who is
answered when.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parasim.program import (
    Buffer,
    Closed,
    Context,
    Event,
    Log,
    Message,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Scheme,
    Send,
    Setting,
    bounds,
)
from parasim.program.elementwise import add
from parasim.schemes.pushing import packed_values, unpacked, vote

__all__ = ["Collected", "Collecting", "Serving", "apply_mean", "collect", "collect_seconds"]


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
        """Number of servers, each with a shard."""
        return 1

    @classmethod
    def extra_actors(cls, options: object) -> int:
        """The server."""
        return 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute gradients and push them."""
        raise NotImplementedError

    def arrived(self, me: Context, serving: Serving, message: Message) -> Program[None]:
        """The scheme's rule: what becomes of a gradient."""
        raise NotImplementedError

    def server(self, me: Context) -> Program[Buffer]:
        """Send the initial parameters to all; then serve each on a lane of its own."""
        workers, cuts = me.ranks("worker"), bounds(me.model.whole.parameters, self.servers)
        shard = (cuts[me.index], cuts[me.index + 1]) if self.servers > 1 else None
        serving = Serving(me.replica(elements=shard, per_step=self.updates_per_step), working=len(workers))
        yield from self.publish(me, workers, 0, serving.replica.parameters)
        for worker in workers:
            yield from Post(self._serve(me, serving, worker), f"from {worker}", daemon=True)
        return serving.replica.parameters

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
