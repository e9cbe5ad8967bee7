"""PipeDream-2BW: 1F1B without a flush, two versions of the weights (Narayanan et al. 2021, ICML; SCHEMES S28).

A mini-batch is cut into M >= K micro-batches, whose gradients are summed; the update of mini-batch t makes version
t + 1, which mini-batch t + 2 is the first to use. So each stage is one update late, whatever K, and holds two versions.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Buffer, ClosedForm, Context, Holding, Model, Program, Setting, Taxonomy, option
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.staged import Stage, Staged, StagedOptions, update_seconds
from parasim.schemes.stash import Stash, stash_kernel_seconds
from parasim.schemes.streaming import Stream, streamed

__all__ = ["PipeDream2BW"]


@dataclass(frozen=True, kw_only=True)
class PipeDream2BWOptions(StagedOptions):
    """Options of PipeDream-2BW; `workers` is the number of stages."""

    micro_batches: int = option(4, "micro-batches per mini-batch, at least as many as stages", ge=1)


class PipeDream2BW(Staged):
    """Pipeline parallel, a delay of one update."""

    name = "pipedream_2bw"
    aliases = ("2bw",)
    citation = "Narayanan, Phanishayee, Shi, Chen, Zaharia (2021)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "1 (0 of the first mini-batch)"
    approximates = "old weights, of the update before"
    Options = PipeDream2BWOptions

    def micro_batches(self) -> int:
        """M."""
        return int(self.options.micro_batches)

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: 1F1B over the micro-batches of all mini-batches, an update after every M backward passes."""
        part, micros = self.parts(me.model)[me.index], self.micro_batches()
        stage = Stage(me, part, [me.rank - 1], [me.rank + 1])
        replica, gradient = me.replica(part), me.buffer("gradient", part.parameters)
        stash = Stash(me, replica)
        weights = {step: (stash.version, stash.borrow()) for step in me.steps()[:2]}
        passes = one_f_one_b(fill(me.index, self.options.workers), micros * me.num_steps)
        stream = Stream(stage, passes, 2 * self.options.workers)
        while (now := (yield from stream.next())) is not None:
            way, number = now
            step, micro = divmod(number, micros)
            version, parameters = weights[step]
            if way == "forward":
                batch = me.batch(step, share=0, shares=1, micro=micro, micros=micros)
                yield from stage.forward(number, parameters, batch)
                continue
            yield from stage.backward(number, gradient, add=micro > 0)
            if micro == micros - 1:
                del weights[step]
                stash.give_back(version)
                yield from stash.update(gradient, read=version, scale=1 / micros, layer=part.name)
                if step + 2 < me.num_steps:
                    weights[step + 2] = stash.version, stash.borrow()
                yield from me.step_done(step)
        return replica.parameters

    def holding(self, place: int, samples: int) -> Holding:
        """Two versions, K - k micro-batches."""
        return Holding(versions=1, activations=self.options.workers - place, samples=samples)

    def check(self, model: Model, batch_size: int) -> None:
        """M >= K: an update is done before the mini-batch after the next begins."""
        super().check(model, batch_size)
        if self.micro_batches() < self.options.workers:
            raise ValueError(
                f"micro_batches {self.micro_batches()} are fewer than {self.options.workers} stages, so two versions "
                f"of the weights are not enough: use {self.options.workers} or more"
            )

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``M max of (F_k + B_k)``, and the update with its copy: no bubble.

        Exact for balanced stages, and links that take no time.
        """
        stages, micros = self.options.workers, self.micro_batches()
        whole = max(1, setting.model.whole.parameters)
        copies = [
            stash_kernel_seconds(setting, part.parameters / whole, k)
            for k, part in enumerate(self.parts(setting.model))
        ]
        extra = [a + b for a, b in zip(update_seconds(self, setting, 1 / micros), copies, strict=True)]
        return streamed(self, setting, extra, 1.0, [stages - k for k in range(stages)], micros)
