"""ADAG: asynchronous distributed adaptive gradients (Hermans 2017, chapter 4; SCHEMES S12).

A worker takes lambda steps of its own, commits the sum of their gradients and fetches. How stale a commit is, the
distance tells that the parameters have moved since the worker fetched them: element by element a commit is divided by
``(w_t - w_(t-tau))^2 / gamma + 1``. That can be done in three places:

* message: the worker sends what it had fetched with the commit, 2 P up;
* server: each server keeps what every worker fetched last, N P of memory;
* worker: the worker fetches once more just before it commits, P more down; what others commit meanwhile is missed.

With `normalise` the commit is over lambda first, as in AGN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from parasim.program import (
    Buffer,
    Codes,
    Context,
    Kernel,
    Message,
    Program,
    Recv,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    option,
)
from parasim.program.elementwise import copied, scale
from parasim.schemes.asynchronous import Held, Shard
from parasim.schemes.dynsgd import LocalSteps, LocalStepsOptions
from parasim.schemes.pushing import unpacked
from parasim.schemes.server_times import Cycle

__all__ = ["Adag"]


@dataclass(frozen=True, kw_only=True)
class AdagOptions(LocalStepsOptions):
    """Options of ADAG."""

    scaled_by: Literal["message", "server", "worker"] = option(
        "message", "what scales a commit: the server by what the message tells or by what it keeps, or the worker"
    )
    gamma: float = option(1e-4, "squared distance at which a commit counts half (smaller if it diverges)", gt=0)
    normalise: bool = option(False, "divide a commit by lambda, as AGN does (ADAG-AGN)")


class Adag(LocalSteps):
    """Data parallel, asynchronous, centralised; commits are scaled by how far the parameters have moved."""

    name = "adag"
    aliases = ("adag_agn",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"adag_agn": {"normalise": True}}
    citation = "Hermans (2017)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean N-1, in commits of lambda steps each, any speeds; its measure is the distance of parameters"
    approximates = "stale sums of local steps, scaled by distance"
    Options = AdagOptions

    @property
    def where(self) -> str:
        """Where commits are scaled."""
        return str(self.options.scaled_by)

    @property
    def keeps_copies(self) -> bool:  # type: ignore[override]
        """Servers keep what they send if nobody tells them."""
        return self.where == "server"

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """Workers keep what they fetch if they have to tell, or to scale."""
        return self.where != "server"

    def codes(self) -> Codes:
        """Gradients to servers; with scaled_by: message parameters too, and the code must be for these."""
        return "values" if self.where == "message" else "messages"

    def commit(self, me: Context, parameters: Buffer, held: Held, pushed: Buffer, fetch: bool) -> Program[None]:
        """Push what was accumulated, scaled here or with what tells the scale; fetch with it."""
        if self.options.normalise and self.n_push > 1:
            yield from me.math(scale, (pushed,), factor=1 / self.n_push)
        if self.where == "worker":
            current = me.buffer("current")
            yield from self.talk(me, current, Held())
            yield from me.math(damp, (pushed,), (current, self.fetched(held)), gamma=self.options.gamma)
            me.release("current", current.nbytes)
        beside = self.fetched(held) if self.where == "message" else None
        yield from self.talk(me, parameters, held, pushed, fetch, beside)

    def fetched(self, held: Held) -> Buffer:
        """What the worker fetched last."""
        assert held.fetched is not None
        return held.fetched

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """Update with the commit, scaled by the distance from what it was computed from, unless the worker did."""
        source, read, fetched = message.source, int(message.header["read"]), shard.sent.get(message.source)
        if self.where == "message":
            fetched = (yield from unpacked(me, (yield from Recv(source, "beside")))).buffer
        damping, beside = (None, ()) if fetched is None else (Damping(self.options.gamma), (fetched,))
        updated = yield from me.update(
            shard.replica, gradient, read=read, peer=source, copy=copy, correct=damping, beside=beside
        )
        return updated

    def cycle(self, setting: Setting) -> Cycle:
        """Two vectors up in messages; two down, and one more copy, where workers scale."""
        cycle, place, fraction = super().cycle(setting), setting.place, 1 / self.options.servers
        local = cycle.local
        if self.options.normalise and self.n_push > 1:
            local += place.seconds(setting.math_kernel(scale, factor=1 / self.n_push)) / self.n_push
        if self.remembers:
            local += place.seconds(setting.math_kernel(copied)) / self.n_push
        if self.where == "message":
            return replace(cycle, pushes=2, local=local)
        if self.where == "server":
            return replace(cycle, local=local)
        local += place.seconds(setting.math_kernel(damp, 3, gamma=self.options.gamma)) / self.n_push
        apply = cycle.apply
        if self.copies:
            apply += self.server_seconds(setting, setting.math_kernel(copied, 1, fraction))
        return replace(cycle, fetches=2, local=local, apply=apply)

    def update_kernel(self, setting: Setting) -> Kernel:
        """The update with the scaling of commits, if servers do it."""
        if self.where == "worker":
            return super().update_kernel(setting)
        return setting.update_kernel(1 / self.options.servers, self.copies, 1.0, Damping(self.options.gamma), 1)


@dataclass(frozen=True, slots=True)
class Damping:
    """A commit over ``moved^2 / gamma + 1``, by element."""

    gamma: float

    def __call__(self, xp: Tensors, commit: Tensor, parameters: Tensor, fetched: Tensor) -> Tensor:
        """The scaled commit; `fetched` is what it was computed from."""
        moved = xp.add(parameters, fetched, -1.0)
        squared = xp.multiply(moved, moved)
        return xp.divide(commit, xp.add(xp.multiply(squared, 1 / self.gamma), 1.0))


def damp(xp: Tensors, commit: Tensor, current: Tensor, fetched: Tensor, gamma: float) -> None:
    """The same at a worker, in place."""
    xp.copy_(commit, Damping(gamma)(xp, commit, current, fetched))
