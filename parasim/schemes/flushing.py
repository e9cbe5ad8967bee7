"""What pipelines with a flush share: every mini-batch ends with the update, so they all are sequential SGD.

A mini-batch is cut into M micro-batches. `Flushing` runs the order of a schedule, mini-batch after mini-batch; a scheme
says which order that is, and what its stages hold. A worker may have several chunks of the model (`Chunk`), one by
default.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from parasim.program import Buffer, ClosedForm, Context, Options, Program, Replica, Setting, option
from parasim.schemes.staged import Stage, StagedOptions, StageSeconds, stage_seconds
from parasim.schemes.tied import Tying
from parasim.theory.pipelines import flush

__all__ = ["Chunk", "Flushing", "FlushingOptions", "Pass", "Seat", "balanced", "flushed", "free"]

Pass = tuple[str, int, int]
"""A pass of a schedule: "forward", "backward" (or its halves, "inputs" and "weights"); chunk; micro-batch."""


@dataclass(frozen=True, kw_only=True)
class FlushingOptions(StagedOptions):
    """Options of pipelines with a flush; `workers` is the number of stages."""

    micro_batches: int = option(4, "micro-batches per mini-batch (M >= 4 stages makes the bubble small)", ge=1)


class Seat(NamedTuple):
    """A worker's stage, and which of how many copies of the pipeline it is in."""

    stage: int
    copy: int = 0
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the model on a worker: its passes, parameters and gradient."""

    stage: Stage
    replica: Replica
    gradient: Buffer


class Flushing(Tying):
    """Pipeline parallel, synchronous."""

    Options: ClassVar[type[Options]] = FlushingOptions

    def order(self, index: int) -> Iterable[Pass]:
        """The passes of a worker, for one mini-batch."""
        raise NotImplementedError

    def recomputes(self, micro: int) -> bool:
        """Is a micro-batch's forward pass repeated before its backward pass, so that only inputs are kept?"""
        return False

    def micro_batches(self) -> int:
        """M."""
        return int(self.options.micro_batches)

    @property
    def stages(self) -> int:
        """Workers that a mini-batch passes through."""
        return int(self.options.workers)

    def seat(self, me: Context) -> Seat:
        """Which stage of which copy of the pipeline a worker is."""
        return Seat(me.index)

    def stage(self, me: Context, place: int, name: str, beyond: tuple[str, str]) -> Stage:
        """The part at a place, at work."""
        neighbours = [self.rank_of(place - 1)], [self.rank_of(place + 1)]
        return Stage(me, self.parts(me.model)[place], *neighbours, name, beyond)

    def chunks(self, me: Context) -> list[Chunk]:
        """The parts of this worker."""
        found = []
        for place in range(self.seat(me).stage, self.cuts, self.stages):
            names = ["", "", ""] if self.cuts == self.stages else [f" {place + shift}" for shift in (0, -1, 1)]
            stage = self.stage(me, place, names[0], (names[1], names[2]))
            found.append(Chunk(stage, me.replica(stage.part), me.buffer("gradient", stage.part.parameters)))
        return found

    def summed(self, me: Context, chunk: Chunk, step: int) -> Program[None]:
        """The gradient, over all copies of the pipeline, before an update: there is one; and what stages share."""
        yield from self.sum_tied(me, chunk.stage.part, chunk.gradient)

    def worker(self, me: Context) -> Program[Any]:
        """All passes of a mini-batch in their order; then the update."""
        micros, chunks, seat = self.micro_batches(), self.chunks(me), self.seat(me)
        order = list(self.order(seat.stage))
        for step in me.steps():
            for way, chunk, micro in order:
                if way != "weights":
                    yield from chunks[chunk].stage.expect("forward" if way == "forward" else "backward", micro)
            begun = [False] * len(chunks)
            for way, chunk, micro in order:
                stage, replica, gradient = chunks[chunk].stage, chunks[chunk].replica, chunks[chunk].gradient
                if way == "forward":
                    batch = me.batch(step, share=seat.copy, shares=seat.copies, micro=micro, micros=micros)
                    yield from stage.forward(micro, replica.parameters, batch, self.recomputes(micro))
                elif way == "inputs":
                    yield from stage.backward_inputs(micro)
                elif way == "weights":
                    yield from stage.backward_weights(micro, gradient, add=begun[chunk])
                    begun[chunk] = True
                else:
                    if self.recomputes(micro):
                        yield from stage.again(micro, replica.parameters)
                    yield from stage.backward(micro, gradient, add=begun[chunk])
                    begun[chunk] = True
            for at in chunks:
                name, version, scale = at.stage.part.name, at.replica.version, 1 / (micros * seat.copies)
                yield from self.summed(me, at, step)
                yield from me.update(at.replica, at.gradient, read=version, scale=scale, layer=name)
            yield from me.step_done(step)
        return chunks[0].replica.parameters if len(chunks) == 1 else [at.replica.parameters for at in chunks]


def balanced(seconds: list[float]) -> bool:
    """Are they equal, to rounding?"""
    return max(seconds) <= min(seconds) * (1 + 1e-12)


def free(t: StageSeconds) -> bool:
    """Do links take no time, to rounding?"""
    return sum(t.up + t.down) <= 1e-10 * sum(t.forward + t.backward)


def flushed(scheme: Flushing, setting: Setting, chunks: int) -> ClosedForm:
    """``(M + (K-1)/v)(F + B)`` and the update, of a schedule that has this bubble if all is balanced.

    Otherwise a lower bound: what the slowest stage computes, and a micro-batch's way to it and back.
    """
    stages, micros = scheme.options.workers, scheme.micro_batches()
    t = stage_seconds(scheme, setting, scale=1 / micros)
    both = [a + b for a, b in zip(t.forward, t.backward, strict=True)]
    simple = balanced(t.forward) and balanced(t.backward) and balanced(t.updates) and free(t)
    if simple:
        seconds = flush(stages, micros, chunks * t.forward[0], chunks * t.backward[0], chunks=chunks).seconds
        seconds += chunks * t.updates[0]
    else:
        own = [sum(both[k::stages]) * micros + sum(t.updates[k::stages]) for k in range(stages)]
        before = [sum(both[:k]) + sum(t.up[:k]) + sum(t.down[:k]) for k in range(stages)]
        seconds = max(a + b for a, b in zip(own, before, strict=True))
    form = ClosedForm(
        seconds,
        2.0 * sum(t.sizes) * micros / stages,
        2.0 * (scheme.cuts - 1) * micros / stages,
        0.0,
        "exact" if simple and not setting.place.noisy else "lower bound",
        note="" if simple else "unlike stages, or links that take time: the bubble is that of the slowest stage alone",
    )
    return scheme.with_tied(setting, form)
