"""How many updates a network needs to a target, as a statistical model for networks too large to train here.

By the gradient noise scale: ``S = S_min (1 + B_crit / B)`` updates with B samples each, and so
``E = S B = E_min (1 + B / B_crit)`` samples with ``E_min = S_min B_crit``, lead to the target, where the learning rate
fits each batch. Stale gradients are charged for in the simplest way: each update of staleness takes a fixed part more,
``S (1 + penalty staleness)``. That is a model, not a law: where staleness is large against
1 / (learning rate x curvature), training diverges instead.

References
----------
McCandlish, Kaplan, Amodei, OpenAI Dota Team (2018), An empirical model of large-batch training
(the shape of S and E; the penalty of staleness is parasim's own assumption).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from parasim.errors import ProgramError

__all__ = ["Reached", "Steps", "fit_steps"]


class Steps(NamedTuple):
    """The model: `least_steps` S_min (updates), `critical_batch` B_crit (samples), `staleness_penalty` per update."""

    least_steps: float
    critical_batch: float
    staleness_penalty: float = 0.0

    def updates(self, batch: float, staleness: float = 0.0) -> float:
        """Updates to the target, each with so many samples and so stale a gradient on the mean."""
        late = 1.0 + self.staleness_penalty * staleness
        return self.least_steps * (1.0 + self.critical_batch / batch) * late

    def samples(self, batch: float, staleness: float = 0.0) -> float:
        """Samples to the target."""
        return batch * self.updates(batch, staleness)


class Reached(NamedTuple):
    """A run that reached the target: samples of an update, mean staleness in updates, and how many updates it took."""

    batch: float
    staleness: float
    updates: float


def fit_steps(runs: Sequence[Reached]) -> tuple[Steps, float]:
    """The model that fits runs best, by the logarithm of their updates; and its largest relative error.

    The penalty is fitted where runs differ in staleness; else it is 0.

    Raises
    ------
    ProgramError
        If the runs do not tell the parameters: fewer of them, or of different batches, than there are parameters.
    """
    from scipy.optimize import least_squares

    stale = len({run.staleness for run in runs}) > 1
    if len({run.batch for run in runs}) < 2 or len(runs) < 2 + stale:
        raise ProgramError(
            f"{len(runs)} runs of {len({run.batch for run in runs})} batch sizes do not tell S_min and B_crit"
            f"{' and the penalty' if stale else ''}: give runs of at least two batches, and one more for staleness"
        )

    def model(values: Sequence[float]) -> Steps:
        return Steps(math.exp(values[0]), math.exp(values[1]), values[2] if stale else 0.0)

    def errors(values: Sequence[float]) -> list[float]:
        guess = model(values)
        return [math.log(guess.updates(run.batch, run.staleness) / run.updates) for run in runs]

    begin = [math.log(min(run.updates for run in runs)), math.log(max(run.batch for run in runs))]
    low, high = [-math.inf, begin[1] - 30.0], [math.inf, begin[1] + 30.0]
    if stale:
        begin, low, high = [*begin, 0.1], [*low, 0.0], [*high, math.inf]
    found = least_squares(errors, begin, bounds=(low, high), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    worst = max(abs(math.expm1(error)) for error in errors(found.x))
    return model([float(value) for value in found.x]), worst
