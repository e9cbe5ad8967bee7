"""Pipe-SGD: synchronous SGD whose all-reduce travels beside the next gradient (Li et al. 2018; SCHEMES S4.4).

The gradients of a step are summed while those of the next are computed, and applied after these: an update is with the
gradient of one step before, ``w(t+1) = w(t) - lr g(w(t-1))``. The last gradient is applied at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Handle,
    Model,
    NoClosedForm,
    Post,
    Program,
    Replica,
    Scheme,
    Setting,
    Taxonomy,
    Wait,
)
from parasim.schemes.summing import SummingOptions, check_rows, cost_is_exact, sum_all, sum_cost

__all__ = ["PipeSgd"]


@dataclass(frozen=True, kw_only=True)
class PipeSgdOptions(SummingOptions):
    """Options of Pipe-SGD."""


class PipeSgd(Scheme):
    """Data parallel, synchronous with a delay of one, decentralised."""

    name = "pipe_sgd"
    aliases = ("delayed_allreduce",)
    citation = "Li, Yu, Li, Avestimehr, Kim, Schwing (2018)"
    taxonomy = Taxonomy("data parallel", "stale-synchronous", "decentralised", "all-reduce of gradients", "one model")
    staleness = "1 (0 of the first gradient)"
    approximates = "stale gradients, of the step before"
    Options = PipeSgdOptions
    compresses = "sums"
    prices_codes = True

    def lanes(self) -> tuple[str, ...]:
        """Where the all-reduces run."""
        return ("reduce",)

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute; send off; apply what was sent off a step before."""
        replica = me.replica()
        gradients = [me.buffer("gradient"), me.buffer("other gradient")]
        sent: tuple[Handle, Buffer, int] | None = None
        for step in me.steps():
            gradient, read = gradients[step % 2], replica.version
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            handle = yield from Post(sum_all(me, gradient, self.options, step), lane="reduce")
            if sent is not None:
                yield from self._apply(me, replica, *sent)
            sent = handle, gradient, read
            yield from me.step_done(step)
        if sent is not None:
            yield from self._apply(me, replica, *sent)
        return replica.parameters

    def _apply(self, me: Context, replica: Replica, handle: Handle, gradient: Buffer, read: int) -> Program[None]:
        yield from Wait([handle])
        yield from me.update(replica, gradient, read=read, scale=1 / self.options.workers)

    def check(self, model: Model, batch_size: int) -> None:
        """What the all-reduce needs."""
        check_rows(self.options)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``max(T_c + T_update, C(P))`` (SCHEMES S4.4): whichever is longer hides the other.

        Exact with a core for the additions of the all-reduce, which else slow the gradient down.
        """
        options, place = self.options, setting.place
        if options.algorithm == "native":
            return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
        cost = sum_cost(options, setting, setting.model.whole)
        compute = place.longest([*setting.gradient_kernels(), setting.update_kernel(scale=1 / options.workers)])
        free = setting.gamma() == 0 or options.workers == 1
        alone = place.cores >= 2 or (free and setting.compression is None)
        exact = alone and cost_is_exact(options, setting, cost)
        return ClosedForm(
            max(compute, cost.seconds),
            cost.bytes_sent_mean,
            cost.messages_sent_mean,
            1.0,
            "exact" if exact else "lower bound" if cost.exact else "estimate",
            note="" if exact else "additions slow the gradient down, or pieces differ in size",
        )
