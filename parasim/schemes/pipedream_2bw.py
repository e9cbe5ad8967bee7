"""PipeDream-2BW: 1F1B without a flush, two versions of the weights (Narayanan et al. 2021, ICML; SCHEMES S28).

A mini-batch is cut into M >= K micro-batches, whose gradients are summed; the update of mini-batch t makes version
t + 1, which mini-batch t + 2 is the first to use. So each stage is one update late, whatever K, and holds two versions.
Copies of the pipeline have a share of the mini-batch each; those of a stage sum their gradients before an update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Group,
    Holding,
    Model,
    Planning,
    Program,
    Setting,
    Taxonomy,
    option,
)
from parasim.program.scheme import Codes
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.crossings import ring_route, rings
from parasim.schemes.staged import Stage, Staged, StagedOptions, update_seconds
from parasim.schemes.stash import Stash, stash_kernel_seconds
from parasim.schemes.streaming import Stream, streamed
from parasim.schemes.summing import sum_in

__all__ = ["PipeDream2BW"]


@dataclass(frozen=True, kw_only=True)
class PipeDream2BWOptions(StagedOptions):
    """Options of PipeDream-2BW; `workers` is the number of stages times that of copies."""

    micro_batches: int = option(4, "micro-batches of a pipeline's mini-batch, at least as many as stages", ge=1)
    copies: int = option(1, "pipelines side by side, of consecutive workers (the paper's width)", ge=1)


class PipeDream2BW(Staged):
    """Pipeline parallel, a delay of one update."""

    name = "pipedream_2bw"
    aliases = ("2bw",)
    citation = "Narayanan, Phanishayee, Shi, Chen, Zaharia (2021)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "1 (0 of the first mini-batch)"
    approximates = "old weights, of the update before"
    Options = PipeDream2BWOptions

    @property
    def cuts(self) -> int:
        """Stages: the paper's depth."""
        return int(self.options.workers // self.options.copies)

    def pipelines(self) -> int:
        """Copies."""
        return int(self.options.copies)

    def groups(self) -> tuple[Group, ...]:
        """Who has the same stage, in all copies."""
        return tuple(Group(f"stage {k}", tuple(range(k, self.options.workers, self.cuts))) for k in range(self.cuts))

    def codes(self) -> Codes:
        """Gradients that copies sum; activations are sent as they are."""
        return "sums" if self.pipelines() > 1 else ""

    def micro_batches(self) -> int:
        """M."""
        return int(self.options.micro_batches)

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: 1F1B over the micro-batches of all mini-batches, an update after every M backward passes."""
        copy, number = divmod(me.index, self.cuts)
        part, micros, copies = self.parts(me.model)[number], self.micro_batches(), self.pipelines()
        stage = Stage(me, part, [me.rank - 1], [me.rank + 1])
        replica, gradient = me.replica(part), me.buffer("gradient", part.parameters)
        stash = Stash(me, replica)
        weights = {step: (stash.version, stash.borrow()) for step in me.steps()[:2]}
        passes = one_f_one_b(fill(number, self.cuts), micros * me.num_steps)
        stream = Stream(stage, passes, 2 * self.cuts)
        while (now := (yield from stream.next())) is not None:
            way, place = now
            step, micro = divmod(place, micros)
            version, parameters = weights[step]
            if way == "forward":
                batch = me.batch(step, share=copy, shares=copies, micro=micro, micros=micros)
                yield from stage.forward(place, parameters, batch)
                continue
            yield from stage.backward(place, gradient, add=micro > 0)
            if micro == micros - 1:
                if copies > 1:
                    yield from sum_in(me, me.group(f"stage {number}"), gradient, step, "ring", offset=part.offset)
                del weights[step]
                stash.give_back(version)
                yield from stash.update(gradient, read=version, scale=1 / (micros * copies), layer=part.name)
                if step + 2 < me.num_steps:
                    weights[step + 2] = stash.version, stash.borrow()
                yield from me.step_done(step)
        return replica.parameters

    def holding(self, place: int, samples: int) -> Holding:
        """Two versions, K - k micro-batches."""
        return Holding(versions=1, activations=self.cuts - place, samples=samples)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """The same in every copy."""
        return list(super().memory(setting)[: self.cuts]) * self.pipelines()

    def check(self, model: Model, batch_size: int) -> None:
        """Whole copies. M >= K: an update is done before the mini-batch after the next begins."""
        workers, copies = self.options.workers, self.options.copies
        if workers % copies:
            raise ValueError(f"{workers} workers do not fill {copies} copies of a pipeline: use a multiple of {copies}")
        super().check(model, batch_size)
        if self.micro_batches() < self.cuts:
            raise ValueError(
                f"micro_batches {self.micro_batches()} are fewer than {self.cuts} stages, so two versions "
                f"of the weights are not enough: use {self.cuts} or more"
            )

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``M max of (F_k + B_k)``, and the update with its copy, after the sum over copies: no bubble.

        Exact for balanced stages of one copy, and links that take no time.
        """
        stages, micros, width = self.cuts, self.micro_batches(), self.pipelines()
        whole = max(1, setting.model.whole.parameters)
        copies = [
            stash_kernel_seconds(setting, part.parameters / whole, k)
            for k, part in enumerate(self.parts(setting.model))
        ]
        updates = update_seconds(self, setting, 1 / (micros * width))
        route = setting.worst(ring_route(setting, [group.ranks]) for group in self.groups())
        sums = [rings(setting, route, width, [("all_reduce", part.nbytes)]) for part in self.parts(setting.model)]
        extra = [a + b + c.seconds for a, b, c in zip(updates, copies, sums, strict=True)]
        form = streamed(self, setting, extra, 1.0, [stages - k for k in range(stages)], micros)
        if width == 1:
            return form
        return replace(
            form,
            bytes_sent_per_worker_per_step=form.bytes_sent_per_worker_per_step
            + sum(s.bytes_sent for s in sums) / stages,
            messages_sent_per_worker_per_step=form.messages_sent_per_worker_per_step
            + sum(s.messages_sent for s in sums) / stages,
            meaning="lower bound",
            note="copies of a stage wait for each other",
        )
