"""3-D parallelism: data x pipeline x tensor (Narayanan et al. 2021, Megatron-LM's PTD-P; SCHEMES S35).

Worker (d, p, t) holds of stage p the shard t, in copy d of the pipeline. Inside each stage its tensor group exchanges
activations (t: consecutive workers, so that a node holds a group); stages pass each micro-batch on, shard t to shard t,
in the order of 1F1B with a flush; after the last one, the workers that hold the same shard of the same stage sum their
gradients, and update. Traffic of the three kinds of groups shares whatever links it meets.

With `chunks` a worker has several parts of the model, in the order of interleaved 1F1B. Without `flush` pipelines are
those of PipeDream-2BW: no bubble, two versions of the weights, a delay of one update. With `recompute` a stage keeps
the inputs of each micro-batch and repeats its forward pass, with what the tensor group exchanges in it.

What all members of a tensor group have alike, each sends whole; with `scatter_gather` (section 4.1 there) it sends a
t-th, and the next stage's group gathers the pieces: between nodes, 1/t of the bytes.

Where outputs share the token vectors, the last stage has a copy of them (`parasim.schemes.tied`): of each shard a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from parasim.program import (
    ClosedForm,
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
    Tie,
    Tied,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.program.compressor import Compressor
from parasim.program.scheme import Codes
from parasim.schedules.interleaved import interleaved
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.crossings import Exchanged, SplitOptions, ring_route, rings, uncoded_copies
from parasim.schemes.flushing import Chunk, Flushing, FlushingOptions, Pass, Seat, balanced
from parasim.schemes.interleaved import check_interleaving, chunk_in_flight, chunks_held
from parasim.schemes.shard_stage import Scattered, ShardStage
from parasim.schemes.staged import Stage
from parasim.schemes.stash import stash_kernel_seconds
from parasim.schemes.summing import sum_in
from parasim.schemes.two_versions import check_two_versions, two_versions

__all__ = ["ThreeD"]


@dataclass(frozen=True, kw_only=True)
class ThreeDOptions(SplitOptions, FlushingOptions):
    """Options of 3-D parallelism; `workers` is data x pipeline x tensor, `stages` cuts into pipeline x chunks parts."""

    pipeline: int = option(2, "stages of a pipeline (p)", ge=1)
    tensor: int = option(1, "workers that share each stage's layers (t)", ge=1)
    split: Literal["outputs", "pairs"] = option("pairs", "each layer by outputs, or pairs by outputs, then inputs")
    micro_batches: int = option(4, "micro-batches of a pipeline's mini-batch", ge=1)
    chunks: int = option(1, "chunks of the model per stage: more than one are interleaved", ge=1)
    flush: bool = option(True, "false: PipeDream-2BW, of a delay of one update and two versions of the weights")
    recompute: bool = option(False, "keep a stage's inputs alone and repeat forward passes, exchanges included")
    scatter_gather: bool = option(False, "stages send each piece once, and gather pieces in the tensor group")


class ThreeD(Flushing):
    """Data, pipeline and tensor parallel, synchronous with a flush."""

    name = "three_d"
    aliases = ("3d", "ptd_p", "megatron_3d")
    citation = "Narayanan et al. (2021)"
    taxonomy = Taxonomy(
        "hybrid", "synchronous", "decentralised", "activations, their gradients; all-reduce of gradients"
    )
    staleness = "0; without a flush 1 (0 of the first mini-batch)"
    Options: ClassVar[type[Options]] = ThreeDOptions

    @property
    def copies(self) -> int:
        """Copies of the pipeline: the data-parallel size d."""
        return int(self.options.workers // (self.options.pipeline * self.options.tensor))

    @property
    def stages(self) -> int:
        """Of a pipeline: p."""
        return int(self.options.pipeline)

    @property
    def cuts(self) -> int:
        """Stages times chunks."""
        return int(self.options.pipeline * self.options.chunks)

    @property
    def shards(self) -> int:
        """Of each stage: t."""
        return int(self.options.tensor)

    def tied(self) -> Tied:
        """As copies; one stage, whose layers are computed one by one, has no way to share them."""
        return "copies" if self.cuts > 1 else ""

    def tie_of(self, model: Model) -> Tie | None:
        """Of the first shards."""
        return self.shard(model, 0).model.tie

    def pipelines(self) -> int:
        """One per copy."""
        return self.copies

    def codes(self) -> Codes:
        """Gradients that copies sum; activations are sent as they are."""
        return "sums" if self.copies > 1 else ""

    def no_codes(self, model: Model, code: Compressor) -> str:
        """Shards may hold copies of a parameter."""
        return uncoded_copies([self.shard(model, place) for place in range(self.options.tensor)], model, code)

    def recomputes(self, micro: int) -> bool:
        """If asked to."""
        return bool(self.options.recompute)

    def rank_of(self, place: int) -> int:
        """The first worker of the stage of the first copy that has a part."""
        return place % self.stages * int(self.options.tensor)

    def groups(self) -> tuple[Group, ...]:
        """Of each stage of each copy the tensor group; who holds the same shard of the same stage; who shares."""
        shards, size = self.options.tensor, self.options.pipeline * self.options.tensor
        starts = range(0, self.copies * size, shards)
        tensor = [Group(f"tensor {start // shards}", tuple(range(start, start + shards))) for start in starts]
        data = [Group(f"data {i}", tuple(range(i, self.copies * size, size))) for i in range(size)]
        return (*tensor, *data, *super().groups())

    def shard(self, model: Model, place: int) -> Shard:
        """What the member at this place of a tensor group holds, of all stages."""
        found: Shard = self.options.shard(model, place, self.options.tensor)
        return found

    def seat(self, me: Context) -> Seat:
        """Copies of the pipeline one after the other, in them stages, in these shards."""
        copy, stage = divmod(me.index // self.options.tensor, self.stages)
        return Seat(stage, copy, self.copies)

    def stage(self, me: Context, place: int, name: str, beyond: tuple[str, str]) -> Stage:
        """One's shard of the part at a place."""
        above, own = divmod(me.index, self.options.tensor)
        shard, part = self.shard(me.model, own), self.parts(me.model)[place]
        first = me.rank - self.rank_of(place)  # rank of the same shard of this copy's first stage
        peers = first + self.rank_of(place - 1), first + self.rank_of(place + 1)
        borders = self._borders(me.model, shard)[place : place + 2]
        return ShardStage(me, shard, part, me.group(f"tensor {above}"), peers, borders, name, beyond)

    def summed(self, me: Context, chunk: Chunk, step: int) -> Program[None]:
        """Over the workers that hold the same shard of the same stage; and what another stage has of it too."""
        part, group = chunk.stage.part, me.group(f"data {me.index % (self.options.tensor * self.stages)}")
        yield from sum_in(me, group, chunk.gradient, step, "ring", offset=part.offset, model=part.model)
        yield from self.sum_tied(me, part, chunk.gradient)

    def worker(self, me: Context) -> Program[Any]:
        """One shard of the parts of one stage of one copy."""
        if self.options.flush:
            parameters = yield from super().worker(me)
            return parameters
        (chunk,), o = self.chunks(me), self.options
        parameters = yield from two_versions(
            me, chunk, self.seat(me), self.stages, o.micro_batches, self.summed, o.recompute
        )
        return parameters

    def _borders(self, model: Model, shard: Shard) -> list[Scattered]:
        """Before each stage, and after the last one.

        Activations in columns, one's own for each member, are pieces already, and so are such gradients.
        """
        found = [Scattered()]
        for part in self.parts(model)[1:]:
            alike = self.options.scatter_gather and shard.of(part).input_elements == part.input_elements
            alike = alike and self.options.tensor > 1
            found.append(Scattered(alike, alike and not shard.crossings[shard.of(part).start].columns))
        return [*found, Scattered()]

    def order(self, index: int) -> Iterator[Pass]:
        """1F1B with a flush, interleaved if there are several chunks."""
        o = self.options
        if o.chunks > 1:
            return interleaved(index, o.pipeline, o.micro_batches, o.chunks)
        return ((way, 0, micro) for way, micro in one_f_one_b(fill(index, o.pipeline), o.micro_batches))

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Full copies, enough layers, equal micro-batches, something of every layer for every shard; the schedules'."""
        o = self.options
        if o.workers % (o.pipeline * o.tensor):
            raise ValueError(
                f"{o.workers} workers are no multiple of pipeline {o.pipeline} x tensor {o.tensor} = "
                f"{o.pipeline * o.tensor}: change one of them"
            )
        super().check(model, batch_size)
        if o.chunks > 1:
            check_interleaving(o.pipeline, o.chunks, o.micro_batches)
            if not o.flush:
                raise ValueError(f"chunks {o.chunks} are interleaved between flushes: use chunks: 1, or flush: true")
        if not o.flush:
            check_two_versions(o.pipeline, o.micro_batches)
        self.shard(model, 0)

    def in_flight(self, place: int) -> int:
        """As 1F1B: p - k micro-batches, or all; of chunks, what their order has."""
        o = self.options
        if o.chunks > 1:
            return chunk_in_flight(self.order(place % o.pipeline), place // o.pipeline)
        flying = fill(place, o.pipeline) + 1
        return min(flying, o.micro_batches) if o.flush else flying

    def holding(self, place: int, samples: int) -> Holding:
        """All of what is in flight, or, recomputing, its inputs and all of one; without a flush two versions."""
        flying, versions = self.in_flight(place), 0 if self.options.flush else 1
        if self.options.recompute:
            return Holding(versions=versions, activations=1, inputs=flying, samples=samples)
        return Holding(versions=versions, activations=flying, samples=samples)

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
        holdings, parts = self._holdings(setting), self.parts(setting.model)
        samples, found = setting.batch_size // self.options.micro_batches, []
        for number in range(self.stages):
            for shard in shards:
                borders, held, gathered = self._borders(setting.model, shard), Counter[str](), 0
                stored: list[int] = []
                for place in range(number, self.cuts, self.stages):
                    own = shard.of(parts[place])
                    held.update(holdings[place].bytes_of(own))
                    pieces = borders[place].up * own.input_elements, borders[place + 1].down * own.output_elements
                    gathered = max(gathered, max(pieces) * samples * own.model.itemsize)
                    stored.append(samples * own.model.itemsize * own.stored_elements)
                if not self.options.recompute and self.options.flush:  # chunks have their most at different times
                    held["activations"] = chunks_held(self.order(number), stored)
                found.append({**held, **({"buffers": gathered} if gathered else {})})
        return found * self.copies

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + (p - 1)/v)(t_f + t_b) + C(d, P/(p t))`` + update when balanced; t_f, t_b with the tensor's traffic.

        v are chunks. Without a flush M (t_f + t_b), the sum and the update with its copy. Exact if stages and shards
        are equal, a message between stages takes no time, nothing is repeated and groups share no link; else a lower
        bound: the slowest stage's passes, and a micro-batch's way to it and back.
        """
        o, place = self.options, setting.place
        micros, samples = o.micro_batches, setting.batch_size // o.micro_batches
        shards = [self.shard(setting.model, index) for index in range(o.tensor)]
        parts, whole = self.parts(setting.model), max(1, setting.model.whole.parameters)
        groups, tensors = self.groups(), self.copies * o.pipeline
        inside, across = (
            setting.worst(ring_route(setting, [group.ranks]) for group in some)
            for some in (groups[:tensors], groups[tensors : tensors + o.pipeline * o.tensor])
        )
        between, borders = self._between(setting), self._borders(setting.model, shards[0])
        exchanged, summed = Exchanged(0.0, 0.0, 0.0, True), Exchanged(0.0, 0.0, 0.0, True)
        both, again, ends, links, sizes = [], [], [], [], []
        tied = self.tied_cost(setting)
        for number, part in enumerate(parts):
            own = shards[0].of(part)
            gathers = []
            if borders[number].up:
                gathers.append(("all_gather", samples * own.input_elements * own.model.itemsize))
            if borders[number + 1].down:
                gathers.append(("all_gather", samples * own.output_elements * own.model.itemsize))
            crossed = rings(setting, inside, o.tensor, [*shards[0].exchanged(own, samples), *gathers])
            repeated = rings(setting, inside, o.tensor, shards[0].repeated(own, samples) if o.recompute else ())
            segments = [own.model.part(j, j + 1) for j in range(own.start, own.stop)]
            forward = sum(place.seconds(forward_kernel(at, samples)) for at in segments)
            backward = sum(place.seconds(backward_kernel(at, samples)) for at in segments)
            both.append(forward + backward + crossed.seconds)
            again.append(forward + repeated.seconds if o.recompute else 0.0)
            for one in (crossed, repeated):
                exchanged += Exchanged(0.0, one.bytes_sent * micros, one.messages_sent * micros, one.exact)
            copies = rings(setting, across, self.copies, [("all_reduce", own.nbytes)])
            if number in (0, self.cuts - 1):
                copies += tied
            share = own.parameters / whole
            update = place.seconds(setting.update_kernel(share, scale=1 / (micros * self.copies)))
            ends.append(copies.seconds + update + (0 if o.flush else stash_kernel_seconds(setting, share, 0)))
            summed += Exchanged(0.0, copies.bytes_sent, copies.messages_sent, copies.exact)
            if number:
                sizes += list(self._boundary(shards, part, samples, borders[number]))
                links.append(sum(between.alpha + size * between.beta for size in sizes[-2:]))
        simple = balanced(both) and balanced(ends) and not o.recompute
        simple = simple and not any(border.up for border in borders)  # pieces are put into their places
        simple = simple and sum(links) <= 1e-10 * sum(both) and exchanged.exact and summed.exact
        passes = [micros * sum(both[k :: o.pipeline] + again[k :: o.pipeline]) for k in range(o.pipeline)]
        last = [sum(ends[k :: o.pipeline]) for k in range(o.pipeline)]
        before = [(sum(both[:k]) + sum(links[:k])) * o.flush for k in range(o.pipeline)]
        if simple:
            seconds = passes[0] + (o.pipeline - 1) * both[0] * o.flush + last[0]
        else:
            seconds = max(a + b + e for a, b, e in zip(before, passes, last, strict=True))
        where = ", ".join(
            f"{name} {1 / route.beta / 1e9:.3g} GB/s"
            for name, route in (("tensor", inside), ("pipeline", between), ("data", across))
            if route.beta
        )
        return ClosedForm(
            seconds,
            (exchanged.bytes_sent + summed.bytes_sent + micros * sum(sizes)) / o.pipeline,
            (exchanged.messages_sent + summed.messages_sent + micros * len(sizes)) / o.pipeline,
            0.0 if o.flush else 1.0,
            "exact" if simple and (o.flush or self.copies == 1) and not place.noisy else "lower bound",
            note=f"slowest links of groups, each alone there: {where}" if where else "",
        )

    def _between(self, setting: Setting) -> Route:
        """Of messages between stages, each alone."""
        shards, size = self.options.tensor, self.options.pipeline * self.options.tensor
        ranks = [rank for rank in range(self.copies * size) if rank % size < size - shards]
        pairs = [(rank, rank + shards) for rank in ranks]
        if self.options.chunks > 1:  # the first stage has what comes after the last one's chunk
            firsts = [rank for rank in range(self.copies * size) if rank % size < shards]
            pairs += [(rank + size - shards, rank) for rank in firsts]
        return setting.worst_between(pairs)

    @staticmethod
    def _boundary(shards: Sequence[Shard], part: Part, samples: int, border: Scattered) -> tuple[float, float]:
        """Bytes that a worker sends up and down between a stage and the one before it: the mean over the shards."""
        number = shards[0].of(part).start
        entering = sum(shard.model.layers[number].input_elements for shard in shards) / len(shards)
        up = samples * entering * part.model.itemsize
        pieces = border.down or bool(shards[0].crossings[number].columns)
        return up / len(shards) if border.up else up, up / len(shards) if pieces else up
