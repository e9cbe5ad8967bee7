"""Gradient accumulation: several micro-batches to an exchange (DDP's "no_sync"; SCHEMES S4.3, S1.7, S3.7).

A worker adds up the gradients of the micro-batches that its share of the mini-batch is cut into, and only then are the
gradients of all workers summed: synchronous SGD of the whole mini-batch, with the activations of one micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Model,
    NoClosedForm,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.schemes.summing import SummingOptions, check_rows, cost_is_exact, sum_all, sum_cost

__all__ = ["Accumulation"]


@dataclass(frozen=True, kw_only=True)
class AccumulationOptions(SummingOptions):
    """Options of gradient accumulation."""

    micro_batches: int = option(4, "micro-batches that a worker's share is cut into", ge=1)


class Accumulation(Scheme):
    """Data parallel, synchronous, decentralised; an exchange per several micro-batches."""

    name = "accumulation"
    aliases = ("gradient_accumulation", "no_sync")
    citation = "Ott et al. (2018); Li et al. (2020)"
    taxonomy = Taxonomy("data parallel", "synchronous", "decentralised", "all-reduce of gradients", "one model")
    staleness = "0"
    tries_batches = True
    Options = AccumulationOptions
    compresses = "sums"
    prices_codes = True

    def worker(self, me: Context) -> Program[Buffer]:
        """All micro-batches; then sum over the workers and update."""
        micros, replica, gradient = self.options.micro_batches, me.replica(), me.buffer("gradient")
        for step in me.steps():
            for micro in range(micros):
                batch = me.batch(step, micro=micro, micros=micros)
                activation = yield from me.forward(me.model.whole, replica.parameters, batch)
                yield from me.log_loss(activation)
                yield from me.backward(activation, None, gradient, add=micro > 0)
            yield from sum_all(me, gradient, self.options, step)
            yield from me.update(replica, gradient, read=replica.version, scale=1 / (micros * self.options.workers))
            yield from me.step_done(step)
        return replica.parameters

    def check(self, model: Model, batch_size: int) -> None:
        """Equal micro-batches, and what the all-reduce needs."""
        micros = self.options.micro_batches
        if batch_size % micros:
            raise ValueError(f"batch_size {batch_size} is no multiple of micro_batches {micros}")
        check_rows(self.options)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``q T_c(b/q) + C(P) + T_update``: one exchange for q micro-batches."""
        options, place, whole = self.options, setting.place, setting.model.whole
        if options.algorithm == "native":
            return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
        samples = setting.batch_size // options.micro_batches
        kernels = [forward_kernel(whole, samples), backward_kernel(whole, samples)] * options.micro_batches
        update = setting.update_kernel(scale=1 / (options.micro_batches * options.workers))
        cost = sum_cost(options, setting, whole)
        exact = cost_is_exact(options, setting, cost)
        return ClosedForm(
            place.longest([update, *kernels]) + cost.seconds,
            cost.bytes_sent_mean,
            cost.messages_sent_mean,
            0.0,
            "exact" if exact else "estimate",
            note="" if exact else "pieces of the all-reduce differ in size, or its form is an estimate",
        )
