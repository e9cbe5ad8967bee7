"""DynSGD: commits scaled down by their staleness (Jiang, Cui, Zhang, Yu 2017; Hermans 2017, chapter 4; SCHEMES S12).

A worker takes lambda steps of its own, commits the sum of their gradients and fetches. A server applies a commit over
its staleness plus 1: ``w -= lr a / (tau + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Buffer, Context, Message, Program, Taxonomy, option
from parasim.schemes.asynchronous import Asynchronous, Shard
from parasim.schemes.server_times import ServerOptions

__all__ = ["DynSgd", "LocalSteps", "LocalStepsOptions"]


@dataclass(frozen=True, kw_only=True)
class LocalStepsOptions(ServerOptions):
    """Options of schemes whose workers take steps of their own between commits."""

    local_steps: int = option(10, "lambda: steps of a worker from commit to commit (Hermans: 10 to 40)", ge=1)


class LocalSteps(Asynchronous):
    """Base of DynSGD, AGN and ADAG: a commit, with a fetch, after every lambda steps."""

    @property
    def n_push(self) -> int:
        """Lambda."""
        return int(self.options.local_steps)

    @property
    def n_fetch(self) -> int:
        """Lambda."""
        return int(self.options.local_steps)


class DynSgd(LocalSteps):
    """Data parallel, asynchronous, centralised; the server scales commits by 1 / (staleness + 1)."""

    name = "dynsgd"
    citation = "Jiang, Cui, Zhang, Yu (2017); Hermans (2017)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean N-1, in commits of lambda steps each, any speeds"
    approximates = "stale sums of local steps, divided by age + 1"
    Options = LocalStepsOptions

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """Update with the commit over its staleness plus 1."""
        replica, read = shard.replica, int(message.header["read"])
        scale = 1 / (replica.begun - read + 1)
        return (yield from me.update(replica, gradient, read=read, scale=scale, peer=message.source, copy=copy))
