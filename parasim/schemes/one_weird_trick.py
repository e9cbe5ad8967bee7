"""One weird trick (Krizhevsky 2014; SCHEMES S23): data-parallel convolutions, model-parallel fully connected layers.

Every worker has all convolutions and sees its own b/N samples there; of each fully connected layer it has some neurons
and sees all b samples. In between, activations are exchanged by one of the paper's three schemes:

* all: everybody sends all activations to all; the fully connected part runs once, on b samples.
* in_turn: one worker after the other sends its b/N samples to all; the fully connected part runs on them, forward and
  backward, while the next worker's are on their way.
* pieces: everybody sends one N-th of its samples at a time, so that all links are busy; else as in_turn.

The gradient of the activations goes back by the mirrored scheme; those of convolutions are summed by all-reduce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Batch,
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Exchange,
    Holding,
    Model,
    Options,
    Part,
    Planning,
    Post,
    Program,
    Recv,
    Scheme,
    Send,
    Setting,
    Shard,
    Taxonomy,
    Wait,
    backward_kernel,
    backward_shard,
    bounds,
    forward_kernel,
    forward_shard,
    option,
)
from parasim.program.elementwise import overwrite
from parasim.schemes.crossings import Exchanged, ring_route, rings

__all__ = ["OneWeirdTrick"]


@dataclass(frozen=True, kw_only=True)
class OneWeirdTrickOptions(Options):
    """Options of one weird trick."""

    exchange: Literal["all", "in_turn", "pieces"] = option("all", "schemes (a), (b) and (c) of the paper")
    first: int = option(
        0, "number of the first fully connected layer (0: the first of the linear layers at the end)", ge=0
    )
    variable: bool = option(False, "update the fully connected part after each b/N samples (not with all)")


class OneWeirdTrick(Scheme):
    """Data parallel convolutions, model parallel fully connected layers; synchronous."""

    name = "one_weird_trick"
    aliases = ("owt",)
    citation = "Krizhevsky (2014)"
    taxonomy = Taxonomy(
        "hybrid", "synchronous", "decentralised", "activations, their gradients; all-reduce of gradients"
    )
    staleness = "0"
    Options = OneWeirdTrickOptions
    fixed_batch = "activations are exchanged in pieces of one size"

    def lanes(self) -> tuple[str, ...]:
        """Exchanges between neurons; activations, and their gradients, between the two parts."""
        return ("main", "activations", "gradients")

    def first(self, model: Model) -> int:
        """Number of the first fully connected layer."""
        if self.options.first:
            return int(self.options.first)
        number = len(model.layers)
        while number > 1 and model.layers[number - 1].kind == "linear":
            number -= 1
        return number

    def shard(self, model: Model, index: int) -> tuple[Part, Shard, Part]:
        """The convolutions, the worker's shard of all, and the fully connected part of that."""
        first = self.first(model)
        shard = model.split("outputs", index, self.options.workers, first)
        return model.part(0, first), shard, shard.of(model.part(first, len(model.layers)))

    @property
    def rounds(self) -> int:
        """How often the fully connected part runs in a step."""
        return 1 if self.options.exchange == "all" else int(self.options.workers)

    def worker(self, me: Context) -> Program[tuple[Buffer, Buffer]]:
        """Convolutions on one's own samples; fully connected layers on everybody's, round by round; back; update."""
        group, rounds = me.group("worker"), self.rounds
        convolutions, shard, connected = self.shard(me.model, me.index)
        conv, full = me.replica(convolutions), me.replica(connected)
        conv_gradient = me.buffer("gradient", convolutions.parameters)
        full_gradient = me.buffer("gradient", connected.parameters)
        elements = me.batch_size * convolutions.output_elements
        for step in me.steps():
            mine = yield from me.forward(convolutions, conv.parameters, me.batch(step))
            back = me.buffer("activation gradient", elements)
            coming = yield from Post(self._bring(me, mine.outputs, 0), "activations")
            going = []
            for number in range(rounds):
                (inputs,) = yield from Wait([coming])
                if number + 1 < rounds:
                    coming = yield from Post(self._bring(me, mine.outputs, number + 1), "activations")
                batch = self._batch(me, step, number)
                passed = yield from forward_shard(me, shard, connected, full.parameters, batch, group, inputs)
                if me.index == 0:
                    yield from me.log_loss(passed[-1])
                add = number > 0 and not self.options.variable
                found = yield from backward_shard(me, shard, passed, None, full_gradient, group, add, enter=False)
                if self.options.exchange != "in_turn":
                    me.release("gathered", inputs.nbytes, inputs)
                going.append((yield from Post(self._return(me, found, back, number), "gradients")))
                if self.options.variable:
                    yield from me.update(full, full_gradient, read=full.version, layer=connected.name)
            yield from Wait(going)
            yield from me.backward(mine, back, conv_gradient)
            me.release("activation gradient", back.nbytes, back)
            yield from Collective("all_reduce", group, conv_gradient, "ring")
            scale = 1 / rounds
            yield from me.update(conv, conv_gradient, read=conv.version, scale=scale, layer=convolutions.name)
            if not self.options.variable:
                yield from me.update(full, full_gradient, read=full.version, scale=scale, layer=connected.name)
            yield from me.step_done(step)
        return conv.parameters, full.parameters

    def _cuts(self, me: Context, number: int) -> tuple[int, int]:
        """Which of its samples a worker sends in a round."""
        if self.options.exchange != "pieces":
            return 0, me.batch_size
        cuts = bounds(me.batch_size, self.options.workers)
        return cuts[number], cuts[number + 1]

    def _batch(self, me: Context, step: int, number: int) -> Batch:
        """The samples of a round, worker by worker."""
        own, workers = me.batch_size, self.options.workers
        if self.options.exchange == "in_turn":
            return me.batch(step, share=number)
        start, stop = self._cuts(me, number)
        return Batch(step, number, start, stop, workers * own, runs=workers, stride=own)

    def _bring(self, me: Context, own: Buffer | None, number: int) -> Program[Buffer]:
        """The activations of a round's samples, from all workers or from the one whose turn it is."""
        group = me.group("worker")
        assert own is not None
        if self.options.exchange == "in_turn":
            if me.index == number:
                others = [rank for rank in group.ranks if rank != me.rank]
                yield from Exchange(tuple(Send(rank, own, "activations") for rank in others))
                return own
            message = yield from Recv(group.ranks[number], "activations")
            assert message.buffer is not None
            return message.buffer
        piece = self._piece(me, own, number)
        everyone = me.buffer("gathered", piece.elements * group.size)
        place = everyone.part(me.index * piece.elements, (me.index + 1) * piece.elements)
        yield from me.math(overwrite, (place,), (piece,))
        yield from Collective("all_gather", group, everyone)
        return everyone

    def _return(self, me: Context, found: Buffer | None, back: Buffer, number: int) -> Program[None]:
        """The sum of what all workers found of the gradient of one's own activations."""
        group = me.group("worker")
        assert found is not None
        if self.options.exchange != "in_turn":
            mine = yield from Collective("reduce_scatter", group, found)
            yield from me.math(overwrite, (self._piece(me, back, number),), (mine,))
        elif me.index != number:
            yield from Send(group.ranks[number], found, "gradients")
        else:
            others = tuple(Recv(rank, "gradients") for rank in group.ranks if rank != me.rank)
            messages = yield from Exchange((), others)
            yield from me.math(overwrite, (back,), (found,))
            for message in messages:
                assert message.buffer is not None
                yield from me.accumulate(back, message.buffer)

    def _piece(self, me: Context, own: Buffer, number: int) -> Buffer:
        """One's own samples of a round."""
        start, stop = self._cuts(me, number)
        width = own.elements // me.batch_size
        return own.part(start * width, stop * width)

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Layers before and from the first fully connected one; pieces of whole samples; something for everyone."""
        first, options = self.first(model), self.options
        if not 0 < first < len(model.layers):
            raise ValueError(
                f"first: {first} leaves one of the two parts of {len(model.layers)} layers empty: "
                f"give 1 to {len(model.layers) - 1}"
            )
        if options.exchange == "pieces" and batch_size % options.workers:
            raise ValueError(f"batch_size {batch_size} does not make {options.workers} equal pieces: use a multiple")
        if options.variable and options.exchange == "all":
            raise ValueError("variable: true needs several rounds in a step: use exchange in_turn or pieces")
        self.shard(model, 0)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """All convolutions and an N-th of the rest; activations of b/N samples there, of a round's samples here.

        The buffers are the gradient of one's own activations, and with (a) and (c) what is gathered, for a round and
        the next.
        """
        workers, rounds, own = self.options.workers, self.rounds, setting.batch_size
        together = own * workers // rounds
        held = []
        for index in range(workers):
            convolutions, _, connected = self.shard(setting.model, index)
            parts = ((convolutions, own), (connected, together))
            one = [Holding(samples=n).with_state(len(setting.optimizer.slots)).bytes_of(part) for part, n in parts]
            found = {name: sum(of.get(name, 0) for of in one) for name in one[0]}
            gathered = 0 if self.options.exchange == "in_turn" else min(2, rounds) * together
            found["buffers"] = (own + gathered) * convolutions.output_elements * setting.model.itemsize
            held.append(found)
        return held

    def closed_form(self, setting: Setting) -> ClosedForm:
        """With (a) ``T_conv(b/N) + T_fc(b)/N`` and all exchanges; with (b) and (c) what is not overlapped at least.

        Bytes: ``2 P_conv (N-1)/N + 2 A(b) (N-1)/N`` with the activations A between the parts, and as tensor parallelism
        for the fully connected layers.
        """
        options, place, workers, rounds = self.options, setting.place, self.options.workers, self.rounds
        shards = [self.shard(setting.model, index) for index in range(workers)]
        convolutions, shard, connected = shards[0]
        samples = workers * setting.batch_size // rounds
        route = ring_route(setting, [range(workers)])
        inner = shard.exchanged(connected, samples)[:-1] * rounds  # the last one is that between the two parts
        boundary = convolutions.output_elements * samples * setting.model.itemsize
        between = rings(setting, route, workers, [("all_gather", boundary), ("reduce_scatter", boundary)] * rounds)
        if options.exchange == "in_turn":
            between = Exchanged(0.0, between.bytes_sent, 2.0 * (workers - 1), between.exact)
        crossed = rings(setting, route, workers, inner)
        summed = rings(setting, route, workers, [("all_reduce", convolutions.nbytes)])
        kernels = [kernel(convolutions, setting.batch_size) for kernel in (forward_kernel, backward_kernel)]
        segments = [connected.model.part(j, j + 1) for j in range(connected.start, connected.stop)]
        kernels += [kernel(at, samples) for at in segments for kernel in (forward_kernel, backward_kernel)] * rounds
        total = max(1, setting.model.whole.parameters)
        updates = [convolutions.parameters / total]
        updates += [connected.parameters / total] * (rounds if options.variable else 1)
        kernels += [setting.update_kernel(share, scale=1 / rounds) for share in updates]
        simple = rounds == 1
        seconds = place.longest(kernels) + crossed.seconds + summed.seconds + (between.seconds if simple else 0.0)
        all_of = crossed + summed + between
        return ClosedForm(
            seconds,
            all_of.bytes_sent,
            all_of.messages_sent,
            0.0,
            "lower bound",
            note="copies of activations" if simple else "activations on their way are hidden as far as can be",
        )
