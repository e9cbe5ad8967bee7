"""PipeDream: 1F1B without a flush, with weight stashing (Narayanan et al. 2019; SCHEMES S27).

Stage k does K - 1 - k forward passes, then one forward and one backward pass in turn, and updates after every backward
pass. A mini-batch goes back through the version of the weights that it went forward through, which is stashed for it;
its gradient is applied to the newest. With vertical sync it uses at every stage the version that it met at stage 0.

Stages may have replicas (1F1B-RR): mini-batch j is done, both ways, by replica j mod r; replicas of a stage sum their
gradients after each round. PipeDream's planner finds stages and replicas (`planned`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Ground,
    Group,
    Holding,
    Model,
    Planning,
    Program,
    Replica,
    Setting,
    Taxonomy,
    backward_kernel,
    cut_by_hand,
    forward_kernel,
    option,
)
from parasim.program.scheme import Codes
from parasim.schedules.one_f_one_b import fill_replicated, one_f_one_b
from parasim.schedules.pipedream_planner import Level, pipedream_plan
from parasim.schemes.crossings import ring_route
from parasim.schemes.flushing import balanced, free
from parasim.schemes.staged import Stage, Staged, StagedOptions, stage_seconds
from parasim.schemes.stash import Stash, stash_kernel_seconds
from parasim.schemes.streaming import Stream
from parasim.schemes.summing import sum_in
from parasim.theory.collectives import Cost, cost

__all__ = ["PipeDream"]


@dataclass(frozen=True, kw_only=True)
class PipeDreamOptions(StagedOptions):
    """Options of PipeDream."""

    planned: bool = option(
        False, "PipeDream's planner finds stages and replicas, in the place of `stages` and `replicas`"
    )
    replicas: tuple[int, ...] = option((), "workers of each stage, as [2, 1]; none: one of each", ge=1)
    stashing: bool = option(True, "backward passes use the weights of their forward passes")
    vertical_sync: bool = option(False, "at every stage a mini-batch uses the version that it met at the first one")


class PipeDream(Staged):
    """Pipeline parallel (and data parallel inside stages), with known delays."""

    name = "pipedream"
    citation = "Narayanan, Harlap, Phanishayee, Seshadri, Devanur, Ganger, Gibbons, Zaharia (2019)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "K - 1 - k at stage k (K - 1 at all with vertical sync)"
    approximates = "old weights, the same forward and backward"
    Options = PipeDreamOptions

    # who has what --------------------------------------------------------------------------------------------------
    @property
    def replicas(self) -> tuple[int, ...]:
        """Workers of each stage."""
        return self._planned or self.options.replicas or (1,) * self.options.workers

    def __init__(self, options: PipeDreamOptions) -> None:
        super().__init__(options)
        self._planned: tuple[int, ...] = ()

    @property
    def cuts(self) -> int:
        """Stages."""
        return len(self.replicas)

    def ranks(self, stage: int) -> range:
        """The replicas of a stage."""
        first = sum(self.replicas[:stage])
        return range(first, first + (self.replicas[stage] if 0 <= stage < self.cuts else 0))

    def rank_of(self, place: int) -> int:
        """The first of them."""
        return self.ranks(place).start

    def groups(self) -> tuple[Group, ...]:
        """The replicas of each stage that has several."""
        return tuple(Group(f"stage {k}", tuple(self.ranks(k))) for k in range(self.cuts) if self.replicas[k] > 1)

    def codes(self) -> Codes:
        """Gradients that the replicas of a stage sum; activations are sent as they are."""
        return "sums" if self.options.planned or max(self.replicas) > 1 else ""

    def pipelines(self) -> int:
        """A step is as many mini-batches as all stages can share out evenly."""
        return math.lcm(*self.replicas)

    # the program ---------------------------------------------------------------------------------------------------
    def worker(self, me: Context) -> Program[Buffer]:
        """One replica of a stage."""
        k = next(k for k in range(self.cuts) if me.index in self.ranks(k))
        part, count, round_ = self.parts(me.model)[k], self.replicas[k], self.pipelines()
        mine = range(me.index - self.rank_of(k), me.num_steps * round_, count)
        stage = Stage(me, part, self.ranks(k - 1), self.ranks(k + 1))
        replica, gradient = me.replica(part, per_step=round_ / count), me.buffer("gradient", part.parameters)
        ahead = self.cuts if self.options.vertical_sync else 0
        weights = _Weights(me, replica, mine, self.options.stashing, ahead)
        passes = ((way, mine[i]) for way, i in one_f_one_b(fill_replicated(k, self.replicas), len(mine)))
        stream = Stream(stage, passes, 2 * self.options.workers)
        while (now := (yield from stream.next())) is not None:
            way, j = now
            if way == "forward":
                batch = me.batch(j // round_, share=j % round_, shares=round_)
                yield from stage.forward(j, weights.of(j), batch)
                continue
            yield from stage.backward(j, gradient)
            if count > 1:
                yield from sum_in(me, me.group(f"stage {k}"), gradient, j // round_, "ring", offset=part.offset)
            yield from weights.update(j, gradient, 1 / self.replicas[0], part.name)  # the rate is that of r_k / r_0
            if (j + count) // round_ > j // round_:
                yield from me.step_done(j // round_)
        return replica.parameters

    def micro_batches(self) -> int:
        """Mini-batches are not cut."""
        return 1

    def holding(self, place: int, samples: int) -> Holding:
        """K - k mini-batches and as many versions; K versions with vertical sync."""
        return self._holding(fill_replicated(place, self.replicas) + 1, samples)

    def _holding(self, flying: int, samples: int) -> Holding:
        versions = self.cuts - 1 if self.options.vertical_sync else flying - 1 if self.options.stashing else 0
        return Holding(versions=versions, activations=flying, samples=samples)

    def waiting(self, place: int) -> tuple[int, int]:
        """As ever; what all replicas of the stage before have in flight is shared out among those of this one."""
        arriving, leaving = super().waiting(place)
        if place:
            before = self.replicas[place - 1] * self.in_flight(place - 1)
            arriving = max(0, math.ceil(before / self.replicas[place]) - self.in_flight(place))
        return arriving, leaving

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """The same in every replica of a stage."""
        stages = zip(self._holdings(setting), self.parts(setting.model), self.replicas, strict=True)
        return [holding.bytes_of(part) for holding, part, count in stages for _ in range(count)]

    # planning ------------------------------------------------------------------------------------------------------
    def plan(self, setting: Planning) -> None:
        """By PipeDream's planner, if asked to; layers as on the first worker, within the smallest device.

        If consecutive workers fill nodes, links inside a node and between nodes are told apart. If no plan fits, memory
        is left out: who asks what the stages hold then sees what is missing.
        """
        if not self.options.planned:
            super().plan(setting)
            return
        model, ground, workers = setting.model, setting.ground, self.options.workers
        samples = setting.batch_size
        seconds = [
            ground.seconds(forward_kernel(part, samples), 0) + ground.seconds(backward_kernel(part, samples), 0)
            for part in model.each()
        ]
        activations = [layer.output_elements * samples * model.itemsize for layer in model.layers]
        weights = [layer.parameters * model.itemsize for layer in model.layers]
        room = min(ground.memory(rank) for rank in range(workers))

        @functools.cache
        def fits(start: int, stop: int, flying: int) -> bool:
            holding = self._holding(flying, samples).with_state(len(setting.optimizer.slots))
            holding = holding.with_messages(1, flying)  # the stage before has one more in flight, if it has no replicas
            return sum(holding.bytes_of(model.part(start, stop)).values()) <= room

        work = seconds, activations, weights, _levels(ground, workers)
        planned = pipedream_plan(*work, fits) or pipedream_plan(*work)
        assert planned is not None
        found, _ = planned
        self._planned = tuple(stage.replicas for stage in found)
        self.cut_at(cut_by_hand(model, [stage.layers for stage in found], len(found)))

    def check(self, model: Model, batch_size: int) -> None:
        """Replicas are all workers; vertical sync knows one version per mini-batch."""
        options = self.options
        if not options.planned:
            super().check(model, batch_size)
        elif options.replicas or options.stages != "balanced":
            raise ValueError("planned finds stages and replicas: leave `stages` and `replicas` out")
        if sum(self.replicas) != options.workers:
            raise ValueError(
                f"replicas {list(self.replicas)} sum to {sum(self.replicas)}, there are {options.workers} workers: "
                "give each stage its number"
            )
        if options.vertical_sync and (not options.stashing or max(self.replicas) > 1 or options.planned):
            raise ValueError("vertical_sync needs stashing and stages of one worker each: leave one of them out")

    def _sum(self, setting: Setting, stage: int, nbytes: int) -> Cost:
        """Of the all-reduce of a stage's replicas."""
        ranks = self.ranks(stage)
        return cost("all_reduce", "ring", len(ranks), nbytes, *ring_route(setting, [ranks]), setting.gamma())

    # theory --------------------------------------------------------------------------------------------------------
    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max over stages of (F_k + B_k + update)`` per mini-batch, over replicas with their sum; or over links.

        Exact for balanced stages of one worker each, and links that take no time.
        """
        t, replicas, round_ = stage_seconds(self, setting, 1 / self.replicas[0]), self.replicas, self.pipelines()
        model, place, workers = setting.model, setting.place, self.options.workers
        sums = [self._sum(setting, k, part.nbytes) for k, part in enumerate(self.parts(model))]
        versions = [self.holding(k, 1).versions for k in range(self.cuts)]
        copies = [
            stash_kernel_seconds(setting, part.parameters / max(1, model.whole.parameters), self.rank_of(k))
            if versions[k]
            else 0.0
            for k, part in enumerate(self.parts(model))
        ]
        own = [t.forward[k] + t.backward[k] + t.updates[k] + copies[k] + sums[k].seconds for k in range(self.cuts)]
        seconds = max(round_ / replicas[k] * own[k] for k in range(self.cuts))
        if workers == self.cuts:
            ways = [sum(t.forward[k:] + t.backward[k:] + t.up[k:] + t.down[k:]) for k in range(self.cuts)]
            seconds = max([seconds, *t.up, *t.down, *(way / (self.cuts - k) for k, way in enumerate(ways))])
        simple = workers == self.cuts and balanced(t.forward) and balanced(t.backward) and free(t)
        traffic = 2.0 * round_ * sum(t.sizes)
        messages = 2.0 * round_ * (self.cuts - 1)
        for k, count in enumerate(replicas):
            if count > 1:
                traffic += round_ * sums[k].bytes_sent_mean
                messages += round_ * sums[k].messages_sent_mean
        late = [self.cuts - 1 if self.options.vertical_sync else fill_replicated(k, replicas) for k in range(self.cuts)]
        return ClosedForm(
            seconds,
            traffic / workers,
            messages / workers,
            sum(late) / self.cuts,
            "exact" if simple and not place.noisy else "lower bound",
            note="" if simple else "unlike stages, replicas, or links that take time, may cost more than the slowest",
        )


def _levels(ground: Ground, workers: int) -> list[Level]:
    """Workers in a node, and nodes; one level if all links from the first worker are alike, or nodes are not full."""
    if workers == 1:
        return [Level(1, 0.0)]
    betas = [ground.route(0, rank).beta for rank in range(1, workers)]
    size = 1 + next((place for place, beta in enumerate(betas) if beta != betas[0]), len(betas))
    if size == workers or workers % size or betas[size - 1] < betas[0]:
        return [Level(workers, betas[0])]
    return [Level(size, betas[0]), Level(workers // size, betas[size - 1])]


class _Weights:
    """Which version of the weights a mini-batch uses at one worker."""

    def __init__(self, me: Context, replica: Replica, mine: range, stashing: bool, ahead: int) -> None:
        self._me = me
        self._replica = replica
        self._mine = mine
        self._stash = Stash(me, replica) if stashing else None
        self._ahead = ahead
        self._used = {j: self._newest() for j in mine[:ahead]}

    def of(self, j: int) -> Buffer:
        """Those of the forward pass of mini-batch j: the newest, if none were set aside for it."""
        if j not in self._used:
            self._used[j] = self._newest()
        return self._used[j][1]

    def update(self, j: int, gradient: Buffer, scale: float, layer: str) -> Program[None]:
        """Apply its gradient to the newest; with vertical sync these are for the mini-batch `ahead` after it."""
        read, _ = self._used.pop(j)
        if self._stash is None:
            yield from self._me.update(self._replica, gradient, read=read, scale=scale, layer=layer)
            return
        self._stash.give_back(read)
        yield from self._stash.update(gradient, read=read, scale=scale, layer=layer)
        if self._ahead and j + self._ahead in self._mine:
            self._used[j + self._ahead] = self._newest()

    def _newest(self) -> tuple[int, Buffer]:
        """The newest version; lent unchanged if there is a stash."""
        version = self._replica.version
        return version, self._replica.parameters if self._stash is None else self._stash.borrow()
