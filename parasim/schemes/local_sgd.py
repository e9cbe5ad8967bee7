"""Periodic model averaging: local SGD (Su and Chen 2015; McMahan et al. 2017) and post-local SGD (Lin et al. 2020).

Every worker updates a model of its own; every `period` steps all models are replaced by their mean (SCHEMES S6). Before
step `local_from` they are averaged in every step, which is synchronous SGD: post-local SGD changes over where the
learning rate first drops. What the optimiser keeps beside the model (momentum) stays with its worker, starts anew
after an averaging, or is averaged too. The run ends with an averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Event,
    HeldModel,
    Log,
    Model,
    NoClosedForm,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    option,
)
from parasim.schemes.averaging import AveragingOptions, averaging_form, handle_momentum
from parasim.schemes.summing import average, check_rows

__all__ = ["LocalSgd"]


@dataclass(frozen=True, kw_only=True)
class LocalSgdOptions(AveragingOptions):
    """Options of local SGD."""

    local_from: int = option(0, "first step of the local phase: before it, models are averaged every step", ge=0)


class LocalSgd(Scheme):
    """Data parallel, synchronous every `period` steps, decentralised; models drift apart between."""

    name = "local_sgd"
    aliases = ("model_averaging", "periodic_model_averaging", "post_local_sgd", "federated_averaging", "fedavg")
    citation = "Su, Chen (2015); McMahan et al. (2017); Lin et al. (2020)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous every period", "decentralised", "all-reduce of models", "model averaging"
    )
    staleness = "0 with respect to the worker's own model; models drift apart for `period` steps"
    approximates = "averaged models, which drift apart"
    Options = LocalSgdOptions
    compresses = "models"
    prices_codes = True

    def worker(self, me: Context) -> Program[Buffer]:
        """Local steps; now and then the mean of all models."""
        replica, gradient = me.replica(), me.buffer("gradient")
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=replica.version)
            if self._averages(step) or step + 1 == me.num_steps:
                yield from average(me, replica.parameters, self.options, step)
                yield from handle_momentum(me, replica, self.options, step)
                yield from Log(Event("note", "averaged", step=step))
            yield from me.step_done(step)
        return replica.parameters

    def _averages(self, step: int) -> bool:
        """Every step at first, then every `period` steps."""
        since = step + 1 - self.options.local_from
        return bool(since <= 0 or since % self.options.period == 0)

    def held_model(self) -> HeldModel:
        """The mean of all models."""
        return HeldModel(mean=True)

    def check(self, model: Model, batch_size: int) -> None:
        """What the all-reduce needs."""
        check_rows(self.options)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + T_update + C(P) / period`` (SCHEMES S6.5), once the local phase has begun.

        With noise workers wait for the slowest sum of `period` steps, which is less than the sum of the slowest.
        """
        return averaging_form(self.options, setting)
