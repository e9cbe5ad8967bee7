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
from parasim.schemes.crossings import ring_route, rings
from parasim.schemes.flushing import Chunk, Seat
from parasim.schemes.staged import Stage, StagedOptions, update_seconds
from parasim.schemes.stash import stash_kernel_seconds
from parasim.schemes.streaming import streamed
from parasim.schemes.summing import sum_in
from parasim.schemes.tied import Tying
from parasim.schemes.two_versions import check_two_versions, two_versions

__all__ = ["PipeDream2BW"]


@dataclass(frozen=True, kw_only=True)
class PipeDream2BWOptions(StagedOptions):
    """Options of PipeDream-2BW; `workers` is the number of stages times that of copies."""

    micro_batches: int = option(4, "micro-batches of a pipeline's mini-batch, at least as many as stages", ge=1)
    copies: int = option(1, "pipelines side by side, of consecutive workers (the paper's width)", ge=1)


class PipeDream2BW(Tying):
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
        """Who has the same stage, in all copies; and who shares token vectors."""
        stages = [tuple(range(k, self.options.workers, self.cuts)) for k in range(self.cuts)]
        return (*(Group(f"stage {k}", ranks) for k, ranks in enumerate(stages)), *super().groups())

    def codes(self) -> Codes:
        """Gradients that copies sum; activations are sent as they are."""
        return "sums" if self.pipelines() > 1 else ""

    def micro_batches(self) -> int:
        """M."""
        return int(self.options.micro_batches)

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: 1F1B over the micro-batches of all mini-batches, an update after every M backward passes."""
        copy, number = divmod(me.index, self.cuts)
        part = self.parts(me.model)[number]
        stage = Stage(me, part, [me.rank - 1], [me.rank + 1])
        chunk = Chunk(stage, me.replica(part), me.buffer("gradient", part.parameters))
        seat = Seat(number, copy, self.pipelines())
        parameters = yield from two_versions(me, chunk, seat, self.cuts, self.micro_batches(), self.summed)
        return parameters

    def summed(self, me: Context, chunk: Chunk, step: int) -> Program[None]:
        """The gradient, over all copies of a stage; and over the two that share token vectors."""
        if self.pipelines() > 1:
            group = me.group(f"stage {me.index % self.cuts}")
            yield from sum_in(me, group, chunk.gradient, step, "ring", offset=chunk.stage.part.offset)
        yield from self.sum_tied(me, chunk.stage.part, chunk.gradient)

    def holding(self, place: int, samples: int) -> Holding:
        """Two versions, K - k micro-batches."""
        return Holding(versions=1, activations=self.cuts - place, samples=samples)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """The same in every copy."""
        return list(super().memory(setting)[: self.cuts]) * self.pipelines()

    def check(self, model: Model, batch_size: int) -> None:
        """Whole copies, enough micro-batches."""
        workers, copies = self.options.workers, self.options.copies
        if workers % copies:
            raise ValueError(f"{workers} workers do not fill {copies} copies of a pipeline: use a multiple of {copies}")
        super().check(model, batch_size)
        check_two_versions(self.cuts, self.micro_batches())

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
        route = setting.worst(ring_route(setting, [group.ranks]) for group in self.groups()[:stages])
        sums = [rings(setting, route, width, [("all_reduce", part.nbytes)]) for part in self.parts(setting.model)]
        tied = self.tied_cost(setting)
        sums[0], sums[-1] = sums[0] + tied, sums[-1] + tied
        extra = [a + b + c.seconds for a, b, c in zip(updates, copies, sums, strict=True)]
        form = streamed(self, setting, extra, 1.0, [stages - k for k in range(stages)], micros)
        if width == 1 and not tied.messages_sent:
            return form
        return replace(
            form,
            bytes_sent_per_worker_per_step=form.bytes_sent_per_worker_per_step
            + sum(s.bytes_sent for s in sums) / stages,
            messages_sent_per_worker_per_step=form.messages_sent_per_worker_per_step
            + sum(s.messages_sent for s in sums) / stages,
            meaning="lower bound",
            note="copies of a stage, or stages that share token vectors, wait for each other",
        )
