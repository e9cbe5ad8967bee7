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
    Options,
    Part,
    Post,
    Program,
    Role,
    Scheme,
    Setting,
    Taxonomy,
    Wait,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.theory.collectives import cost

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
        rows, workers = self.options.rows, self.options.workers
        shape = (rows, workers // rows) if rows else None
        return Collective("all_reduce", me.group("worker"), bucket, self.options.algorithm, shape=shape)

    def check(self, model: Model, batch_size: int) -> None:
        """The torus must be full; the hierarchy needs its nodes."""
        rows, workers = self.options.rows, self.options.workers
        if self.options.algorithm == "hierarchical" and not rows:
            raise ValueError(f"hierarchical needs rows: the number of nodes that the {workers} workers sit on")
        if rows and workers % rows:
            raise ValueError(f"{workers} workers do not fill {rows} rows: rows x columns must be {workers}")

    def closed_form(self, setting: Setting) -> ClosedForm | None:
        """Buckets end at ``end_j = max(t_j, end_{j-1}) + C(s_j)``; then the update (SCHEMES S3.5).

        Exact with one bucket that every algorithm cuts evenly, on a device that starts kernels at no cost; several
        buckets' reductions share the device with the backward pass.
        """
        options = self.options
        if options.algorithm == "native":
            return None
        shape = (options.rows, options.workers // options.rows) if options.rows else None
        parts = self._parts(setting.model)
        ready = sum(setting.seconds(forward_kernel(part, setting.batch_size)) for part in parts)
        pieces = math.lcm(options.workers, 1 << (options.workers.bit_length() - 1))
        even = setting.model.whole.parameters % pieces == 0
        exact = len(parts) == 1 and even and setting.seconds(Kernel("reduce", "reduce")) == 0
        end, nbytes, messages = 0.0, 0.0, 0.0
        for part in reversed(parts):
            ready += setting.seconds(backward_kernel(part, setting.batch_size))
            reduction = cost(
                "all_reduce",
                options.algorithm,
                options.workers,
                part.nbytes,
                setting.alpha,
                setting.beta,
                setting.gamma(),
                shape=shape,
            )
            end = max(ready, end) + reduction.seconds
            nbytes += reduction.bytes_sent_mean
            messages += reduction.messages_sent_mean
            exact = exact and reduction.exact
        return ClosedForm(end + setting.update_seconds(scale=1 / options.workers), nbytes, messages, 0.0, exact)
