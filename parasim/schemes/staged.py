"""What schemes share whose workers are stages: layers are cut once, activations go up, gradients come down.

`Staged` is their base: it cuts the model (`stages: balanced`, or by hand) and tells what each stage holds. A `Stage` is
one part at work: what arrives is asked for ahead, on lanes beside the computing, and what leaves is sent on lanes too,
so that a stage waits only for what it needs next.

Messages take memory. A send is a rendezvous: until the receiver asks for it, and it has arrived, a message is held by
its sender; from then on, by the receiver, until a pass takes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from parasim.program import (
    Activation,
    Batch,
    Buffer,
    Context,
    Handle,
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
    Wait,
    backward_inputs,
    backward_kernel,
    backward_weights,
    cut_by_hand,
    cut_evenly,
    forward_kernel,
    option,
)

__all__ = [
    "Stage",
    "StageSeconds",
    "Staged",
    "StagedOptions",
    "received",
    "sent",
    "stage_seconds",
    "taken",
    "update_seconds",
    "waits",
]


@dataclass(frozen=True, kw_only=True)
class StagedOptions(Options):
    """Options of schemes with stages; `workers` is their number."""

    stages: Literal["balanced"] | tuple[int, ...] = option(
        "balanced", "layers of each stage: balanced by modelled time, or a list such as [2, 3, 1]"
    )


class Staged(Scheme):
    """A worker per stage. A scheme adds its `worker`, what a stage holds, and its closed form.

    A worker returns its stage's parameters, or a list of them if it has several parts.
    """

    Options: ClassVar[type[Options]] = StagedOptions
    messages = "pipeline"

    def __init__(self, options: StagedOptions) -> None:
        super().__init__(options)
        self._stops: tuple[int, ...] = ()

    def pipelines(self) -> int:
        """One."""
        return 1

    # how the model is cut ------------------------------------------------------------------------------------------
    @property
    def cuts(self) -> int:
        """Parts that the model is cut into."""
        return int(self.options.workers)

    def micro_batches(self) -> int:
        """Micro-batches that a mini-batch is cut into."""
        return 1

    def rank_of(self, place: int) -> int:
        """Who has the part at this place."""
        return place

    def holding(self, place: int, samples: int) -> Holding | None:
        """What the part at this place holds at its peak, of so many samples per micro-batch; None: it is not known.

        The optimiser's state is added to it.
        """
        return None

    def held(self, model: Model) -> Model:
        """The model as a worker has it: what it holds of each layer."""
        return model

    def plan(self, setting: Planning) -> None:
        """Cut the model: by hand, or by the modelled time of a training step within the devices' memory."""
        model, given, ground = setting.model, self.options.stages, setting.ground
        samples = setting.batch_size // self.micro_batches()
        if not isinstance(given, str):
            parts = cut_by_hand(model, given, self.cuts)
        else:
            singles = model.each()

            def seconds(layer: int, place: int) -> float:
                part, rank = singles[layer], self.rank_of(place)
                forward, backward = forward_kernel(part, samples), backward_kernel(part, samples)
                return ground.seconds(forward, rank) + ground.seconds(backward, rank)

            holdings = self._holdings(setting)
            room = [ground.memory(self.rank_of(place)) for place in range(self.cuts)]
            parts = cut_evenly(self.held(model), self.cuts, seconds, holdings, room)
        self.cut_at(parts)

    def cut_at(self, parts: Sequence[Part]) -> None:
        """Take these parts."""
        self._stops = tuple(part.stop for part in parts)

    def parts(self, model: Model) -> tuple[Part, ...]:
        """The parts, as planned; without a plan, balanced by FLOP."""
        if not self._stops:
            return model.stages(self.cuts)
        return tuple(Part(model, *ends) for ends in zip((0, *self._stops), self._stops, strict=False))

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """What the stages hold, rank by rank."""
        holdings = self._holdings(setting)
        if not holdings:
            return ()
        held: list[dict[str, int]] = [{} for _ in range(self.options.workers)]
        for place, (holding, part) in enumerate(zip(holdings, self.parts(setting.model), strict=True)):
            mine = held[self.rank_of(place)]
            for name, nbytes in holding.bytes_of(part).items():
                mine[name] = mine.get(name, 0) + nbytes
        return held

    def _holdings(self, setting: Planning) -> list[Holding]:
        samples = setting.batch_size // self.micro_batches()
        found = [self.holding(place, samples) for place in range(self.cuts)]
        slots = len(setting.optimizer.slots)
        return [h.with_state(slots).with_messages(*self.waiting(k)) for k, h in enumerate(found) if h is not None]

    def in_flight(self, place: int) -> int:
        """Micro-batches that have begun their forward pass at a place, and not ended their backward pass: at most."""
        found = self.holding(place, 1)
        return 0 if found is None else round(found.activations)

    def waiting(self, place: int) -> tuple[int, int]:
        """Messages at a place: as large as what enters it, and as what leaves it; what they take at the most.

        What the place before has in flight and this one has not may wait here, on its way up or down; so may, of all
        that is in flight here, what is on its way to or from the place above. Between the halves of a backward pass a
        micro-batch is in flight here while its gradient is on its way down.
        """
        flying, found = self.in_flight(place), self.holding(place, 1)
        halves = 0 if found is None else round(found.halves)
        return (max(0, self.in_flight(place - 1) - flying) + halves if place else 0), flying

    def check(self, model: Model, batch_size: int) -> None:
        """Enough layers for the stages; equal micro-batches."""
        micros, tie = self.micro_batches(), model.tie
        if tie is not None and not tie.copied and self.cuts > 1:
            raise ValueError(
                f"model {model.name} shares weights between its first and its last layer, whose stages make updates at "
                "different versions here: write tied: false, or take a pipeline with a flush"
            )
        if self.cuts > len(model.layers):
            raise ValueError(
                f"{self.cuts} stages need at least {self.cuts} layers; {model.name} has {len(model.layers)}"
            )
        if batch_size % micros:
            raise ValueError(f"batch_size {batch_size} is no multiple of micro_batches {micros}")


