"""Periodic model averaging: local SGD (Su and Chen 2015; McMahan et al. 2017) and post-local SGD (Lin et al. 2020).

Every worker updates a model of its own; every `period` steps all models are replaced by their mean (SCHEMES S6). Before
step `local_from` they are averaged in every step, which is synchronous SGD: post-local SGD changes over where the
learning rate first drops. What the optimiser keeps beside the model (momentum) stays with its worker, starts anew
after an averaging, or is averaged too. The run ends with an averaging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    Replica,
    Scheme,
    Setting,
    Taxonomy,
    option,
)
from parasim.program.elementwise import clear
from parasim.schemes.summing import SummingOptions, average, average_cost, check_rows, cost_is_exact

__all__ = ["LocalSgd", "Momentum", "averaging_form", "handle_momentum", "local_seconds"]

Momentum = Literal["keep", "reset", "average"]


@dataclass(frozen=True, kw_only=True)
class LocalSgdOptions(SummingOptions):
    """Options of local SGD."""

    period: int = option(4, "local steps between two averagings (post-local SGD: 4, 8, 16, ...)", ge=1)
    local_from: int = option(0, "first step of the local phase: before it, models are averaged every step", ge=0)
    momentum: Literal["keep", "reset", "average"] = option(
        "keep", "the optimiser's state at an averaging: kept, set to zero, or averaged too"
    )


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
                yield from handle_momentum(me, replica, self.options.momentum, self.options, step)
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
        return averaging_form(self.options, setting, self.options.period, self.options.momentum)


def averaging_form(
    options: SummingOptions, setting: Setting, period: int, momentum: Momentum, filtering: float = 0.0
) -> ClosedForm | NoClosedForm:
    """Of `period` local steps and an averaging, which is followed by so many seconds of a filter."""
    if options.algorithm == "native":
        return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
    cost, scaling = average_cost(options, setting)
    averaging = cost.seconds + scaling
    vectors, handling = _momentum_seconds(momentum, setting, averaging)
    exact = cost_is_exact(options, setting, cost)
    return ClosedForm(
        local_seconds(setting, period) + (averaging + filtering + handling) / period,
        vectors * cost.bytes_sent_mean / period,
        vectors * cost.messages_sent_mean / period,
        0.0,
        "exact" if exact else "estimate",
        note="" if exact else "pieces of the all-reduce differ in size, or its form is an estimate",
    )


def handle_momentum(
    me: Context, replica: Replica, momentum: Momentum, options: SummingOptions, step: int
) -> Program[None]:
    """Keep the optimiser's state, set it to zero, or average it over all workers."""
    for number, slot in enumerate(replica.slots):
        if momentum == "reset":
            yield from me.math(clear, (slot,))
        elif momentum == "average":
            yield from average(me, slot, options, step, f"optimizer state {number}")


def local_seconds(setting: Setting, period: int) -> float:
    """Seconds of a local step, where all wait for the slowest after every `period` steps."""
    kernels = [*setting.gradient_kernels(), setting.update_kernel()]
    return setting.place.longest(kernels * period) / period


def _momentum_seconds(momentum: Momentum, setting: Setting, averaging: float) -> tuple[int, float]:
    """Vectors averaged, the model included, and seconds of what becomes of the optimiser's state at an averaging."""
    slots = len(setting.optimizer.slots)
    if momentum == "average":
        return 1 + slots, slots * averaging
    clearing = setting.place.seconds(setting.math_kernel(clear)) if momentum == "reset" else 0.0
    return 1, slots * clearing
