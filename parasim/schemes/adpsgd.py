"""AD-PSGD: asynchronous decentralised parallel SGD (Lian, Zhang, Zhang, Liu 2018; SCHEMES S19).

A worker computes a gradient at a copy x^ of its model x and applies it to x as it is by then. Beside that, once per
gradient, half of the workers (the active ones, even index) average x with a random passive neighbour. The graph is
bipartite and only the active ask, so nobody waits in a circle (the paper's and the authors' remedy against deadlock).

An averaging moves d = (x_a - x_p) / 2 from one to the other: the passive worker adds d when it is asked, the active one
subtracts it when the answer is there. The sum of all models is kept whatever either applied in the meantime; if
nothing, both have the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    ANY,
    Buffer,
    ClosedForm,
    Context,
    Event,
    Log,
    Model,
    Options,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    Wait,
    option,
)

__all__ = ["AdPsgd"]


@dataclass(frozen=True, kw_only=True)
class AdPsgdOptions(Options):
    """Options of AD-PSGD."""

    graph: Literal["complete", "ring"] = option(
        "complete", "neighbours of an active worker: every passive one, or the two beside it on a ring"
    )


class AdPsgd(Scheme):
    """Data parallel, asynchronous, decentralised (gossip)."""

    name = "adpsgd"
    aliases = ("ad_psgd", "ad-psgd")
    citation = "Lian, Zhang, Zhang, Liu (2018)"
    taxonomy = Taxonomy("data parallel", "asynchronous", "decentralised")
    staleness = (
        "averagings of the worker's model while its gradient is computed: "
        "near 0 where averaging takes longer than computing, about 1 where computing takes longer"
    )
    Options = AdPsgdOptions

    def roles(self) -> tuple[Role, ...]:
        """Workers only."""
        return (Role("worker", self.options.workers, self.worker),)

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute at a copy, apply to the model; averaging goes on beside it."""
        replica = me.replica()
        gradient = me.buffer("gradient")
        me.hold("copy", replica.parameters.nbytes)
        active = me.index % 2 == 0
        if not active:
            yield from Post(self._answer(me, replica), lane="answer", daemon=True)
        for step in me.steps():
            if active:
                handle = yield from Post(self._average(me, replica, step), lane="average")
            copy = yield from me.copy(replica.parameters)
            read = replica.version
            yield from me.gradient(copy, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=read)
            if active:
                yield from Wait([handle])
            yield from me.step_done(step)
        return replica.parameters

    def _average(self, me: Context, replica: Replica, step: int) -> Program[None]:
        """Ask a random passive neighbour; subtract what it added."""
        passive = self._partners(me.index, me.ranks("worker"))
        partner = passive[me.draws.integer(len(passive), "partner", step)]
        yield from Send(partner, replica.parameters, "ask")
        moved = yield from Recv(partner, "moved")
        assert moved.buffer is not None
        yield from me.math(subtract, (replica.parameters,), (moved.buffer,))
        yield from self._averaged(replica, partner)

    def _answer(self, me: Context, replica: Replica) -> Program[None]:
        """Serve whoever asks, one after the other."""
        while True:
            asked = yield from Recv(ANY, "ask")
            assert asked.buffer is not None
            moved = yield from me.math(move_half, (replica.parameters,), (asked.buffer,))
            yield from self._averaged(replica, asked.source)
            yield from Send(asked.source, moved, "moved", lent=True)

    def _averaged(self, replica: Replica, peer: int) -> Program[None]:
        """An averaging changes the model: a new version."""
        replica.version += 1
        yield from Log(Event("note", "averaged", peer=peer, version_applied=replica.version))

    def _partners(self, index: int, workers: Sequence[int]) -> list[int]:
        """Ranks of the passive workers that the active one of this index may ask."""
        if self.options.graph == "complete":
            return list(workers[1::2])
        return [workers[(index + side) % len(workers)] for side in (-1, 1)]

    def check(self, model: Model, batch_size: int) -> None:
        """Two workers at least; on a ring an even number, or it is not bipartite."""
        workers = self.options.workers
        if workers < 2:
            raise ValueError("AD-PSGD needs 2 workers or more")
        if self.options.graph == "ring" and workers % 2:
            raise ValueError(f"a ring of {workers} workers is not bipartite; use an even number, or graph: complete")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max(T_c, 2 (alpha + P beta))``, no barrier (SCHEMES S19.5).

        Asking and answering follow each other here, so an exchange costs 2 (alpha + P beta) and not alpha + 2 P beta.
        A passive worker serves one after the other, with an odd number of workers more than one active worker.
        """
        nbytes, workers, place = setting.model.whole.nbytes, self.options.workers, setting.place
        active, passive = (workers + 1) // 2, workers // 2
        asked = [(rank, partner) for rank in range(0, workers, 2) for partner in self._partners(rank, range(workers))]
        route = setting.worst_between(pair for a, b in asked for pair in ((a, b), (b, a)))
        own = [setting.update_kernel(), setting.math_kernel(_copy)]
        compute = setting.gradient_seconds() + sum(place.seconds(kernel) for kernel in own)
        served = 2 * (route.alpha + nbytes * route.beta) + place.seconds(setting.math_kernel(move_half, 2))
        exchange = served + place.seconds(setting.math_kernel(subtract, 2))
        sent = 2 * active / workers
        return ClosedForm(
            max(compute, exchange, served * active / passive),
            sent * nbytes,
            sent,
            float("nan"),
            "lower bound",
            note="longer where several ask one worker at once, or averaging shares a core with the gradient",
        )


def move_half(xp: Tensors, mine: Tensor, theirs: Tensor) -> Tensor:
    """Move d = (theirs - mine) / 2 to `mine`, and reply d."""
    moved = xp.add(theirs, mine, -1.0)
    xp.scale_(moved, 0.5)
    xp.add_(mine, moved)
    return moved


def subtract(xp: Tensors, mine: Tensor, moved: Tensor) -> None:
    """Mine -= moved."""
    xp.add_(mine, moved, -1.0)


def _copy(xp: Tensors, mine: Tensor) -> Tensor:
    return xp.copy(mine)
