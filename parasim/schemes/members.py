"""What schemes share that train several models: members are groups of workers, each with a model of its own.

Inside a member gradients are summed by a ring all-reduce, so a member of one worker is sequential SGD and one of m is
synchronous SGD on m. Member k is, to the last bit, a run of its own whose seed is larger by k.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from parasim.program import (
    Buffer,
    Collective,
    Context,
    Group,
    HeldModel,
    Kernel,
    Model,
    Options,
    Program,
    Replica,
    Scheme,
    Setting,
    option,
)
from parasim.program.state import Batch
from parasim.schemes.crossings import ring_route
from parasim.theory.collectives import Cost, cost

__all__ = ["MemberOptions", "Members"]


@dataclass(frozen=True, kw_only=True)
class MemberOptions(Options):
    """Options of schemes that train several models."""

    group_size: int = option(1, "workers of a member, one after the other; they sum their gradients", ge=1)
    start: Literal["own", "common"] = option("own", "initial weights: each member its own, or all the same")
    samples: Literal["own_order", "common", "bootstrap", "shares"] = option(
        "own_order",
        "each member takes all samples in an order of its own, or of all; or as many drawn with replacement; or the "
        "mini-batches that workers of one model would share",
    )


class Members(Scheme):
    """Base of schemes that train several models."""

    @property
    def members(self) -> int:
        """Models."""
        return int(self.options.workers // self.options.group_size)

    def leaders(self) -> range:
        """The first worker of each member, by index."""
        return range(0, int(self.options.workers), int(self.options.group_size))

    def groups(self) -> tuple[Group, ...]:
        """The workers of each member."""
        size = self.options.group_size
        return tuple(Group(f"member {n}", tuple(range(first, first + size))) for n, first in enumerate(self.leaders()))

    def held_model(self) -> HeldModel:
        """Of several models the first, if a scheme does not say otherwise; each is evaluated."""
        return HeldModel(models="first", members=self.options.group_size, own=self.options.start == "own")

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large."""
        workers, size = self.options.workers, self.options.group_size
        if workers % size:
            raise ValueError(f"{workers} workers do not fill groups of {size}: use a multiple of {size}")

    # programs ------------------------------------------------------------------------------------------------------
    def begin(self, me: Context) -> Replica:
        """The model of the member that this worker is of."""
        me.member = 0 if self.options.start == "common" else self.member_of(me)
        return me.replica()

    def member_of(self, me: Context) -> int:
        """Number of the member that this worker is of."""
        return int(me.index // self.options.group_size)

    def batch_of(self, me: Context, step: int, member: int, place: int, parts: int = 1) -> Batch:
        """Samples of the worker with this place in a member; each share of the mini-batch is cut into so many parts."""
        size, how = self.options.group_size, self.options.samples
        cut = {"micro": place % parts, "micros": parts}
        if how == "shares":
            batch = me.batch(step, share=member * size + place // parts, shares=self.options.workers, **cut)
            return replace(batch, member=0)
        batch = me.batch(step, share=place // parts, shares=size, **cut)
        return replace(batch, member=0 if how == "common" else member, bagged=how == "bootstrap")

    def own_batch(self, me: Context, step: int) -> Batch:
        """A worker's samples, of the member that it is of."""
        return self.batch_of(me, step, self.member_of(me), me.index % self.options.group_size)

    def descend(self, me: Context, replica: Replica, gradient: Buffer) -> Program[None]:
        """Sum the gradient over the member's workers, and make the update."""
        size = self.options.group_size
        if size > 1:
            yield from Collective("all_reduce", me.group(f"member {self.member_of(me)}"), gradient, "ring")
        yield from me.update(replica, gradient, read=replica.version, scale=1 / size)

    # closed forms --------------------------------------------------------------------------------------------------
    def descent(self, setting: Setting, more: Iterable[Kernel] = ()) -> tuple[float, Cost, bool]:
        """Seconds of a step of all members, which `more` kernels are part of; its all-reduce; is this exact?"""
        size, place = self.options.group_size, setting.place
        kernels = [*setting.gradient_kernels(), *more, setting.update_kernel(scale=1 / size)]
        route = ring_route(setting, [group.ranks for group in self.groups()])
        summed = cost("all_reduce", "ring", size, setting.model.whole.nbytes, *route, setting.gamma())
        free = place.seconds(Kernel("reduce", "reduce")) == 0
        exact = size == 1 or (setting.model.whole.parameters % size == 0 and free)
        return place.longest(kernels) + summed.seconds, summed, exact
