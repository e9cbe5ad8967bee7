"""Synchronous SGD through all-reduce (Goyal et al. 2017; Li et al. 2020, PyTorch DDP; SCHEMES S3).

Every worker has the whole model. It computes the gradient of its share of the mini-batch; the gradients are summed by
all-reduce in buckets, last layers first, each bucket as soon as the backward pass has filled it, on a lane
beside the backward pass; when all buckets are there every worker makes the same update. All wait for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Kernel,
    Model,
    NoClosedForm,
    Part,
    Post,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    Tied,
    Wait,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.schemes.summing import SummingOptions, check_rows, sum_all, sum_cost
from parasim.theory.overlap import overlap

__all__ = ["AllReduce"]


@dataclass(frozen=True, kw_only=True)
class AllReduceOptions(SummingOptions):
    """Options of synchronous SGD through all-reduce."""

    overlap: bool = option(True, "reduce buckets beside the backward pass (else one all-reduce after it)")
    bucket_bytes: int = option(25 * 2**20, "least bytes of a bucket, filled from the last layer on", ge=1)
    first_bucket_bytes: int = option(
        0, "least bytes of the first bucket, which then leaves sooner (0: as of the others; DDP: 1 MiB)", ge=0
    )

    def idle(self) -> Mapping[str, str]:
        """Sizes of buckets where there is one all-reduce."""
        why = "without overlap there is one bucket"
        buckets = {} if self.overlap else {"bucket_bytes": why, "first_bucket_bytes": why}
        return {**SummingOptions.idle(self), **buckets}


class AllReduce(Scheme):
    """Data parallel, synchronous, decentralised."""

    name = "allreduce"
    aliases = ("ddp", "sync_sgd", "synchronous_sgd", "ssgd", "ar_sgd", "ring_allreduce", "horovod")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"ddp": {"first_bucket_bytes": 2**20}}
    citation = "Goyal et al. (2017); Sergeev, Del Balso (2018); Li et al. (2020)"
    taxonomy = Taxonomy("data parallel", "synchronous", "decentralised", "all-reduce of gradients", "one model")
    staleness = "0"
    tries_batches = True
    Options = AllReduceOptions
    compresses = "sums"
    prices_codes = True

    def lanes(self) -> tuple[str, ...]:
        """Where the all-reduces run."""
        return ("reduce",)

    def tied(self) -> Tied:
        """Buckets cut the model; without overlap there is one."""
        return "" if self.options.overlap else "whole"

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
                handles.append((yield from Post(sum_all(me, bucket, self.options, step), lane="reduce")))
            yield from Wait(handles)
            yield from me.update(replica, gradient, read=replica.version, scale=1 / self.options.workers)
            yield from me.step_done(step)
        return replica.parameters

    def _parts(self, model: Model) -> tuple[Part, ...]:
        """The buckets, as parts of the model."""
        options = self.options
        least = options.bucket_bytes
        return model.buckets(least, options.first_bucket_bytes or least) if options.overlap else (model.whole,)

    def check(self, model: Model, batch_size: int) -> None:
        """The torus must be full; the hierarchy needs its nodes."""
        check_rows(self.options)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """Buckets end at ``end_j = max(t_j, end_{j-1}) + C(s_j)``; then the update (SCHEMES S3.5).

        t_j is that of the slowest worker, whose update of the step before is counted with it. Exact if every algorithm
        cuts the buckets evenly, on a device that starts kernels at no cost, with one bucket, or where reductions do
        not slow the backward pass down: they cost nothing or have a core of their own.
        """
        options, place, model = self.options, setting.place, setting.model
        if options.algorithm == "native":
            return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
        workers = options.workers
        parts = self._parts(model)
        kernels = [setting.update_kernel(scale=1 / workers)]
        kernels += [forward_kernel(part, setting.batch_size) for part in parts]
        ready, reductions = [], []
        for part in reversed(parts):
            kernels.append(backward_kernel(part, setting.batch_size))
            ready.append(place.longest(kernels))
            reductions.append(sum_cost(options, setting, part))
        pieces = math.lcm(workers, 1 << (workers.bit_length() - 1))
        coded = setting.compression is not None
        even = coded or all(part.parameters % pieces == 0 for part in parts)
        alone = len(parts) == 1 or place.cores >= 2 or (setting.gamma() == 0 and not coded)
        simple = even and alone and (coded or place.seconds(Kernel("reduce", "reduce")) == 0)
        slower = "uneven pieces, launches of reductions, or reductions beside the backward pass take longer"
        known = all(reduction.exact for reduction in reductions)
        thin = "the first and last rounds of its pipeline are thin"
        thin = "pieces of codes differ, or the code changes while it runs" if coded else thin
        return ClosedForm(
            overlap(ready, [reduction.seconds for reduction in reductions]).seconds,
            sum(reduction.bytes_sent_mean for reduction in reductions),
            sum(reduction.messages_sent_mean for reduction in reductions),
            0.0,
            "estimate" if not known else "exact" if simple else "lower bound",
            note="" if simple and known else slower if known else thin,
        )
