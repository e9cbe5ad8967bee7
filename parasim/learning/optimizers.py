"""Update rules over the tensor namespace; plain and frozen, so that their cost can be counted on shapes.

Notation: g is ``scale * gradient`` (plus ``weight_decay * w`` where there is weight decay), w the parameters, lr the
learning rate. Updates work in place on the parameters and on the slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from parasim.errors import ScenarioError
from parasim.learning.layerwise import Lamb, Lars
from parasim.learning.rates import Rate
from parasim.learning.rules import Rule, adam_direction
from parasim.program.layout import Panels
from parasim.program.learner import Optimizer
from parasim.program.scheme import option
from parasim.program.tensors import Tensor, Tensors

__all__ = ["OPTIMIZERS", "Adagrad", "Adam", "Lamb", "Lars", "Scheduled", "Sgd"]


@dataclass(frozen=True, slots=True)
class Sgd(Rule):
    """Stochastic gradient descent (SCHEMES S1): plain ``w -= lr g``, momentum ``u = mu u + g; w -= lr u``, or Nesterov.

    Nesterov: ``w -= lr (g + mu u)``. Plain SGD without weight decay is one scaled addition, so powers of two are exact.
    The momentum vector is free of the rate: where the rate changes, this is the momentum correction of Goyal et al.
    (2017, section 3), whose own vector is ``lr u``.
    """

    lr: float = option(0.1, "learning rate", gt=0)
    momentum: float = option(0.0, "momentum mu", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's momentum")
    weight_decay: float = option(0.0, "added to the gradient: this times the weights", ge=0)

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ScenarioError("optimizer sgd: nesterov: True without momentum has no meaning; give momentum")

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum vector, if there is momentum."""
        return ("momentum",) if self.momentum else ()

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update in place with ``scale * gradient``."""
        lr, mu, decay = self.lr, self.momentum, self.weight_decay
        if mu:
            (velocity,) = slots
            xp.scale_(velocity, mu)
            xp.add_(velocity, gradient, scale)
            if decay:
                xp.add_(velocity, parameters, decay)
            if not self.nesterov:
                xp.add_(parameters, velocity, -lr)
                return
        if decay:
            xp.scale_(parameters, 1.0 - lr * decay)
        xp.add_(parameters, gradient, -lr * scale)
        if mu:
            xp.add_(parameters, velocity, -lr * mu)


@dataclass(frozen=True, slots=True)
class Adagrad(Rule):
    """Adagrad as Downpour SGD uses it (Dean et al. 2012): ``s += g*g; w -= lr g / (sqrt(s) + eps)``."""

    lr: float = option(0.01, "learning rate", gt=0)
    eps: float = option(1e-10, "added to the root, against division by zero", gt=0)

    @property
    def slots(self) -> tuple[str, ...]:
        """The sum of squared gradients."""
        return ("squares",)

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update in place with ``scale * gradient``."""
        (squares,) = slots
        xp.add_(squares, xp.multiply(gradient, gradient), scale * scale)
        root = xp.add(xp.sqrt(squares), self.eps)
        xp.add_(parameters, xp.divide(gradient, root), -self.lr * scale)


@dataclass(frozen=True, slots=True)
class Adam(Rule):
    """Adam (Kingma and Ba 2015) with bias correction; `step` counts updates from 0."""

    lr: float = option(0.001, "learning rate", gt=0)
    beta1: float = option(0.9, "decay of the mean gradient", ge=0, lt=1)
    beta2: float = option(0.999, "decay of the mean squared gradient", ge=0, lt=1)
    eps: float = option(1e-8, "added to the root, against division by zero", gt=0)

    @property
    def slots(self) -> tuple[str, ...]:
        """Running means of the gradient and of its square."""
        return ("mean", "squares")

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update in place with ``scale * gradient``."""
        decays = self.beta1, self.beta2
        direction = adam_direction(xp, gradient, slots, decays, self.eps, step, scale)
        xp.add_(parameters, direction, -self.lr / (1.0 - self.beta1 ** (step + 1)))


OPTIMIZERS: dict[str, type] = {"adagrad": Adagrad, "adam": Adam, "lamb": Lamb, "lars": Lars, "sgd": Sgd}
"""Kinds of optimisers; their fields are their options."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A rule whose learning rate changes while the run goes on."""

    rule: Any
    rate_of: Rate

    @property
    def lr(self) -> float:
        """The rate that the schedule starts from."""
        return self.rate_of.lr

    @property
    def slots(self) -> tuple[str, ...]:
        """Of the rule."""
        slots: tuple[str, ...] = self.rule.slots
        return slots

    def rate(self, step: float) -> float:
        """The learning rate where so many steps are done."""
        return self.rate_of(step)

    def at(self, step: float) -> Optimizer:
        """The rule with that rate."""
        rule: Optimizer = replace(self.rule, lr=self.rate_of(step))
        return rule

    def scaled(self, factor: float) -> Optimizer:
        """The rule with a schedule of rates that are all multiplied by this."""
        return replace(self, rate_of=self.rate_of.scaled(factor))

    def on(self, panels: Panels) -> Optimizer:
        """For a copy whose arrays lie there."""
        return replace(self, rule=self.rule.on(panels))

    @property
    def layerwise(self) -> bool:
        """Of the rule."""
        return bool(self.rule.layerwise)

    @property
    def momentum(self) -> float:
        """Of the rule."""
        return float(self.rule.momentum)

    def tuned(self, lr: float, momentum: float) -> Scheduled:
        """The rule with that momentum, and the schedule with that rate."""
        return Scheduled(self.rule.tuned(lr, momentum), replace(self.rate_of, lr=lr))

    @property
    def weight_decay(self) -> float:
        """Of the rule."""
        return float(getattr(self.rule, "weight_decay", 0.0))

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update of a copy that gets one per step."""
        self.at(step).update(xp, parameters, gradient, slots, step, scale)
