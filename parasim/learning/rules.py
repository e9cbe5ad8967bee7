"""What all update rules have in common."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

from parasim.program.layout import Panels
from parasim.program.tensors import Tensor, Tensors

__all__ = ["Rule", "adam_direction"]


class Rule:
    """Base of the update rules: as they stand their rate is constant, `lr`."""

    __slots__ = ()
    lr: float
    layerwise: ClassVar[bool] = False
    """Does it need norms of whole arrays?"""
    momentum: Any = 0.0

    def rate(self, step: float) -> float:
        """The learning rate."""
        return self.lr

    def at(self, step: float) -> Any:
        """The rule itself."""
        return self

    def scaled(self, factor: float) -> Any:
        """The rule with its rate multiplied by this."""
        return replace(self, lr=self.lr * factor)  # type: ignore[type-var]  # every rule is a dataclass

    def tuned(self, lr: float, momentum: float) -> Any:
        """The rule with that rate, and that momentum if it has one."""
        rule: Any = self
        return replace(rule, lr=lr, momentum=momentum) if self.momentum else replace(rule, lr=lr)

    def on(self, panels: Panels) -> Any:
        """The rule for a copy whose arrays lie there: itself, if it does not ask."""
        return self


def adam_direction(
    xp: Tensors,
    gradient: Tensor,
    means: tuple[Tensor, ...],
    decays: tuple[float, float],
    eps: float,
    step: int,
    scale: float,
) -> Tensor:
    """Adam's direction (Kingma and Ba 2015), not yet over ``1 - beta1**(step + 1)``; moves on the running means.

    These are of the gradient and of its square, with the decays beta1 and beta2; `step` counts updates from 0.
    """
    (mean, squares), (beta1, beta2) = means, decays
    xp.scale_(mean, beta1)
    xp.add_(mean, gradient, (1.0 - beta1) * scale)
    xp.scale_(squares, beta2)
    xp.add_(squares, xp.multiply(gradient, gradient), (1.0 - beta2) * scale * scale)
    root = xp.sqrt(squares)
    xp.scale_(root, 1.0 / math.sqrt(1.0 - beta2 ** (step + 1)))
    return xp.divide(mean, xp.add(root, eps))
