"""Tensor parallelism: every layer is split among the workers (SCHEMES S22).

All workers see the same samples. By outputs (DistBelief's partitions, Dean et al. 2012; Krizhevsky's columns): a worker
has some neurons of every layer; it computes them from all inputs, the workers gather the outputs; backward, each finds
a part of the gradient of all inputs, and a reduce-scatter gives each the sum for its own. In pairs (Shoeybi et al.
2019, Megatron-LM): the second of two layers is split by its inputs, an attention by heads, and one all-reduce forward
and one backward do for both: 2 + 2 all-reduces per transformer block. Token vectors and the output layer are split
along the vocabulary: an all-reduce sums the vectors found, and logits stay split, as the loss is fused with the output
layer: members exchange the largest logit, the sum of exponentials and the target's logit of each token, b s numbers
three times instead of b s v. Every worker updates what it holds. All wait for all, at every exchange.

With `recompute` a worker keeps of every layer but the last one its inputs alone, and repeats the layer's forward pass,
with its exchanges, before the backward pass: 4 + 2 all-reduces per block. Layers that keep no more are not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parasim.program import (
    Activation,
    Batch,
    Buffer,
    ClosedForm,
    Context,
    Group,
    Holding,
    Model,
    Part,
    Planning,
    Program,
    Scheme,
    Setting,
    Shard,
    Taxonomy,
    backward_shard,
    forward_kernel,
    forward_shard,
    option,
)
from parasim.schemes.crossings import Exchanged, SplitOptions, crossing_cost, held, passes_seconds, ring_route, rings

__all__ = ["TensorParallel"]


@dataclass(frozen=True, kw_only=True)
class TensorParallelOptions(SplitOptions):
    """Options of tensor parallelism."""

    recompute: bool = option(False, "keep the layers' inputs alone and repeat forward passes, exchanges included")


@dataclass(frozen=True, slots=True)
class _Passed:
    """A layer's forward pass: its inputs, and what it left, or nothing if it is to be repeated."""

    part: Part
    inputs: Buffer | None
    activations: list[Activation]


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
        found: Shard = self.options.shard(model, index, self.options.workers)
        return found

    def worker(self, me: Context) -> Program[Buffer]:
        """Forward and backward through one's shard, with all other workers; update it."""
        shard, group = self.shard(me.model, me.index), me.group("worker")
        layers = shard.model.whole
        replica, gradient = me.replica(layers), me.buffer("gradient", layers.parameters)
        for step in me.steps():
            batch = me.batch(step, share=0, shares=1)
            passed = yield from self.forward(me, shard, replica.parameters, batch, group)
            if me.index == 0:
                yield from me.log_loss(passed[-1].activations[-1])
            yield from self.backward(me, shard, passed, replica.parameters, gradient, batch, group)
            yield from me.update(replica, gradient, read=replica.version)
            yield from me.step_done(step)
        return replica.parameters

    def forward(
        self, me: Context, shard: Shard, parameters: Buffer, batch: Batch, group: Group
    ) -> Program[list[_Passed]]:
        """All layers, one after the other."""
        passed: list[_Passed] = []
        inputs: Buffer | None = None
        for part in map(shard.of, me.model.each()):
            found = yield from forward_shard(me, shard, part, part.of(parameters), batch, group, inputs)
            repeat = self.options.recompute and shard.repeats(part)
            if repeat:
                for activation in found:
                    me.drop(activation)
                if inputs is not None:
                    me.hold("inputs", inputs.nbytes, inputs)
            passed.append(_Passed(part, inputs, [] if repeat else found))
            inputs = found[-1].outputs
        return passed

    def backward(
        self,
        me: Context,
        shard: Shard,
        passed: Sequence[_Passed],
        parameters: Buffer,
        gradient: Buffer,
        batch: Batch,
        group: Group,
    ) -> Program[None]:
        """The layers from the last on, those that kept their inputs alone after another forward pass."""
        upstream: Buffer | None = None
        for layer in reversed(passed):
            part, inputs, found = layer.part, layer.inputs, layer.activations
            if not found:
                own = part.of(parameters)
                found = yield from forward_shard(me, shard, part, own, batch, group, inputs, leave=False)
                if inputs is not None:
                    me.release("inputs", inputs.nbytes, inputs)
            upstream = yield from backward_shard(me, shard, found, upstream, part.of(gradient), group)

    def no_norms(self) -> str:
        """Nobody has them."""
        return "its workers hold parts of each layer: use a scheme that keeps layers whole, such as allreduce"

    def check(self, model: Model, batch_size: int) -> None:
        """Every layer must have something for every worker."""
        self.shard(model, 0)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """Weights, gradient and state over N, where layers split evenly; activations of the whole mini-batch."""
        shards = [self.shard(setting.model, index) for index in range(self.options.workers)]
        if not self.options.recompute:
            return held(setting, shards)
        return [self._recomputing(setting, shard) for shard in shards]

    @staticmethod
    def _recomputing(setting: Planning, shard: Shard) -> Mapping[str, int]:
        """Inputs of the layers up to one, and all that this one stores, where that is most."""
        whole, samples = shard.model.whole, setting.batch_size
        most = kept = 0
        for part in map(shard.of, setting.model.each()):
            if shard.repeats(part):
                kept += 0 if part.is_first else part.input_elements
                most = max(most, kept + part.stored_elements)
            else:
                kept += part.stored_elements
                most = max(most, kept)
        holding = Holding(samples=samples).with_state(len(setting.optimizer.slots))
        return {**holding.bytes_of(whole), "activations": samples * whole.model.itemsize * most}

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``6bLn^2c/N + 2L((N-1) alpha + 4bn(N-1)/N beta)``, and the update: L layers of width n, split by outputs.

        In general the passes through a shard, and per exchange of A bytes a ring's all-gather or reduce-scatter,
        (N - 1) alpha + A (N - 1) / N beta, or an all-reduce, twice that; with `recompute` what is repeated once more.
        Exact where all shards and all pieces are equal and additions cost nothing to start.
        """
        shards = [self.shard(setting.model, index) for index in range(self.options.workers)]
        crossed = crossing_cost(setting, shards, shards[0].model.whole, setting.batch_size, (range(len(shards)),))
        seconds, equal = passes_seconds(setting, shards)
        if self.options.recompute:
            again, exchanged = self._again(setting, shards)
            seconds, crossed = seconds + again, crossed + exchanged
        exact = crossed.exact and equal and not setting.place.noisy
        return ClosedForm(
            seconds + crossed.seconds,
            crossed.bytes_sent,
            crossed.messages_sent,
            0.0,
            "exact" if exact else "estimate",
            note="" if exact else "shards or pieces differ in size, or reductions cost something to start",
        )

    def _again(self, setting: Setting, shards: Sequence[Shard]) -> tuple[float, Exchanged]:
        """Seconds of the forward passes that are repeated, on the slowest shard, and what they exchange."""
        samples, route = setting.batch_size, ring_route(setting, (range(len(shards)),))
        seconds = []
        for shard in shards:
            parts = [part for part in map(shard.of, setting.model.each()) if shard.repeats(part)]
            segments = [at for part in parts for at in shard.model.each()[part.start : part.stop]]
            seconds.append(setting.place.longest([forward_kernel(at, samples) for at in segments]))
        exchanged = Exchanged(0.0, 0.0, 0.0, True)
        for part in map(shards[0].of, setting.model.each()):
            if shards[0].repeats(part):
                exchanged += rings(setting, route, len(shards), shards[0].repeated(part, samples))
        return max(seconds), exchanged
