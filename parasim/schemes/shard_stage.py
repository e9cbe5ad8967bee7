"""A stage of a pipeline whose layers a group of workers share: each has a shard of them (3-D parallelism)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parasim.program import (
    Activation,
    Batch,
    Buffer,
    Collective,
    Context,
    Group,
    Part,
    Program,
    Shard,
    backward_shard,
    forward_shard,
)
from parasim.program.elementwise import overwrite
from parasim.schemes.staged import Stage

__all__ = ["Scattered", "ShardStage"]


@dataclass(frozen=True, slots=True)
class Scattered:
    """What goes in pieces over the border between two stages."""

    up: bool = False
    down: bool = False


@dataclass(slots=True)
class _Passed:
    """A micro-batch's forward pass: its inputs, and what each segment left; nothing if it is to be repeated."""

    batch: Batch
    inputs: Buffer | None
    activations: list[Activation]


class ShardStage(Stage):
    """A stage of which a group of workers hold a shard each."""

    def __init__(
        self,
        me: Context,
        shard: Shard,
        part: Part,
        group: Group,
        peers: tuple[int, int],
        borders: Sequence[Scattered],
        name: str,
        beyond: tuple[str, str],
    ) -> None:
        super().__init__(me, shard.of(part), peers[:1], peers[1:], name, beyond)
        self._shard, self._group = shard, group
        self._below, self._above = borders
        self._passed: dict[int, _Passed] = {}

    def forward(self, micro: int, parameters: Buffer, batch: Batch, recompute: bool = False) -> Program[None]:
        """Forward pass of a micro-batch."""
        me = self._me
        came = yield from self.arrived("forward", micro)
        inputs = yield from self._gather(came, batch.size * self.part.input_elements, self._below.up)
        passed = yield from forward_shard(me, self._shard, self.part, parameters, batch, self._group, inputs)
        self._release(inputs, self._below.up)
        yield from self.send("forward", micro, self._piece(passed[-1].outputs, self._above.up))
        if self._shard.split.index == 0:
            yield from me.log_loss(passed[-1])
        if recompute:
            for activation in passed:
                me.drop(activation)
            if inputs is not None:
                me.hold("inputs", inputs.nbytes, inputs)
        self._passed[micro] = _Passed(batch, inputs, [] if recompute else passed)

    def again(self, micro: int, parameters: Buffer) -> Program[None]:
        """Repeat a forward pass of which only the inputs were kept; nobody wants what leaves it."""
        kept, me = self._passed[micro], self._me
        kept.activations = yield from forward_shard(
            me, self._shard, self.part, parameters, kept.batch, self._group, kept.inputs, leave=False
        )
        if kept.inputs is not None:
            me.release("inputs", kept.inputs.nbytes, kept.inputs)

    def backward(self, micro: int, into: Buffer, add: bool = False) -> Program[None]:
        """Backward pass of a micro-batch; its gradient is written (or added) to `into`."""
        passed = self._passed.pop(micro)
        came = yield from self.arrived("backward", micro)
        upstream = yield from self._gather(came, passed.batch.size * self.part.output_elements, self._above.down)
        downstream = yield from backward_shard(
            self._me, self._shard, passed.activations, upstream, into, self._group, add
        )
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
