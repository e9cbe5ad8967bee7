"""What schemes share that average models every so many steps: options, the optimiser's state, the closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    ClosedForm,
    Context,
    NoClosedForm,
    Program,
    Replica,
    Setting,
    option,
)
from parasim.program.elementwise import clear
from parasim.schemes.summing import SummingOptions, average, average_cost, cost_is_exact

__all__ = ["AveragingOptions", "averaging_form", "handle_momentum", "local_seconds"]

Momentum = Literal["keep", "reset", "average"]


@dataclass(frozen=True, kw_only=True)
class AveragingOptions(SummingOptions):
    """Options of local SGD and BMUF."""

    period: int = option(4, "local steps between two averagings (post-local SGD: 4, 8, 16, ...)", ge=1)
    momentum: Literal["keep", "reset", "average"] = option(
        "keep", "the optimiser's state at an averaging: kept, set to zero, or averaged too"
    )


def averaging_form(options: AveragingOptions, setting: Setting, filtering: float = 0.0) -> ClosedForm | NoClosedForm:
    """Of `period` local steps and an averaging, which is followed by so many seconds of a filter."""
    period = options.period
    if options.algorithm == "native":
        return NoClosedForm("the backend's own all-reduce does not tell its algorithm")
    cost, scaling = average_cost(options, setting)
    averaging = cost.seconds + scaling
    vectors, handling = _momentum_seconds(options.momentum, setting, averaging)
    exact = cost_is_exact(options, setting, cost)
    return ClosedForm(
        local_seconds(setting, period) + (averaging + filtering + handling) / period,
        vectors * cost.bytes_sent_mean / period,
        vectors * cost.messages_sent_mean / period,
        0.0,
        "exact" if exact else "estimate",
        note="" if exact else "pieces of the all-reduce differ in size, or its form is an estimate",
    )


def handle_momentum(me: Context, replica: Replica, options: AveragingOptions, step: int) -> Program[None]:
    """Keep the optimiser's state, set it to zero, or average it over all workers."""
    for number, slot in enumerate(replica.slots):
        if options.momentum == "reset":
            yield from me.math(clear, (slot,))
        elif options.momentum == "average":
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