def update_seconds(scheme: Staged, setting: Setting, scale: float = 1.0) -> list[float]:
    """Time of each part's update."""
    whole = max(1, setting.model.whole.parameters)
    kernels = [setting.update_kernel(part.parameters / whole, scale=scale) for part in scheme.parts(setting.model)]
    return [setting.place.seconds(kernel, scheme.rank_of(place)) for place, kernel in enumerate(kernels)]


class Stage:
    """One part at work: what it waits for, and what it stored of the micro-batches in flight, by number.

    Parameters
    ----------
    me, part
        Whose, and which layers.
    below, above
        Ranks that have the parts before and after it: micro-batch m goes to the one at place m, round robin.
    name
        Tells apart the parts of one actor in tags and lanes, and `beyond` names the parts below and above.
    """

    def __init__(
        self,
        me: Context,
        part: Part,
        below: Sequence[int],
        above: Sequence[int],
        name: str = "",
        beyond: tuple[str, str] = ("", ""),
    ) -> None:
        self.part = part
        self.stored: dict[int, Activation] = {}
        self._me = me
        self._sources = {"forward": () if part.is_first else below, "backward": () if part.is_last else above}
        self._names = {"forward": beyond[1], "backward": beyond[0]}
        self._name = name
        self._coming: dict[tuple[str, int], Handle] = {}

    def expect(self, way: str, micro: int) -> Program[None]:
        """Ask for what a pass needs; in the order of passes."""
        ranks = self._sources[way]
        if ranks:
            peer = ranks[micro % len(ranks)]
            lane = f"receive {way}{self._name}{_peer(ranks, peer)}"
            self._coming[way, micro] = yield from Post(received(self._me, peer, way + self._name), lane)

    def expect_all(self, passes: Iterable[tuple[str, int]]) -> Program[None]:
        """Ask for all that these passes need."""
        for way, micro in passes:
            yield from self.expect(way, micro)

    def arrived(self, way: str, micro: int) -> Program[Buffer | None]:
        """Wait for it; None where there is no neighbour."""
        handle = self._coming.pop((way, micro), None)
        if handle is None:
            return None
        (buffer,) = yield from Wait([handle])
        taken(self._me, buffer)
        return buffer  # type: ignore[no-any-return]

    def send(self, way: str, micro: int, buffer: Buffer | None) -> Program[None]:
        """Send an activation up or a gradient down, if there is a neighbour; nobody waits for it."""
        ranks = self._sources["backward" if way == "forward" else "forward"]
        if ranks and buffer is not None:
            peer = ranks[micro % len(ranks)]
            lane = f"send {way}{self._name}{_peer(ranks, peer)}"
            yield from Post(sent(self._me, peer, buffer, way + self._names[way]), lane)

    def forward(self, micro: int, parameters: Buffer, batch: Batch, recompute: bool = False) -> Program[None]:
        """Forward pass of a micro-batch with these parameters, which are lent until its backward pass.

        With `recompute` only the stage's input is kept (the first stage reads its batch again).
        """
        me = self._me
        inputs = yield from self.arrived("forward", micro)
        activation = yield from me.forward(self.part, parameters, batch, inputs, lent=True)
        yield from self.send("forward", micro, activation.outputs)
        yield from me.log_loss(activation)
        if recompute:
            if inputs is not None:
                me.hold("inputs", inputs.nbytes, inputs)
            activation = me.keep_input(activation, inputs)
        self.stored[micro] = activation

    def again(self, micro: int, parameters: Buffer) -> Program[None]:
        """Repeat a forward pass of which only the input was kept."""
        kept = self.stored[micro]
        inputs: Buffer | None = kept.saved
        self.stored[micro] = yield from self._me.forward(self.part, parameters, kept.batch, inputs, lent=True)
        if inputs is not None:
            self._me.release("inputs", inputs.nbytes, inputs)

    def backward(self, micro: int, into: Buffer, add: bool = False) -> Program[None]:
        """Backward pass of a micro-batch; its gradient is written (or added) to `into`."""
        upstream = yield from self.arrived("backward", micro)
        downstream = yield from self._me.backward(self.stored.pop(micro), upstream, into, add=add)
        yield from self.send("backward", micro, downstream)

    def backward_inputs(self, micro: int) -> Program[None]:
        """The half of a backward pass that the stage below waits for."""
        upstream = yield from self.arrived("backward", micro)
        downstream = yield from backward_inputs(self._me, self.stored[micro], upstream)
        yield from self.send("backward", micro, downstream)

    def backward_weights(self, micro: int, into: Buffer, add: bool = False) -> Program[None]:
        """The other half."""
        yield from backward_weights(self._me, self.stored.pop(micro), into, add=add)


