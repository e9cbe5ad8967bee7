"""A grid of data and model parallelism (Yadan, Adams, Taigman, Ranzato 2013; SCHEMES S24).

Workers form groups. A group shares every layer by outputs (feature maps, neurons) as tensor parallelism does, and
exchanges activations after each; each group has its own share of the mini-batch. Then every worker averages the
gradient of what it holds with the workers that hold the same in the other groups, and updates it. All wait for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Group,
    Model,
    Options,
    Planning,
    Program,
    Scheme,
    Setting,
    Shard,
    Taxonomy,
    backward_shard,
    forward_shard,
    option,
)
from parasim.program.compressor import Compressor
from parasim.program.scheme import Codes
from parasim.schemes.crossings import crossing_cost, held, passes_seconds, ring_route, rings, uncoded_copies
from parasim.schemes.summing import sum_in

__all__ = ["Grid"]


@dataclass(frozen=True, kw_only=True)
class GridOptions(Options):
    """Options of the grid."""

    groups: int = option(2, "groups of consecutive workers, each with a share of the mini-batch", ge=1)


class Grid(Scheme):
    """Data parallel between groups, model parallel inside them; synchronous."""

    name = "grid"
    aliases = ("yadan", "multi_gpu_convnets")
    citation = "Yadan, Adams, Taigman, Ranzato (2013)"
    taxonomy = Taxonomy(
        "hybrid", "synchronous", "decentralised", "activations, their gradients; all-reduce of gradients"
    )
    staleness = "0"
    Options = GridOptions

    def pipelines(self) -> int:
        """A group shares one mini-batch."""
        return int(self.options.groups)

    @property
    def members(self) -> int:
        """Workers of a group."""
        return int(self.options.workers // self.options.groups)

    def groups(self) -> tuple[Group, ...]:
        """The groups, and who holds the same in them."""
        members, workers = self.members, self.options.workers
        starts = range(0, workers - members + 1, members)
        models = [Group(f"model {start // members}", tuple(range(start, start + members))) for start in starts]
        return (*models, *(Group(f"copies {i}", tuple(range(i, workers, members))) for i in range(members)))

    def shard(self, model: Model, place: int) -> Shard:
        """What the member at this place of its group holds."""
        return model.split("outputs", place, self.members)

    def worker(self, me: Context) -> Program[Buffer]:
        """Forward and backward with the group; the mean gradient with the other groups; update."""
        number, place = divmod(me.index, self.members)
        group, copies = me.group(f"model {number}"), me.group(f"copies {place}")
        shard = self.shard(me.model, place)
        layers = shard.model.whole
        replica, gradient = me.replica(layers), me.buffer("gradient", layers.parameters)
        for step in me.steps():
            batch = me.batch(step, share=number, shares=self.options.groups)
            passed = yield from forward_shard(me, shard, layers, replica.parameters, batch, group)
            if place == 0:
                yield from me.log_loss(passed[-1])
            yield from backward_shard(me, shard, passed, None, gradient, group)
            yield from sum_in(me, copies, gradient, step, "ring", model=layers.model)
            yield from me.update(replica, gradient, read=replica.version, scale=1 / self.options.groups)
            yield from me.step_done(step)
        return replica.parameters

    def codes(self) -> Codes:
        """Gradients that groups sum; activations are sent as they are."""
        return "sums" if self.options.groups > 1 else ""

    def no_codes(self, model: Model, code: Compressor) -> str:
        """Shards may hold copies of a parameter."""
        return uncoded_copies([self.shard(model, place) for place in range(self.members)], model, code)

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large; every layer has something for every member."""
        workers, groups = self.options.workers, self.options.groups
        if workers % groups:
            raise ValueError(f"{workers} workers do not fill {groups} groups: use a multiple of {groups}")
        self.shard(model, 0)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """As tensor parallelism inside each group, with the group's share of the mini-batch."""
        return held(setting, [self.shard(setting.model, place) for place in range(self.members)]) * self.pipelines()

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c / M + sum_l 2 ((M-1) alpha + A_l (M-1)/M beta) + C(D, P/M)`` + update: D groups of M members.

        A_l are bytes that leave layer l of a group's share, C an all-reduce by a ring. Exact as tensor parallelism is.
        """
        shards = [self.shard(setting.model, place) for place in range(self.members)]
        groups = self.groups()
        models, copies = groups[: self.options.groups], groups[self.options.groups :]
        crossed = crossing_cost(
            setting, shards, shards[0].model.whole, setting.batch_size, [group.ranks for group in models]
        )
        nbytes = shards[0].model.whole.nbytes
        route = ring_route(setting, [group.ranks for group in copies])
        summed = rings(setting, route, self.options.groups, [("all_reduce", nbytes)])
        seconds, equal = passes_seconds(setting, shards, scale=1 / self.options.groups)
        both = crossed + summed
        exact = both.exact and equal and not setting.place.noisy
        return ClosedForm(
            seconds + both.seconds,
            both.bytes_sent,
            both.messages_sent,
            0.0,
            "exact" if exact else "estimate",
            note="" if exact else "shards or pieces differ in size, or reductions cost something to start",
        )
