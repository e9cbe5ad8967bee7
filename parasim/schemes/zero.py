"""ZeRO and fully sharded data parallelism (Rajbhandari et al. 2020; Zhao et al. 2023, PyTorch FSDP; SCHEMES S37).

Data parallel: every worker computes the gradient of its own samples. But each owns one piece of every unit (some
layers), and keeps of it alone: stage 1 the optimiser's state, stage 2 also the gradient, stage 3 also the weights.

* Backward, unit by unit, a reduce-scatter gives each worker the sum of the gradients of its piece; it updates that.
* Stages 1 and 2: an all-gather of the updated weights ends the step.
* Stage 3: an all-gather brings a unit's weights before its forward pass and again before its backward pass; they are
  freed after it. The units that come next are gathered ahead, `prefetch` of them. Without `reshard_after_forward` they
  stay until the backward pass has read them: one all-gather less, for the memory of all weights.

All collectives of a worker run on one lane, in the order in which they are asked for: an all-gather ahead is asked for
before the pass that it runs beside, and so before the reduce-scatter after that pass. Hybrid sharding: workers are
sharded in groups (a node) whose copies an all-reduce of each piece's gradient, between groups, keeps equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parasim.program import (
    Activation,
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Group,
    Handle,
    Model,
    Options,
    Part,
    Planning,
    Post,
    Program,
    Replica,
    Scheme,
    Setting,
    Taxonomy,
    Wait,
    backward_kernel,
    bounds,
    coded_scatter,
    forward_kernel,
    option,
)
from parasim.program.elementwise import overwrite
from parasim.program.scheme import Codes
from parasim.schemes.crossings import ring_route, rings
from parasim.schemes.summing import sum_in

__all__ = ["Zero"]


@dataclass(frozen=True, kw_only=True)
class ZeroOptions(Options):
    """Options of ZeRO."""

    stage: int = option(3, "what is sharded: 1 optimiser state, 2 also gradients, 3 also weights (FSDP)", ge=1, le=3)
    unit_bytes: int = option(1, "least bytes of a unit's weights, filled from the last layer on", ge=1)
    prefetch: int = option(1, "units that are gathered ahead (stage 3)", ge=0)
    reshard_after_forward: bool = option(True, "free weights between a unit's two passes (stage 3)")
    replicas: int = option(1, "groups that are sharded each for itself, with consecutive workers (hybrid)", ge=1)
    master: bool = option(False, "keep 4-byte weights with the optimiser's state (mixed precision)")


@dataclass(slots=True)
class _Unit:
    """What a worker has of one unit: its piece, the piece's gradient, and all weights while they are there."""

    part: Part
    weights: Buffer
    piece: Buffer
    gradient: Buffer
    replica: Replica
    whole: Buffer
    gathering: Handle | None = None
    reducing: Handle | None = field(default=None)


