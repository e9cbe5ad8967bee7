"""Hierarchical local SGD: all-reduce inside groups, averages of models between them (Lin et al. 2020, section 5).

For groups (data centres, racks) that slow links join. Every step the gradients of a group are summed by an all-reduce
inside it. Every `period` steps the models of all groups are averaged: each member averages one piece of the model with
the members of the other groups that have the same index, then the pieces are gathered inside. So every link between
groups carries each piece once, and all members use it at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Group,
    HeldModel,
    Kernel,
    Model,
    Options,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    bounds,
    coded_gather,
    option,
)
from parasim.program.elementwise import scale
from parasim.schemes.crossings import ring_route
from parasim.schemes.summing import sum_in
from parasim.theory.collectives import cost

__all__ = ["HierarchicalSgd"]


@dataclass(frozen=True, kw_only=True)
class HierarchicalSgdOptions(Options):
    """Options of hierarchical local SGD."""

    groups: int = option(2, "groups of equally many workers, one after the other", ge=1)
    period: int = option(4, "steps between two averagings of all groups' models", ge=1)


class HierarchicalSgd(Scheme):
    """Data parallel, synchronous inside groups, every `period` steps between them; decentralised."""

    name = "hierarchical_sgd"
    aliases = ("hierarchical_local_sgd", "hierarchical_allreduce")
    citation = "Lin, Stich, Patel, Jaggi (2020)"
    taxonomy = Taxonomy(
        "data parallel",
        "synchronous in groups, every period between",
        "decentralised",
        "all-reduce of gradients in a group, of models between groups",
        "model averaging",
    )
    staleness = "0 with respect to the group's own model; groups drift apart for `period` steps"
    approximates = "averaged models, which drift apart by groups"
    Options = HierarchicalSgdOptions
    compresses = "values"

    @property
    def members(self) -> int:
        """Workers of a group."""
        return int(self.options.workers // self.options.groups)

    def groups(self) -> tuple[Group, ...]:
        """The groups, and who has the same index in them."""
        members, workers = self.members, self.options.workers
        inside = [
            Group(f"group {first // members}", tuple(range(first, first + members)))
            for first in range(0, workers - members + 1, members)
        ]
        across = [Group(f"peers {index}", tuple(range(index, workers, members))) for index in range(members)]
        return (*inside, *across)

    def worker(self, me: Context) -> Program[Buffer]:
        """Gradient, sum in the group, update; now and then the mean of all groups' models."""
        replica, gradient = me.replica(), me.buffer("gradient")
        inside = me.group(f"group {me.index // self.members}")
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            yield from sum_in(me, inside, gradient, step, "ring")
            yield from me.update(replica, gradient, read=replica.version, scale=1 / self.members)
            if (step + 1) % self.options.period == 0 or step + 1 == me.num_steps:
                yield from self._average(me, inside, replica.parameters, step)
            yield from me.step_done(step)
        return replica.parameters

    def _average(self, me: Context, inside: Group, model: Buffer, step: int) -> Program[None]:
        """One piece with the other groups; then all pieces inside."""
        index = me.index % self.members
        cuts = bounds(model.elements, self.members)
        piece = model.part(cuts[index], cuts[index + 1])
        yield from sum_in(me, me.group(f"peers {index}"), piece, step, "ring", what="model")
        yield from me.math(scale, (piece,), factor=1 / self.options.groups)
        if me.compression is not None:
            yield from coded_gather(me, inside, model, "model", step)
        else:
            yield from Collective("all_gather", inside, model, "ring")

    def held_model(self) -> HeldModel:
        """The mean of all models."""
        return HeldModel(mean=True)

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large."""
        workers, groups = self.options.workers, self.options.groups
        if workers % groups:
            raise ValueError(f"{workers} workers do not fill {groups} groups: use a multiple of {groups}")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + C(m, P) + T_update + (C(g, P/m) + G(m, P)) / period``, with g groups of m: all-reduces C, a gather G.

        All groups, and all pieces, are on the way at once and share links fairly. Exact where all pieces are equal and
        a reduction costs nothing to start.
        """
        place, options, members = setting.place, self.options, self.members
        nbytes, parameters, gamma = setting.model.whole.nbytes, setting.model.whole.parameters, setting.gamma()
        groups = self.groups()
        inner, outer = (
            ring_route(setting, [group.ranks for group in some])
            for some in (groups[: options.groups], groups[options.groups :])
        )
        summed = cost("all_reduce", "ring", members, nbytes, *inner, gamma)
        across = cost("all_reduce", "ring", options.groups, nbytes / members, *outer, gamma)
        gathered = cost("all_gather", "ring", members, nbytes, *inner, gamma)
        scaling = place.seconds(setting.math_kernel(scale, fraction=1 / members, factor=1 / options.groups))
        kernels = [*setting.gradient_kernels(), setting.update_kernel(scale=1 / members)]
        every = (across, gathered)
        exact = parameters % (members * options.groups) == 0 and place.seconds(Kernel("reduce", "reduce")) == 0
        return ClosedForm(
            place.longest(kernels) + summed.seconds + (sum(c.seconds for c in every) + scaling) / options.period,
            summed.bytes_sent_mean + sum(c.bytes_sent_mean for c in every) / options.period,
            summed.messages_sent_mean + sum(c.messages_sent_mean for c in every) / options.period,
            0.0,
            "exact" if exact else "estimate",
            note="" if exact else "pieces of the all-reduces differ in size, or reductions cost something to start",
        )
