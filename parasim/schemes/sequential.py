"""Sequential mini-batch SGD: the yardstick (Rumelhart 1986; Zhang 2004; SCHEMES S1)."""

from __future__ import annotations

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    Tied,
)

__all__ = ["Sequential"]


class Sequential(Scheme):
    """One worker: forward, backward, update; no messages. ``T = T_c(b) + T_update``."""

    name = "sequential"
    aliases = ("sgd", "serial", "minibatch_sgd")
    citation = "Rumelhart, Hinton, Williams (1986); Zhang (2004)"
    taxonomy = Taxonomy("none", "synchronous", "none", "none", "one model")
    staleness = "0"
    tries_batches = True
    most_workers = 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Mini-batch after mini-batch."""
        replica = me.replica()
        gradient = me.buffer("gradient")
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=replica.version)
            yield from me.step_done(step)
        return replica.parameters

    def tied(self) -> Tied:
        """It has the whole model."""
        return "whole"

    def check(self, model: object, batch_size: int) -> None:
        """One worker only."""
        if self.options.workers != 1:
            raise ValueError(f"sequential SGD has 1 worker, not {self.options.workers}; leave `workers` out or write 1")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c(b)`` and the update (SCHEMES S1.5)."""
        seconds = setting.place.longest([*setting.gradient_kernels(), setting.update_kernel()])
        return ClosedForm(seconds, 0.0, 0.0, 0.0, "exact")