class Zero(Scheme):
    """Data parallel with sharded states, synchronous, decentralised."""

    name = "zero"
    aliases = ("fsdp", "zero3", "sharded_data_parallel")
    citation = "Rajbhandari et al. (2020); Zhao et al. (2023)"
    taxonomy = Taxonomy("data parallel", "synchronous", "decentralised", "gradients scattered, parameters gathered")
    staleness = "0"
    Options = ZeroOptions

    @property
    def members(self) -> int:
        """Workers among which a unit is sharded."""
        return int(self.options.workers // self.options.replicas)

    def codes(self) -> Codes:
        """Gradients, to who owns a piece; weights are gathered as they are."""
        return "pieces" if self.options.workers > 1 else ""

    def groups(self) -> tuple[Group, ...]:
        """Who shards together, and who owns the same pieces."""
        members, workers = self.members, self.options.workers
        starts = range(0, workers - members + 1, members)
        shards = [Group(f"shard {start // members}", tuple(range(start, start + members))) for start in starts]
        return (*shards, *(Group(f"peers {i}", tuple(range(i, workers, members))) for i in range(members)))

    def lanes(self) -> tuple[str, ...]:
        """Where the collectives run."""
        return ("shard",)

    def worker(self, me: Context) -> Program[list[Buffer]]:
        """Forward and backward, unit by unit; update one's own pieces."""
        units = yield from self._units(me)
        ahead = self.options.prefetch + 1
        for step in me.steps():
            inputs, upstream = None, None
            passed: list[Activation] = []
            for place, unit in enumerate(units):
                yield from self._gather(me, units[place : place + ahead])
                activation = yield from me.forward(unit.part, unit.weights, me.batch(step), inputs, lent=True)
                if self.options.reshard_after_forward:
                    self._free(me, unit)
                inputs = activation.outputs
                passed.append(activation)
            yield from me.log_loss(passed[-1])
            for place, unit in reversed(list(enumerate(units))):
                yield from self._gather(me, units[max(0, place + 1 - ahead) : place + 1][::-1])
                if self.options.stage > 1:
                    yield from Wait([late.reducing for late in units[place + 2 : place + 3] if late.reducing])
                    me.renew("unit gradient", unit.whole)
                upstream = yield from me.backward(passed.pop(), upstream, unit.whole)
                self._free(me, unit)
                unit.reducing = yield from Post(self._reduce(me, unit, step), "shard")
            yield from Wait([unit.reducing for unit in units if unit.reducing])
            for unit in units:
                replica, name, scale = unit.replica, unit.part.name, 1 / self.options.workers
                yield from me.update(replica, unit.gradient, read=replica.version, scale=scale, layer=name)
                if self.options.master:
                    yield from me.math(overwrite, (unit.piece,), (unit.replica.parameters,))
            if self.options.stage < 3:
                for unit in units:
                    unit.gathering = yield from Post(self._all(me, unit), "shard")
                yield from Wait([unit.gathering for unit in units if unit.gathering])
            yield from me.step_done(step)
        return [unit.piece for unit in units]

    def _units(self, me: Context) -> Program[list[_Unit]]:
        """What a worker holds between steps: all weights in stages 1 and 2, all gradients in 1, pieces of the rest."""
        stage = self.options.stage
        weights = me.initial() if stage < 3 else None
        gradient = me.buffer("gradient") if stage == 1 else None
        units = []
        for part in me.model.buckets(self.options.unit_bytes):
            all_of = me.initial("gathered", part) if weights is None else part.of(weights)
            start, stop = self.piece(part, me.index)
            piece = all_of.part(start, stop)
            if weights is None:
                piece = yield from me.copy(piece)
                me.hold("weights", piece.nbytes, piece)
                me.watcher.offer(piece, part.offset + start)
                me.give_up("gathered", all_of)
            if gradient is None:
                whole = me.buffer("unit gradient", part.parameters)
                me.give_up("unit gradient", whole)
                mine = me.buffer("gradient", stop - start)
            else:
                whole = part.of(gradient)
                mine = whole.part(start, stop)
            owned = piece
            if self.options.master:
                owned = yield from me.copy(piece)
                owned.itemsize = 4
                me.hold("optimizer state", owned.nbytes, owned)
            itemsize = 4 if self.options.master else None
            slots = tuple(me.buffer("optimizer state", stop - start, itemsize) for _ in me.optimizer.slots)
            units.append(_Unit(part, all_of, piece, mine, Replica(owned, slots), whole))
        return units

    def piece(self, part: Part, index: int) -> tuple[int, int]:
        """Which elements of a unit a worker owns."""
        cuts = bounds(part.parameters, self.members)
        return cuts[index % self.members], cuts[index % self.members + 1]

    def _gather(self, me: Context, units: Sequence[_Unit]) -> Program[None]:
        """Ask for the weights of these units, if that was not done; wait for those of the first. Stage 3 only."""
        if self.options.stage < 3:
            return
        for unit in units:
            if unit.gathering is None:
                me.renew("gathered", unit.weights)
                unit.gathering = yield from Post(self._all(me, unit), "shard")
        yield from Wait([unit.gathering for unit in units[:1] if unit.gathering])

    def _all(self, me: Context, unit: _Unit) -> Program[None]:
        """All weights of a unit, from everyone's piece."""
        if self.options.stage == 3:
            yield from me.math(overwrite, (unit.weights.part(*self.piece(unit.part, me.index)),), (unit.piece,))
        yield from Collective("all_gather", me.group(f"shard {me.index // self.members}"), unit.weights)

    def _free(self, me: Context, unit: _Unit) -> None:
        """Free a unit's weights but for one's own piece."""
        if self.options.stage == 3:
            me.give_up("gathered", unit.weights)
            unit.gathering = None

    def _reduce(self, me: Context, unit: _Unit, step: int) -> Program[None]:
        """The sum of all workers' gradients of one's own piece; in code, all send all their pieces (ZeRO++)."""
        group, offset = me.group(f"shard {me.index // self.members}"), unit.part.offset
        if me.compression is None:
            mine = yield from Collective("reduce_scatter", group, unit.whole)
        else:
            inside = offset - unit.whole.start
            mine = yield from coded_scatter(me, group, unit.whole, "gradient", step, offset=inside)
        if self.options.stage > 1:
            yield from me.math(overwrite, (unit.gradient,), (mine,))
            me.give_up("unit gradient", unit.whole)
        if self.options.replicas > 1:
            first = offset + self.piece(unit.part, me.index)[0] - unit.gradient.start
            peers = me.group(f"peers {me.index % self.members}")
            yield from sum_in(me, peers, unit.gradient, step, "ring", what="gradient of peers", offset=first)

    def no_norms(self) -> str:
        """A worker updates pieces of layers, unless it shards with nobody."""
        if self.members == 1:
            return ""
        return f"workers own pieces of layers: write replicas: {self.options.workers}, or scheme: {{kind: allreduce}}"

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large."""
        workers, replicas = self.options.workers, self.options.replicas
        if workers % replicas:
            raise ValueError(f"{workers} workers do not fill {replicas} replicas: use a multiple of {replicas}")

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """In mixed precision with Adam, of P parameters: 4P + 12P/N, 2P + 14P/N, 16P/N bytes in stages 1, 2, 3.

        Beside them, in stage 3 the weights of 1 + prefetch units that follow each other (of all, if they stay after
        the forward pass); in 2 and 3 two gradients.
        """
        model, stage, ahead = setting.model, self.options.stage, 1 + self.options.prefetch
        units = model.buckets(self.options.unit_bytes)
        held = []
        for index in range(self.options.workers):
            pieces = [stop - start for start, stop in (self.piece(part, index) for part in units)]
            state = len(setting.optimizer.slots) * (4 if self.options.master else model.itemsize)
            whole, mine = model.whole.parameters * model.itemsize, sum(pieces) * model.itemsize
            gathered = [sum(part.nbytes for part in units[i : i + ahead]) for i in range(len(units))]
            pairs = [sum(part.nbytes for part in units[i : i + 2]) for i in range(len(units))]
            there = max(gathered) if self.options.reshard_after_forward else whole
            passing = (there if stage == 3 else 0) + (max(pairs) if stage > 1 else 0)
            found = {
                "weights": mine if stage == 3 else whole,
                "gradients": whole if stage == 1 else mine,
                "optimizer state": sum(pieces) * (state + 4 * self.options.master),
                "activations": setting.batch_size * model.whole.stored_elements * model.itemsize,
                "buffers": passing,
            }
            held.append({name: nbytes for name, nbytes in found.items() if nbytes})
        return held

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max(T_c + T_update, 3 (F-1) (alpha + P/F beta))``, P bytes of a unit, summed over units; a lower bound.

        F workers share a unit. In stages 1 and 2 it is 2 instead of 3, half of it after the update; 2 also in stage 3
        if weights stay after the forward pass. Replicas add an all-reduce of P/F.
        """
        options, place, model = self.options, setting.place, setting.model
        units = model.buckets(options.unit_bytes)
        groups = self.groups()
        inside, across = (
            ring_route(setting, [g.ranks for g in some])
            for some in (groups[: options.replicas], groups[options.replicas :])
        )
        gathers = 2 if options.stage == 3 and options.reshard_after_forward else 1
        kinds = [("all_gather", part.nbytes) for part in units] * gathers
        kinds += [("reduce_scatter", part.nbytes) for part in units]
        shared = rings(setting, inside, self.members, kinds)
        copies = [("all_reduce", round(part.nbytes / self.members)) for part in units]
        shared += rings(setting, across, options.replicas, copies)
        kernels = [kernel(part, setting.batch_size) for part in units for kernel in (forward_kernel, backward_kernel)]
        fractions = [part.parameters / max(1, model.whole.parameters * self.members) for part in units]
        kernels += [setting.update_kernel(fraction, scale=1 / options.workers) for fraction in fractions]
        computing = place.longest(kernels)
        return ClosedForm(
            max(computing, shared.seconds),
            shared.bytes_sent,
            shared.messages_sent,
            0.0,
            "lower bound",
            note="what is gathered ahead or reduced beside a pass is hidden; the rest is not counted",
        )
