"""n-softsync: one update per c = floor(N/n) gradients, with rates that fall with staleness (SCHEMES S11).

A worker fetches, computes and pushes as in Downpour; a server collects c gradients of whichever workers and applies
their mean, each scaled by 1 / staleness (1 where that is 0). n = N with constant rates is Downpour; n = 1 still has no
barrier: nobody waits for the others' gradients.

References
----------
Gupta, Zhang, Wang (2016), Model accuracy and runtime tradeoff in distributed deep learning; Zhang, Gupta, Lian, Liu
(2016), Staleness-aware async-SGD for distributed deep learning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from parasim.program import (
    Buffer,
    Context,
    Event,
    Log,
    Message,
    Model,
    Program,
    Replica,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    option,
)
from parasim.schemes.asynchronous import Asynchronous, Shard
from parasim.schemes.server_times import Cycle, ServerOptions

__all__ = ["Softsync"]


@dataclass(frozen=True, kw_only=True)
class SoftsyncOptions(ServerOptions):
    """Options of n-softsync."""

    n: int = option(1, "the servers make an update of every floor(workers / n) gradients", ge=1)
    rate: Literal["staleness", "constant"] = option(
        "staleness", "a gradient's learning rate: the optimiser's over its staleness, or the optimiser's"
    )


@dataclass(slots=True)
class Collecting(Shard):
    """A shard with the sum of the gradients for the next update, and of each who computed it at which version."""

    total: Buffer | None = None
    origins: list[tuple[int, int]] = field(default_factory=list)


class Softsync(Asynchronous):
    """Data parallel, asynchronous with a threshold, centralised."""

    name = "softsync"
    aliases = ("n_softsync", "1_softsync", "staleness_aware", "staleness_aware_asgd")
    citation = "Gupta, Zhang, Wang (2016); Zhang, Gupta, Lian, Liu (2016)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean (N-1)/c with c = floor(N/n) gradients per update, any speeds; hardly ever more than 2n"
    Options = SoftsyncOptions

    @property
    def per_update(self) -> int:
        """Gradients of an update: c."""
        return int(self.options.workers // self.options.n)

    @property
    def updates_per_step(self) -> float:
        """A server's updates while all workers make a step."""
        return float(self.options.workers / self.per_update)

    def shard(self, me: Context, replica: Replica) -> Collecting:
        """A shard, nothing collected yet."""
        total = me.buffer("collected", replica.parameters.elements) if self.per_update > 1 else None
        return Collecting(replica, total=total)

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """Add the gradient to the sum; the last of c: update with all of them."""
        assert isinstance(shard, Collecting)
        replica, read = shard.replica, int(message.header["read"])
        rate = 1 / max(1, replica.begun - read) if self.options.rate == "staleness" else 1.0
        shard.origins.append((message.source, read))
        if len(shard.origins) < self.per_update:
            assert shard.total is not None
            if not copy:
                yield from me.math(add_scaled, (shard.total,), (gradient,), rate=rate)
                return None
            parameters: Buffer = yield from me.math(
                add_and_copy, (shard.total,), (gradient, replica.parameters), rate=rate
            )
            return parameters
        origins, shard.origins = shard.origins, []
        joined, beside = (None, ()) if shard.total is None else (WithCollected(rate), (shard.total,))
        scale = rate if shard.total is None else 1 / self.per_update
        updated = yield from me.optimize(replica, gradient, scale=scale, copy=copy, correct=joined, beside=beside)
        version = replica.version
        replica.version += 1
        for peer, computed_at in origins:
            yield from Log(Event("applied", peer=peer, version_read=computed_at, version_applied=version))
        return updated

    def check(self, model: Model, batch_size: int) -> None:
        """At least one gradient per update."""
        if self.options.n > self.options.workers:
            raise ValueError(f"n {self.options.n} must be at most the number of workers, {self.options.workers}")

    def cycle(self, setting: Setting) -> Cycle:
        """Of c gradients c - 1 are added (and a copy made to be sent), one updates."""
        count, fraction, rate = self.per_update, 1 / self.options.servers, 1 / max(1, self.options.n)
        if count == 1:
            return super().cycle(setting)
        last = setting.update_kernel(fraction, self.copies, 1 / count, WithCollected(rate), 1)
        seconds = self.server_seconds(setting, last)
        function, operands = (add_and_copy, 3) if self.copies else (add_scaled, 2)
        adding = setting.math_kernel(function, operands, fraction, rate=rate)
        seconds += (count - 1) * self.server_seconds(setting, adding)
        return replace(super().cycle(setting), apply=seconds / count, per_update=count)


@dataclass(frozen=True, slots=True)
class WithCollected:
    """The sum of what was collected and of the last gradient, at its rate; nothing is collected afterwards."""

    rate: float

    def __call__(self, xp: Tensors, gradient: Tensor, parameters: Tensor, total: Tensor) -> Tensor:
        """``total + rate * gradient``."""
        whole = xp.add(total, gradient, self.rate)
        xp.fill_(total, 0.0)
        return whole


def add_scaled(xp: Tensors, total: Tensor, gradient: Tensor, rate: float) -> None:
    """Total += rate * gradient."""
    xp.add_(total, gradient, rate)


def add_and_copy(xp: Tensors, total: Tensor, gradient: Tensor, parameters: Tensor, rate: float) -> Tensor:
    """The same, and a copy of the parameters as they are then."""
    xp.add_(total, gradient, rate)
    return xp.copy(parameters)
