"""What pipelines share that have no flush and two versions of the weights (PipeDream-2BW; SCHEMES S28)."""

from __future__ import annotations

from collections.abc import Callable

from parasim.program import Buffer, Context, Program
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.flushing import Chunk, Seat
from parasim.schemes.stash import Stash
from parasim.schemes.streaming import Stream

__all__ = ["check_two_versions", "two_versions"]


def two_versions(
    me: Context,
    chunk: Chunk,
    seat: Seat,
    stages: int,
    micros: int,
    summed: Callable[[Context, Chunk, int], Program[None]],
    recompute: bool = False,
) -> Program[Buffer]:
    """1F1B over the micro-batches of all mini-batches, an update after every M backward passes; the parameters.

    Mini-batch t + 2 is the first to use version t + 1, which mini-batch t made: needs M >= the number of stages.

    Parameters
    ----------
    stages, micros
        Of a pipeline; micro-batches of its mini-batch (M).
    summed
        Sums a gradient over copies of the pipeline.
    recompute
        Keep inputs alone and repeat forward passes, with the weights of the first time.
    """
    stage, replica, gradient = chunk.stage, chunk.replica, chunk.gradient
    stash = Stash(me, replica)
    weights = {step: (stash.version, stash.borrow()) for step in me.steps()[:2]}
    stream = Stream(stage, one_f_one_b(fill(seat.stage, stages), micros * me.num_steps), 2 * stages)
    while (now := (yield from stream.next())) is not None:
        way, place = now
        step, micro = divmod(place, micros)
        version, parameters = weights[step]
        if way == "forward":
            batch = me.batch(step, share=seat.copy, shares=seat.copies, micro=micro, micros=micros)
            yield from stage.forward(place, parameters, batch, recompute)
            continue
        if recompute:
            yield from stage.again(place, parameters)
        yield from stage.backward(place, gradient, add=micro > 0)
        if micro == micros - 1:
            yield from summed(me, chunk, step)
            del weights[step]
            stash.give_back(version)
            scale, name = 1 / (micros * seat.copies), stage.part.name
            yield from stash.update(gradient, read=version, scale=scale, layer=name)
            if step + 2 < me.num_steps:
                weights[step + 2] = stash.version, stash.borrow()
            yield from me.step_done(step)
    return replica.parameters


def check_two_versions(stages: int, micros: int) -> None:
    """M >= K: an update is done before the mini-batch after the next begins. `ValueError` if not."""
    if micros < stages:
        raise ValueError(
            f"micro_batches {micros} are fewer than {stages} stages, so two versions of the weights are not enough: "
            f"use {stages} or more"
        )
