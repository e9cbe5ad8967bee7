"""What all update rules have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from parasim.program.layout import Panels

__all__ = ["Rule"]


class Rule:
    """Base of the update rules: as they stand their rate is constant, `lr`."""

    __slots__ = ()
    lr: float
    layerwise: ClassVar[bool] = False
    """Does it need norms of whole arrays?"""

    def rate(self, step: float) -> float:
        """The learning rate."""
        return self.lr

    def at(self, step: float) -> Any:
        """The rule itself."""
        return self

    def on(self, panels: Panels) -> Any:
        """The rule for a copy whose arrays lie there: itself, if it does not ask."""
        return self
