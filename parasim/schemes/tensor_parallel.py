"""Tensor parallelism: every layer is split among the workers (SCHEMES S22).

All workers see the same samples. By outputs (DistBelief's partitions, Dean et al. 2012; Krizhevsky's columns): a worker
has some neurons of every layer; it computes them from all inputs, the workers gather the outputs; backward, each finds
a part of the gradient of all inputs, and a reduce-scatter gives each the sum for its own. In pairs (Shoeybi et al.
2019, Megatron-LM): the second of two layers is split by its inputs, an attention by heads, and one all-reduce forward
and one backward do for both: 2 + 2 all-reduces per transformer block. Every worker updates what it holds. All wait for
all, at every exchange.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Model,
    Options,
    Planning,
    Program,
    Scheme,
    Setting,
    Shard,
    Taxonomy,
    backward_shard,
    forward_shard,
    option,
)
from parasim.schemes.crossings import crossing_cost, held, passes_seconds

__all__ = ["TensorParallel"]


@dataclass(frozen=True, kw_only=True)
class TensorParallelOptions(Options):
    """Options of tensor parallelism."""

    split: Literal["outputs", "pairs"] = option("outputs", "each layer by outputs, or pairs by outputs, then inputs")


class TensorParallel(Scheme):
    """Model parallel inside layers, synchronous."""

    name = "tensor_parallel"
    aliases = ("tensor", "intra_layer", "megatron")
    citation = "Dean et al. (2012); Shoeybi et al. (2019)"
    taxonomy = Taxonomy("model parallel", "synchronous", "none", "all-reduce of activations and their gradients")
    staleness = "0"
    Options = TensorParallelOptions

    def pipelines(self) -> int:
        """All workers share one mini-batch."""
        return 1

    def shard(self, model: Model, index: int) -> Shard:
        """What worker `index` holds."""
        return model.split(self.options.split, index, self.options.workers)

    def worker(self, me: Context) -> Program[Buffer]:
        """Forward and backward through one's shard, with all other workers; update it."""
        shard, group = self.shard(me.model, me.index), me.group("worker")
        layers = shard.model.whole
        replica, gradient = me.replica(layers), me.buffer("gradient", layers.parameters)
        for step in me.steps():
            batch = me.batch(step, share=0, shares=1)
            passed = yield from forward_shard(me, shard, layers, replica.parameters, batch, group)
            if me.index == 0:
                yield from me.log_loss(passed[-1])
            yield from backward_shard(me, shard, passed, None, gradient, group)
            yield from me.update(replica, gradient, read=replica.version)
            yield from me.step_done(step)
        return replica.parameters

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Every layer must have something for every worker."""
        self.shard(model, 0)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """Weights, gradient and state over N, where layers split evenly; activations of the whole mini-batch."""
        return held(setting, [self.shard(setting.model, index) for index in range(self.options.workers)])

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``6bLn^2c/N + 2L((N-1) alpha + 4bn(N-1)/N beta)``, and the update: L layers of width n, split by outputs.

        In general the passes through a shard, and per exchange of A bytes a ring's all-gather or reduce-scatter,
        (N - 1) alpha + A (N - 1) / N beta, or an all-reduce, twice that. Exact where all shards and all pieces are
        equal and additions cost nothing to start.
        """
        shards = [self.shard(setting.model, index) for index in range(self.options.workers)]
        crossed = crossing_cost(setting, shards, shards[0].model.whole, setting.batch_size, (range(len(shards)),))
        seconds, equal = passes_seconds(setting, shards)
        exact = crossed.exact and equal and not setting.place.noisy
        return ClosedForm(
            seconds + crossed.seconds,
            crossed.bytes_sent,
            crossed.messages_sent,
            0.0,
            "exact" if exact else "estimate",
            note="" if exact else "shards or pieces differ in size, or reductions cost something to start",
        )
