"""Slopes of a costly function: by differences now and then, and between by what its own values tell.

References
----------
Broyden (1965), A class of methods for solving nonlinear simultaneous equations: after a step s with the change y of the
values, the Jacobian J becomes ``J + (y - J s) s' / (s' s)``, the least change that makes it right along s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Slopes"]

_STEP = 0.1
"""Of differences: simulated times have corners, so that tiny steps tell little."""

_MOVES = 1
"""So many steps are followed by Broyden's formula before differences are taken anew: more end at worse minima."""


class Slopes:
    """The Jacobian of a function, as `scipy.optimize.least_squares` asks for it: once per accepted step.

    `values` is to be called instead of the function: slopes are asked for where it was called last.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._last: tuple[Any, Any] | None = None  # point, values
        self._moves = 0
        self._at: Any = None
        self._values: Any = None
        self._jacobian: Any = None

    def values(self, point: Any) -> Any:
        """The function's values at a point, which are remembered until those of another are asked for."""
        import numpy as np

        if self._last is None or not np.array_equal(self._last[0], point):
            self._last = point.copy(), self._function(point)
        return self._last[1]

    def __call__(self, point: Any) -> Any:
        """Slopes at a point, (values x coordinates)."""
        import numpy as np

        values = self.values(point)
        if self._at is None or self._moves == _MOVES:
            self._moves = 0
            self._jacobian = self.exact(point, values)
        else:
            self._moves += 1
            step = point - self._at
            missed = values - self._values - self._jacobian @ step
            self._jacobian = self._jacobian + np.outer(missed, step) / (step @ step)
        self._at, self._values = point.copy(), values
        return self._jacobian

    def exact(self, point: Any, values: Any) -> Any:
        """Slopes at a point where the function has these values, by differences."""
        import numpy as np

        columns = []
        for coordinate in range(len(point)):
            moved = point.copy()
            moved[coordinate] += _STEP
            columns.append((self._function(moved) - values) / _STEP)
        return np.stack(columns, axis=1)
