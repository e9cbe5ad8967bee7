"""Pipelined back-propagation, without a flush (Petrowski et al. 1993; Chen et al. 2012; SCHEMES S25).

In every tick stage k does the forward pass of mini-batch t - k, then the backward pass of mini-batch t - 2(K-1) + k
with its weights of now and the activations of then, and updates at once. A gradient is 2(K-1-k) updates late, and mixes
two versions: the backward pass goes through other weights than the forward pass went through. With `stashing` it goes
through the same ones, of which as many versions are kept: FDG without shrinking (parasim/schemes/fdg.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Buffer, ClosedForm, Context, Holding, Program, Setting, Taxonomy, option
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.decoupled import stash_seconds
from parasim.schemes.staged import Stage, Staged, StagedOptions, update_seconds
from parasim.schemes.stash import Stash
from parasim.schemes.streaming import Stream, streamed

__all__ = ["PipelinedBackprop"]


@dataclass(frozen=True, kw_only=True)
class PipelinedBackpropOptions(StagedOptions):
    """Options of pipelined back-propagation; `workers` is the number of stages."""

    stashing: bool = option(False, "backward passes use the weights of their forward passes")


class PipelinedBackprop(Staged):
    """Pipeline parallel, with delays that are known."""

    name = "pipelined_backprop"
    aliases = ("pb",)
    citation = "Petrowski, Dreyfus, Girault (1993); Chen, Eversole, Li, Yu, Seide (2012)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "2(K-1-k) at stage k"
    approximates = "old weights forward, newer ones backward"
    Options = PipelinedBackpropOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: a forward pass, a backward pass, an update in turn."""
        part = self.parts(me.model)[me.index]
        stage = Stage(me, part, [me.rank - 1], [me.rank + 1])
        replica, gradient = me.replica(part), me.buffer("gradient", part.parameters)
        stash = Stash(me, replica)
        warmup = 2 * fill(me.index, self.options.workers)
        read: dict[int, int] = {}
        stream = Stream(stage, one_f_one_b(warmup, me.num_steps), 2 * self.options.workers)
        while (now := (yield from stream.next())) is not None:
            way, step = now
            if way == "forward":
                read[step] = replica.version
                parameters = stash.borrow() if self.options.stashing else replica.parameters
                yield from stage.forward(step, parameters, me.batch(step, share=0, shares=1))
            else:
                yield from stage.backward(step, gradient)  # without stashing, through the weights of now
                version = read.pop(step)
                if self.options.stashing:
                    stash.give_back(version)
                yield from stash.update(gradient, read=version, layer=part.name)
                yield from me.step_done(step)
        return replica.parameters

    def holding(self, place: int, samples: int) -> Holding:
        """2(K-1-k) + 1 mini-batches in flight; one version, or as many as these."""
        late = 2 * fill(place, self.options.workers)
        return Holding(versions=late if self.options.stashing else 0, activations=late + 1, samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max over stages of F_k + B_k + update`` (or over links, of a transfer) for a mini-batch.

        Exact for balanced stages, and links that take no time; links that take less than half a stage are hidden.
        """
        stages = self.options.workers
        extra = update_seconds(self, setting)
        if self.options.stashing:
            extra = [a + b for a, b in zip(extra, stash_seconds(self, setting), strict=True)]
        flying = [2 * fill(place, stages) + 1 for place in range(stages)]
        return streamed(self, setting, extra, float(stages - 1), flying)
