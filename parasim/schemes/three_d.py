"""3-D parallelism: data x pipeline x tensor (Narayanan et al. 2021, Megatron-LM's PTD-P; SCHEMES S35).

Worker (d, p, t) holds of stage p the shard t, in copy d of the pipeline. Inside each stage its tensor group exchanges
activations (t: consecutive workers, so that a node holds a group); stages pass each micro-batch on, shard t to shard t,
in the order of 1F1B with a flush; after the last one, the workers that hold the same shard of the same stage sum their
gradients, and update. Traffic of the three kinds of groups shares whatever links it meets.

What all members of a tensor group have alike, each sends whole; with `scatter_gather` (section 4.1 there) it sends a
t-th, and the next stage's group gathers the pieces: between nodes, 1/t of the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from parasim.program import (
    Activation,
    Batch,
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Group,
    Holding,
    Model,
    Options,
    Part,
    Planning,
    Program,
    Route,
    Setting,
    Shard,
    Taxonomy,
    backward_kernel,
    backward_shard,
    forward_kernel,
    forward_shard,
    option,
)
from parasim.program.compressor import Compressor
from parasim.program.elementwise import overwrite
from parasim.program.scheme import Codes
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.crossings import Exchanged, SplitOptions, ring_route, rings, uncoded_copies
from parasim.schemes.staged import Stage, Staged, StagedOptions
from parasim.schemes.summing import sum_in

__all__ = ["ThreeD"]


@dataclass(frozen=True, kw_only=True)
class ThreeDOptions(SplitOptions, StagedOptions):
    """Options of 3-D parallelism; `workers` is data x pipeline x tensor."""

    pipeline: int = option(2, "stages of a pipeline (p)", ge=1)
    tensor: int = option(1, "workers that share each stage's layers (t)", ge=1)
    split: Literal["outputs", "pairs"] = option("pairs", "each layer by outputs, or pairs by outputs, then inputs")
    micro_batches: int = option(4, "micro-batches of a pipeline's mini-batch", ge=1)
    scatter_gather: bool = option(False, "stages send each piece once, and gather pieces in the tensor group")


@dataclass(frozen=True, slots=True)
class _Scattered:
    """What goes in pieces over the border between two stages."""

    up: bool = False
    down: bool = False


class _ShardStage(Stage):
    """A stage of which a group of workers hold a shard each."""

    def __init__(
        self, me: Context, shard: Shard, part: Part, group: Group, peers: tuple[int, int], borders: Sequence[_Scattered]
    ) -> None:
        super().__init__(me, shard.of(part), peers[:1], peers[1:])
        self._shard, self._group = shard, group
        self._below, self._above = borders
        self._passed: dict[int, list[Activation]] = {}

    def pass_on(self, micro: int, parameters: Buffer, batch: Batch) -> Program[None]:
        """Forward pass of a micro-batch."""
        came = yield from self.arrived("forward", micro)
        inputs = yield from self._gather(came, batch.size * self.part.input_elements, self._below.up)
        passed = yield from forward_shard(self._me, self._shard, self.part, parameters, batch, self._group, inputs)
        self._release(inputs, self._below.up)
        yield from self.send("forward", micro, self._piece(passed[-1].outputs, self._above.up))
        if self._shard.split.index == 0:
            yield from self._me.log_loss(passed[-1])
        self._passed[micro] = passed

    def pass_back(self, micro: int, into: Buffer, add: bool) -> Program[None]:
        """Backward pass of a micro-batch; its gradient is written (or added) to `into`."""
        passed = self._passed.pop(micro)
        came = yield from self.arrived("backward", micro)
        elements = passed[0].batch.size * self.part.output_elements
        upstream = yield from self._gather(came, elements, self._above.down)
        downstream = yield from backward_shard(self._me, self._shard, passed, upstream, into, self._group, add)
        self._release(upstream, self._above.down)
        yield from self.send("backward", micro, self._piece(downstream, self._below.down))

    def _piece(self, buffer: Buffer | None, scattered: bool) -> Buffer | None:
        """What this member sends of what all have."""
        return buffer.split(self._group.size)[self._shard.split.index] if scattered and buffer is not None else buffer

    def _gather(self, piece: Buffer | None, elements: int, scattered: bool) -> Program[Buffer | None]:
        """The whole of which this member got a piece."""
        if not scattered or piece is None:
            return piece
        whole = self._me.buffer("gathered", elements)
        yield from self._me.math(overwrite, (whole.split(self._group.size)[self._shard.split.index],), (piece,))
        yield from Collective("all_gather", self._group, whole)
        return whole

    def _release(self, gathered: Buffer | None, scattered: bool) -> None:
        """A pass has read it."""
        if scattered and gathered is not None:
            self._me.release("gathered", gathered.nbytes, gathered)


class ThreeD(Staged):
    """Data, pipeline and tensor parallel, synchronous."""

    name = "three_d"
    aliases = ("3d", "ptd_p", "megatron_3d")
    citation = "Narayanan et al. (2021)"
    taxonomy = Taxonomy(
        "hybrid", "synchronous", "decentralised", "activations, their gradients; all-reduce of gradients"
    )
    staleness = "0"
    Options: ClassVar[type[Options]] = ThreeDOptions

    @property
    def copies(self) -> int:
        """Copies of the pipeline: the data-parallel size d."""
        return int(self.options.workers // (self.options.pipeline * self.options.tensor))

    @property
    def cuts(self) -> int:
        """Stages."""
        return int(self.options.pipeline)

    def pipelines(self) -> int:
        """One per copy."""
        return self.copies

    def codes(self) -> Codes:
        """Gradients that copies sum; activations are sent as they are."""
        return "sums" if self.copies > 1 else ""

    def no_codes(self, model: Model, code: Compressor) -> str:
        """Shards may hold copies of a parameter."""
        return uncoded_copies([self.shard(model, place) for place in range(self.options.tensor)], model, code)

    def micro_batches(self) -> int:
        """M of each pipeline."""
        return int(self.options.micro_batches)

    def rank_of(self, place: int) -> int:
        """The first worker of a stage of the first copy."""
        return place * int(self.options.tensor)

    def groups(self) -> tuple[Group, ...]:
        """Of each stage of each copy the tensor group; and who holds the same shard of the same stage."""
        shards, size = self.options.tensor, self.options.pipeline * self.options.tensor
        starts = range(0, self.copies * size, shards)
        tensor = [Group(f"tensor {start // shards}", tuple(range(start, start + shards))) for start in starts]
        data = [Group(f"data {i}", tuple(range(i, self.copies * size, size))) for i in range(size)]
        return (*tensor, *data)

    def shard(self, model: Model, place: int) -> Shard:
        """What the member at this place of a tensor group holds, of all stages."""
        found: Shard = self.options.shard(model, place, self.options.tensor)
        return found

    def worker(self, me: Context) -> Program[Buffer]:
        """One shard of one stage of one copy: all micro-batches; the sum of the gradients of all copies; update."""
        shards, stages, micros = self.options.tensor, self.options.pipeline, self.options.micro_batches
        above, place = divmod(me.index, shards)
        copy, number = divmod(above, stages)
        shard, part = self.shard(me.model, place), self.parts(me.model)[number]
        peers, borders = (me.rank - shards, me.rank + shards), self._borders(me.model, shard)
        stage = _ShardStage(me, shard, part, me.group(f"tensor {above}"), peers, borders[number : number + 2])
        replica, gradient = me.replica(stage.part), me.buffer("gradient", stage.part.parameters)
        order = list(self.order(number))
        for step in me.steps():
            yield from stage.expect_all(order)
            begun = False
            for way, micro in order:
                if way == "forward":
                    batch = me.batch(step, share=copy, shares=self.copies, micro=micro, micros=micros)
                    yield from stage.pass_on(micro, replica.parameters, batch)
                else:
                    yield from stage.pass_back(micro, gradient, add=begun)
                    begun = True
            copies, first = me.group(f"data {me.index % (shards * stages)}"), stage.part.offset
            yield from sum_in(me, copies, gradient, step, "ring", offset=first, model=stage.part.model)
            scale = 1 / (micros * self.copies)
            yield from me.update(replica, gradient, read=replica.version, scale=scale, layer=stage.part.name)
            yield from me.step_done(step)
        return replica.parameters

    def _borders(self, model: Model, shard: Shard) -> list[_Scattered]:
        """Before each stage, and after the last one.

        Activations in columns, one's own for each member, are pieces already, and so are such gradients.
        """
        found = [_Scattered()]
        for part in self.parts(model)[1:]:
            alike = self.options.scatter_gather and shard.of(part).input_elements == part.input_elements
            alike = alike and self.options.tensor > 1
            found.append(_Scattered(alike, alike and not shard.crossings[shard.of(part).start].columns))
        return [*found, _Scattered()]

    def order(self, number: int) -> Iterator[tuple[Literal["forward", "backward"], int]]:
        """1F1B with a flush."""
        return one_f_one_b(fill(number, self.options.pipeline), self.options.micro_batches)

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Full copies, enough layers, equal micro-batches, something of every layer for every shard."""
        o = self.options
        if o.workers % (o.pipeline * o.tensor):
            raise ValueError(
                f"{o.workers} workers are no multiple of pipeline {o.pipeline} x tensor {o.tensor} = "
                f"{o.pipeline * o.tensor}: change one of them"
            )
        super().check(model, batch_size)
        self.shard(model, 0)

    def holding(self, place: int, samples: int) -> Holding:
        """As 1F1B: p - k micro-batches, or all."""
        flying = min(fill(place, self.options.pipeline) + 1, self.options.micro_batches)
        return Holding(activations=flying, samples=samples)

    def held(self, model: Model) -> Model:
        """The first shard of every layer."""
        shard = self.shard(model, 0)
        own = [shard.of(part) for part in model.each()]
        sizes = [
            replace(layer, parameters=part.parameters, stored_elements=part.stored_elements)
            for layer, part in zip(model.layers, own, strict=True)
        ]
        return replace(model, layers=tuple(sizes))

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """P/(p t) of weights, gradient and state; p - k micro-batches of a shard's activations at stage k."""
        shards = [self.shard(setting.model, place) for place in range(self.options.tensor)]
        stages = zip(self._holdings(setting), self.parts(setting.model), strict=True)
        samples, found = setting.batch_size // self.options.micro_batches, []
        for number, (holding, part) in enumerate(stages):
            for shard in shards:
                own, borders = shard.of(part), self._borders(setting.model, shard)
                pieces = borders[number].up * own.input_elements, borders[number + 1].down * own.output_elements
                gathered = max(pieces) * samples * own.model.itemsize
                found.append({**holding.bytes_of(own), **({"buffers": gathered} if gathered else {})})
        return found * self.copies

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + p - 1)(t_f + t_b) + C(d, P/(p t))`` + update when balanced; t_f, t_b with the tensor group's traffic.

        Exact if stages and shards are equal, a message between stages takes no time and groups share no link; else a
        lower bound: the slowest stage's passes, and a micro-batch's way to it and back.
        """
        o, place = self.options, setting.place
        micros, samples = o.micro_batches, setting.batch_size // o.micro_batches
        shards = [self.shard(setting.model, index) for index in range(o.tensor)]
        parts = self.parts(setting.model)
        groups = self.groups()
        inside, across = (
            setting.worst(ring_route(setting, [group.ranks]) for group in some)
            for some in (groups[: self.copies * o.pipeline], groups[self.copies * o.pipeline :])
        )
        between, borders = self._between(setting), self._borders(setting.model, shards[0])
        exchanged, summed = Exchanged(0.0, 0.0, 0.0, True), Exchanged(0.0, 0.0, 0.0, True)
        both, ends, links, sizes = [], [], [], []
        for number, part in enumerate(parts):
            own = shards[0].of(part)
            gathers = []
            if borders[number].up:
                gathers.append(("all_gather", samples * own.input_elements * own.model.itemsize))
            if borders[number + 1].down:
                gathers.append(("all_gather", samples * own.output_elements * own.model.itemsize))
            crossed = rings(setting, inside, o.tensor, [*shards[0].exchanged(own, samples), *gathers])
            segments = [own.model.part(j, j + 1) for j in range(own.start, own.stop)]
            kernels = [kernel(at, samples) for at in segments for kernel in (forward_kernel, backward_kernel)]
            both.append(sum(map(place.seconds, kernels)) + crossed.seconds)
            exchanged += Exchanged(0.0, crossed.bytes_sent * micros, crossed.messages_sent * micros, crossed.exact)
            copies = rings(setting, across, self.copies, [("all_reduce", own.nbytes)])
            share = own.parameters / max(1, setting.model.whole.parameters)
            ends.append(copies.seconds + place.seconds(setting.update_kernel(share, scale=1 / (micros * self.copies))))
            summed += Exchanged(0.0, copies.bytes_sent, copies.messages_sent, copies.exact)
            if number:
                sizes += list(self._boundary(shards, part, samples, borders[number]))
                links.append(sum(between.alpha + size * between.beta for size in sizes[-2:]))
        simple = max(both) <= min(both) * (1 + 1e-12) and max(ends) <= min(ends) * (1 + 1e-12)
        simple = simple and not any(border.up for border in borders)  # pieces are put into their places
        simple = simple and sum(links) <= 1e-10 * sum(both) and exchanged.exact and summed.exact
        before = [sum(both[:k]) + sum(links[:k]) for k in range(o.pipeline)]
        if simple:
            seconds = (micros + o.pipeline - 1) * both[0] + ends[0]
        else:
            seconds = max(a + micros * b + e for a, b, e in zip(before, both, ends, strict=True))
        where = ", ".join(
            f"{name} {1 / route.beta / 1e9:.3g} GB/s"
            for name, route in (("tensor", inside), ("pipeline", between), ("data", across))
            if route.beta
        )
        return ClosedForm(
            seconds,
            (exchanged.bytes_sent + summed.bytes_sent + micros * sum(sizes)) / o.pipeline,
            (exchanged.messages_sent + summed.messages_sent + micros * len(sizes)) / o.pipeline,
            0.0,
            "exact" if simple and not place.noisy else "lower bound",
            note=f"slowest links of groups, each alone there: {where}" if where else "",
        )

    def _between(self, setting: Setting) -> Route:
        """Of messages between stages, each alone."""
        shards, size = self.options.tensor, self.options.pipeline * self.options.tensor
        ranks = [rank for rank in range(self.copies * size) if rank % size < size - shards]
        return setting.worst_between((rank, rank + shards) for rank in ranks)

    @staticmethod
    def _boundary(shards: Sequence[Shard], part: Part, samples: int, border: _Scattered) -> tuple[float, float]:
        """Bytes that a worker sends up and down between a stage and the one before it: the mean over the shards."""
        number = shards[0].of(part).start
        entering = sum(shard.model.layers[number].input_elements for shard in shards) / len(shards)
        up = samples * entering * part.model.itemsize
        pieces = border.down or bool(shards[0].crossings[number].columns)
        return up / len(shards) if border.up else up, up / len(shards) if pieces else up