def received(me: Context, peer: int, tag: str) -> Program[Buffer | None]:
    """Await a message; hold it until it is `taken`."""
    message = yield from Recv(peer, tag)
    waits(me, message.buffer)
    return message.buffer


def sent(me: Context, peer: int, buffer: Buffer, tag: str) -> Program[None]:
    """Hold a buffer from now on, and send it when this is run; then it is the receiver's."""
    waits(me, buffer)
    return _sent(me, peer, buffer, tag)


def _sent(me: Context, peer: int, buffer: Buffer, tag: str) -> Program[None]:
    yield from Send(peer, buffer, tag, lent=True)
    taken(me, buffer)


def waits(me: Context, *buffers: Buffer | None) -> None:
    """These are messages that have come and wait, or that are to be sent: a piece keeps the whole in memory."""
    for buffer in buffers:
        if buffer is not None:
            me.hold("messages", buffer.root.nbytes, buffer)


def taken(me: Context, *buffers: Buffer | None) -> None:
    """They are no messages any more: a pass reads them, or they are with the receiver."""
    for buffer in buffers:
        if buffer is not None:
            me.release("messages", buffer.root.nbytes, buffer)


def _peer(ranks: Sequence[int], peer: int) -> str:
    """A lane for each peer, where there are several."""
    return f" {peer}" if len(ranks) > 1 else ""


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Times of the stages' passes of one micro-batch, of their updates, and of the links between them, in seconds."""

    forward: list[float]
    backward: list[float]
    updates: list[float]
    up: list[float]
    down: list[float]
    sizes: list[int]
    """Bytes of the activation that leaves each stage but the last one."""


def stage_seconds(scheme: Staged, setting: Setting, scale: float = 1.0) -> StageSeconds:
    """Times for a closed form; `scale` is that of the update."""
    model, place = setting.model, setting.place
    samples = setting.batch_size // scheme.micro_batches()
    parts, ranks = scheme.parts(model), [scheme.rank_of(place) for place in range(scheme.cuts)]
    sizes = [part.output_elements * samples * model.itemsize for part in parts[:-1]]
    up = [place.route(*pair) for pair in itertools.pairwise(ranks)]
    down = [place.route(above, below) for below, above in itertools.pairwise(ranks)]
    return StageSeconds(
        [place.seconds(forward_kernel(part, samples), rank) for part, rank in zip(parts, ranks, strict=True)],
        [place.seconds(backward_kernel(part, samples), rank) for part, rank in zip(parts, ranks, strict=True)],
        update_seconds(scheme, setting, scale),
        [route.alpha + size * route.beta for route, size in zip(up, sizes, strict=True)],
        [route.alpha + size * route.beta for route, size in zip(down, sizes, strict=True)],
        sizes,
    )
