"""Compute groups: synchronous inside a group, asynchronous between groups (SCHEMES S17).

N workers form g groups. The workers of a group sum their gradients by all-reduce; the first of them pushes the mean to
the servers, fetches, and broadcasts what it got. Groups know nothing of each other. One group is synchronous SGD,
groups of one are Downpour. Asynchrony of g groups acts, on average, as a momentum of 1 - 1/g does (for gradients that
take exponentially distributed times), so the momentum of the scenario's optimiser must fall as g grows.

References
----------
Hadjis, Zhang, Mitliagkas, Iter, Re (2016), Omnivore; Mitliagkas, Zhang, Hadjis, Re (2016), Asynchrony begets momentum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Group,
    Kernel,
    Message,
    Model,
    NoClosedForm,
    Program,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.asynchronous import Asynchronous, Held, Shard
from parasim.schemes.pushing import broadcast_values
from parasim.schemes.server_times import Cycle, ServerOptions
from parasim.schemes.summing import sum_in
from parasim.theory.collectives import Cost, cost
from parasim.theory.patterns import patterns

__all__ = ["ComputeGroups"]


@dataclass(frozen=True, kw_only=True)
class ComputeGroupsOptions(ServerOptions):
    """Options of compute groups."""

    groups: int = option(1, "number of groups g: 1 is synchronous, as many as workers asynchronous", ge=1)
    algorithm: Literal["ring", "binomial", "recursive_doubling", "rabenseifner", "naive", "direct"] = option(
        "ring", "algorithm of the all-reduce inside a group"
    )

    def idle(self) -> Mapping[str, str]:
        """The all-reduce of groups that have one worker each."""
        return {"algorithm": "a group has one worker"} if self.groups == self.workers else {}


class ComputeGroups(Asynchronous):
    """Data parallel, synchronous inside groups and asynchronous between them, centralised."""

    name = "compute_groups"
    aliases = ("omnivore", "asynchronous_groups")
    citation = "Hadjis et al. (2016); Mitliagkas, Zhang, Hadjis, Re (2016)"
    taxonomy = Taxonomy(
        "data parallel",
        "asynchronous between groups",
        "centralised",
        "all-reduce of gradients in a group; its mean to servers, parameters back",
        "one model",
    )
    staleness = "mean g-1, any speeds; with exponential times it acts as a momentum of 1-1/g"
    Options = ComputeGroupsOptions

    @property
    def size(self) -> int:
        """Workers of a group."""
        return int(self.options.workers // self.options.groups)

    def groups(self) -> tuple[Group, ...]:
        """Consecutive workers."""
        size = self.size
        return tuple(Group(f"group {j}", tuple(range(j * size, (j + 1) * size))) for j in range(self.options.groups))

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute, sum in the group; the first one pushes and fetches for all."""
        group = me.group(f"group {me.index // self.size}")
        first, held = me.index % self.size == 0, Held()
        parameters, gradient = me.initial(), me.buffer("gradient")
        if first:
            yield from self.talk(me, parameters, held)
        yield from self._broadcast(me, group, parameters)
        for step in me.steps():
            yield from me.gradient(parameters, me.batch(step), gradient)
            if self.size > 1:
                yield from sum_in(me, group, gradient, step, self.options.algorithm)
            last = step + 1 == me.num_steps
            if first:
                yield from self.talk(me, parameters, held, gradient, not last)
            if not last:
                yield from self._broadcast(me, group, parameters)
            yield from me.step_done(step)
        return parameters

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """Update with the mean of the group's gradients."""
        read, scale = int(message.header["read"]), 1 / self.size
        return (yield from me.update(shard.replica, gradient, read=read, scale=scale, peer=message.source, copy=copy))

    def _broadcast(self, me: Context, group: Group, parameters: Buffer) -> Program[None]:
        """What the first of the group fetched, to all of it."""
        if group.size > 1:
            yield from broadcast_values(me, group, parameters)

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large."""
        if self.options.workers % self.options.groups:
            raise ValueError(f"{self.options.workers} workers do not form {self.options.groups} equal groups")

    @property
    def clients(self) -> Sequence[int]:
        """The first workers of the groups."""
        return range(0, self.options.workers, self.size)

    def update_kernel(self, setting: Setting) -> Kernel:
        """The update with the mean of a group, and a copy if it is sent."""
        return setting.update_kernel(1 / self.options.servers, self.copies, 1 / self.size)

    def inside(self, setting: Setting) -> tuple[Cost, ...]:
        """What the all-reduce and the broadcast of a group cost."""
        if self.size == 1:
            return ()
        place, nbytes, size = setting.place, setting.model.whole.nbytes, self.size
        found = []
        for kind, algorithm in (("all_reduce", self.options.algorithm), ("broadcast", "binomial")):
            rounds = patterns(kind, algorithm, size)
            offsets = range(0, self.options.workers, size)
            route = setting.worst(
                place.together([(i + at, j + at) for at in offsets for i, j in pattern]) for pattern in rounds
            )
            found.append(cost(kind, algorithm, size, nbytes, route.alpha, route.beta, setting.gamma()))
        return tuple(found)

    def cycle(self, setting: Setting) -> Cycle:
        """Beside the gradient a worker takes part in an all-reduce and a broadcast."""
        return replace(super().cycle(setting), local=sum(part.seconds for part in self.inside(setting)))

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + all-reduce + 2 (alpha + P beta) + broadcast``; servers bound the rate of groups (SCHEMES S17.5).

        Exact for one group whose all-reduce cuts the gradient evenly, on a device that starts kernels at no cost.
        """
        form, inside = super().closed_form(setting), self.inside(setting)
        assert isinstance(form, ClosedForm)
        share = self.options.groups / self.options.workers
        even = setting.model.whole.parameters % max(1, self.size) == 0
        free = setting.place.seconds(Kernel("reduce", "reduce")) == 0
        simple = not inside or (even and free and all(part.exact for part in inside))
        return replace(
            form,
            bytes_sent_per_worker_per_step=form.bytes_sent_per_worker_per_step * share
            + sum(part.bytes_sent_mean for part in inside),
            messages_sent_per_worker_per_step=form.messages_sent_per_worker_per_step * share
            + sum(part.messages_sent_mean for part in inside),
            meaning=form.meaning if simple or not form.exact else "lower bound",
            note=form.note if simple else "uneven pieces or launches of reductions take longer",
        )
