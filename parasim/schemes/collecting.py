"""What servers share that apply the mean of several gradients: they collect them, then make one update."""

from __future__ import annotations

from dataclasses import dataclass, field

from parasim.program import Buffer, Context, Event, Log, Message, Program, Replica, Setting, Tensor, Tensors

__all__ = ["Collected", "apply_mean", "collect", "collect_seconds"]


@dataclass(slots=True)
class Collected:
    """Gradients for one update: their sum (None: none yet), and of each who computed it at which version."""

    total: Buffer | None = None
    origins: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.origins)


def collect(me: Context, collected: Collected, message: Message, read: int) -> Program[None]:
    """Add the gradient that a message brought, computed at version `read`; the first one's buffer is the sum."""
    assert message.buffer is not None
    collected.origins.append((message.source, read))
    if collected.total is None:
        collected.total = message.buffer
    else:
        yield from me.math(add, (collected.total,), (message.buffer,))


def apply_mean(me: Context, replica: Replica, collected: Collected) -> Program[None]:
    """One update with the mean of what was collected; every gradient's staleness is logged."""
    assert collected.total is not None
    yield from me.optimize(replica, collected.total, scale=1 / len(collected))
    version = replica.version
    replica.version += 1
    for peer, read in collected.origins:
        yield from Log(Event("applied", peer=peer, version_read=read, version_applied=version))


def collect_seconds(setting: Setting, server: int, count: int, fraction: float = 1.0) -> float:
    """Seconds of `count` gradients collected and applied by a server that holds this fraction of the parameters."""
    place = setting.place
    adding = place.seconds(setting.math_kernel(add, 2, fraction), server)
    return (count - 1) * adding + place.seconds(setting.update_kernel(fraction, scale=1 / count), server)


def add(xp: Tensors, total: Tensor, gradient: Tensor) -> None:
    """Total += gradient."""
    xp.add_(total, gradient)
