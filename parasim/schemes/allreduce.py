"""Synchronous SGD through all-reduce (Goyal et al. 2017; Li et al. 2020, PyTorch DDP; SCHEMES S3).

Every worker has the whole model. It computes the gradient of its share of the mini-batch; the gradients are summed by
all-reduce in buckets, last layers first, each bucket as soon as the backward pass has filled it, on a lane
beside the backward pass; when all buckets are there every worker makes the same update. All wait for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Kernel,
    Model,
    NoClosedForm,
    Options,
    Part,
    Post,
    Program,
    Role,
    Route,
    Scheme,
    Setting,
    Taxonomy,
    Wait,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.program.collectives.torus import most_square
from parasim.theory.collectives import cost
from parasim.theory.overlap import overlap
from parasim.theory.patterns import patterns

__all__ = ["AllReduce"]


@dataclass(frozen=True, kw_only=True)
class AllReduceOptions(Options):
    """Options of synchronous SGD through all-reduce."""

    algorithm: Literal[
        "ring",
        "binomial",
        "recursive_doubling",
        "rabenseifner",
        "torus",
        "hierarchical",
        "double_tree",
        "naive",
        "direct",
        "native",
    ] = option("ring", "algorithm of the all-reduce; native: the backend's own")
    overlap: bool = option(True, "reduce buckets beside the backward pass (else one all-reduce after it)")
    bucket_bytes: int = option(25 * 2**20, "least bytes of a bucket, filled from the last layer on", ge=1)
    rows: int = option(0, "rows of the torus, or nodes of the hierarchical algorithm (0: as square as can be)", ge=0)


class AllReduce(Scheme):
    """Data parallel, synchronous, decentralised."""

    name = "allreduce"
    aliases = ("ddp", "sync_sgd", "horovod")
    citation = "Goyal et al. (2017); Sergeev, Del Balso (2018); Li et al. (2020)"
    taxonomy = Taxonomy("data parallel", "synchronous", "decentralised")
    staleness = "0"
    Options = AllReduceOptions

    def roles(self) -> tuple[Role, ...]:
        """Workers only."""
        return (Role("worker", self.options.workers, self.worker),)

    def lanes(self) -> tuple[str, ...]:
        """Where the all-reduces run."""
        return ("reduce",)

    def worker(self, me: Context) -> Program[Buffer]:
        """Forward; backward with buckets leaving as they fill; update."""
        replica = me.replica()
        gradient = me.buffer("gradient")
        parts = self._parts(me.model)
        for step in me.steps():
            inputs, passed = None, []
            for part in parts:
                activation = yield from me.forward(part, part.of(replica.parameters), me.batch(step), inputs)
                inputs = activation.outputs
                passed.append(activation)
            yield from me.log_loss(activation)
            upstream, handles = None, []
            while passed:
                activation = passed.pop()
                bucket = activation.part.of(gradient)
                upstream = yield from me.backward(activation, upstream, bucket)
                handles.append((yield from Post(self._reduce(me, bucket), lane="reduce")))
            yield from Wait(handles)
            yield from me.update(replica, gradient, read=replica.version, scale=1 / self.options.workers)
            yield from me.step_done(step)
        return replica.parameters

    def _parts(self, model: Model) -> tuple[Part, ...]:
        """The buckets, as parts of the model."""
        return model.buckets(self.options.bucket_bytes) if self.options.overlap else (model.whole,)

    def _reduce(self, me: Context, bucket: Buffer) -> Collective:
        return Collective("all_reduce", me.group("worker"), bucket, self.options.algorithm, shape=self._shape())

    def check(self, model: Model, batch_size: int) -> None:
        """The torus must be full; the hierarchy needs its nodes."""
        rows, workers = self.options.rows, self.options.workers
        if self.options.algorithm == "hierarchical" and not rows:
            raise ValueError(f"hierarchical needs rows: the number of nodes that the {workers} workers sit on")
        if rows and workers % rows:
            raise ValueError(f"{workers} workers do not fill {rows} rows: rows x columns must be {workers}")

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """Buckets end at ``end_j = max(t_j, end_{j-1}) + C(s_j)``; then the update (SCHEMES S3.5).

        t_j is that of the slowest worker, whose update of the step before is counted with it. Exact if every algorithm
        cuts the buckets evenly, on a device that starts kernels at no cost, with one bucket, or where reductions do
        not slow the backward pass down: they cost nothing or have a core of their own.
        """
        options, place, model = self.options, setting.place, setting.model
        if options.algorithm == "native":
            return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
        workers, shape = options.workers, self._shape()
        parts = self._parts(model)
        inner, outer = self._routes(setting)
        kernels = [setting.update_kernel(scale=1 / workers)]
        kernels += [forward_kernel(part, setting.batch_size) for part in parts]
        ready, reductions = [], []
        for part in reversed(parts):
            kernels.append(backward_kernel(part, setting.batch_size))
            ready.append(place.longest(kernels))
            reductions.append(
                cost(
                    "all_reduce",
                    options.algorithm,
                    workers,
                    part.nbytes,
                    *inner,
                    setting.gamma(),
                    shape=shape,
                    outer=outer,
                )
            )
        pieces = math.lcm(workers, 1 << (workers.bit_length() - 1))
        even = all(part.parameters % pieces == 0 for part in parts)
        alone = len(parts) == 1 or setting.gamma() == 0 or place.cores >= 2
        simple = even and alone and place.seconds(Kernel("reduce", "reduce")) == 0
        slower = "uneven pieces, launches of reductions, or reductions beside the backward pass take longer"
        known = all(reduction.exact for reduction in reductions)
        return ClosedForm(
            overlap(ready, [reduction.seconds for reduction in reductions]).seconds,
            sum(reduction.bytes_sent_mean for reduction in reductions),
            sum(reduction.messages_sent_mean for reduction in reductions),
            0.0,
            "estimate" if not known else "exact" if simple else "lower bound",
            note="" if simple and known else slower if known else "the first and last rounds of its pipeline are thin",
        )

    def _shape(self) -> tuple[int, int] | None:
        """Rows and columns, if they are given."""
        rows = self.options.rows
        return (rows, self.options.workers // rows) if rows else None

    def _routes(self, setting: Setting) -> tuple[Route, Route]:
        """The slowest route of a round; of a torus or hierarchy: along rows (in nodes), and across."""
        place, workers, shape = setting.place, self.options.workers, self._shape()
        rounds = patterns("all_reduce", self.options.algorithm, workers, shape)
        if self.options.algorithm == "double_tree":  # its form counts what members send and receive at once
            route = setting.worst_between({pair for pattern in rounds for pair in pattern})
            return route, route
        if self.options.algorithm not in ("torus", "hierarchical"):
            route = setting.worst(place.together(pattern) for pattern in rounds)
            return route, route
        columns = (shape or most_square(workers))[1]
        inside = [pattern for pattern in rounds if all(i // columns == j // columns for i, j in pattern)]
        across = [pattern for pattern in rounds if pattern not in inside]
        inner, outer = ([place.together(pattern) for pattern in some] for some in (inside, across))
        return setting.worst(inner), setting.worst(outer)
