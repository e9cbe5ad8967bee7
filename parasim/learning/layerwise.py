"""Update rules whose rate differs from layer to layer, by norms: LARS and LAMB (SCHEMES S47).

A layer is an array of parameters (`parasim.program.layout.Panels`): its weights, or its biases. Where its weights or
its gradient are all zero, as biases are at the start, the factor of its rate is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from parasim.learning.rules import Rule, adam_direction
from parasim.program.layout import Panels
from parasim.program.scheme import INTERNAL, option
from parasim.program.tensors import Tensor, Tensors

__all__ = ["Lamb", "Lars"]


@dataclass(frozen=True, slots=True)
class _Layerwise(Rule):
    """What both have: where the arrays are."""

    layerwise: ClassVar[bool] = True

    def on(self, panels: Panels) -> Self:
        """The rule for a copy whose arrays lie there."""
        return replace(self, panels=panels)  # type: ignore[call-arg] # the subclasses' last field


@dataclass(frozen=True, slots=True)
class Lars(_Layerwise):
    """LARS (You, Gitman, Ginsburg 2017), layer by layer.

    ``lambda = trust |w| / (|g| + weight_decay |w|)``, ``v = mu v + lambda (g + weight_decay w)``, ``w -= lr v``. As in
    `Sgd`, the momentum is free of the rate; the paper's v is lr times this one while the rate is constant.
    """

    lr: float = option(1.0, "learning rate", gt=0)
    momentum: float = option(0.9, "momentum mu", ge=0, lt=1)
    weight_decay: float = option(0.0, "delta: added to the gradient, this times the weights", ge=0)
    trust: float = option(0.001, "phi: a step is at most about lr times this part of a layer's norm", gt=0)
    panels: Panels | None = field(default=None, metadata=INTERNAL)

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum vector."""
        return ("momentum",)

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update in place with ``scale * gradient``."""
        xp.scale_(slots[0], self.momentum)
        for w, g, v in _layers(self.panels, parameters, gradient, slots[0]):
            length, slope = xp.norm(w), xp.multiply(xp.norm(g), scale)
            change = xp.multiply(g, scale)
            if self.weight_decay:
                xp.add_(change, w, self.weight_decay)
            rate = xp.divide(xp.multiply(length, self.trust), xp.add(slope, length, self.weight_decay))
            xp.add_(v, xp.multiply(change, _or_one(xp, rate, length, slope)))
        xp.add_(parameters, slots[0], -self.lr)


@dataclass(frozen=True, slots=True)
class Lamb(_Layerwise):
    """LAMB (You et al. 2020): Adam's direction r, its length that of the layer.

    ``u = r + weight_decay w``, ``w -= lr (|w| / |u|) u``; `step` counts updates from 0, for bias correction.
    """

    lr: float = option(0.001, "learning rate", gt=0)
    beta1: float = option(0.9, "decay of the mean gradient", ge=0, lt=1)
    beta2: float = option(0.999, "decay of the mean squared gradient", ge=0, lt=1)
    eps: float = option(1e-6, "added to the root, against division by zero", gt=0)
    weight_decay: float = option(0.0, "delta: added to the direction, this times the weights", ge=0)
    panels: Panels | None = field(default=None, metadata=INTERNAL)

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
        xp.scale_(direction, 1.0 / (1.0 - self.beta1 ** (step + 1)))
        if self.weight_decay:
            xp.add_(direction, parameters, self.weight_decay)
        for w, u in _layers(self.panels, parameters, direction):
            length, reach = xp.norm(w), xp.norm(u)
            xp.add_(w, xp.multiply(u, _or_one(xp, xp.divide(length, reach), length, reach)), -self.lr)


def _layers(panels: Panels | None, *vectors: Tensor) -> Iterator[list[Tensor]]:
    """The arrays of vectors that lie alike; without panels all is one array."""
    if panels is None:
        yield list(vectors)
        return
    for start, stop in panels.ranges:
        yield [vector[start:stop] for vector in vectors]


def _or_one(xp: Tensors, factor: Tensor, length: Tensor, other: Tensor) -> Tensor:
    """The factor where neither norm is zero, else 1."""
    return xp.where(xp.greater(xp.multiply(length, other), 0.0), factor, 1.0)
