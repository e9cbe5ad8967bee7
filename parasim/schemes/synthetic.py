"""Models of gradients, small networks over the tensor namespace (Jaderberg et al. 2017; SCHEMES S32).

A model takes the outputs h of a module, of `samples` rows of `inputs` numbers, and with `labels` > 0 as many numbers
per row that tell the label; its 0 to 2 hidden layers of `hidden` rectifiers have no biases. It predicts the gradient of
each sample's loss with respect to h, so that its scale does not depend on the size of mini-batches.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from parasim.program import Tensor, Tensors
from parasim.program.draws import Draws

__all__ = ["GradientModel"]


@dataclass(frozen=True, slots=True)
class GradientModel:
    """Sizes of a model; its parameters are one flat vector, each layer's matrix (in x out) row-major."""

    inputs: int
    labels: int
    layers: int
    hidden: int

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns: from h, from the labels if there are some, then layer by layer."""
        widths = [*([self.hidden] * self.layers), self.inputs]
        first = [(self.inputs, widths[0]), *([(self.labels, widths[0])] if self.labels else [])]
        return (*first, *itertools.pairwise(widths))

    @property
    def elements(self) -> int:
        """Number of parameters."""
        return sum(rows * columns for rows, columns in self.shapes)

    def initialise(self, xp: Tensors, parameters: Tensor, draws: Draws) -> None:
        """Hidden layers uniform within He's bounds; the last layer zero, so that the first prediction is."""
        if not self.layers:
            return
        drawn = xp.add(xp.multiply(xp.uniform(parameters, draws, "gradient model", 0), 2.0), -1.0)
        pieces = self._cut(drawn)
        fan_in = [self.inputs + self.labels] * (len(pieces) - self.layers) + [self.hidden] * self.layers
        for piece, fan in zip(pieces, fan_in, strict=True):
            xp.scale_(piece, math.sqrt(6.0 / fan))
        xp.fill_(pieces[-1], 0.0)
        xp.copy_(parameters, drawn)

    def predict(self, xp: Tensors, parameters: Tensor, *given: Tensor, samples: int) -> Tensor:
        """The gradient of the mean loss with respect to h; `given` are h and the labels, if the model takes them."""
        return xp.multiply(self._forward(xp, self._cut(parameters), given, samples)[-1], 1.0 / samples)

    def gradient(
        self, xp: Tensors, into: Tensor, parameters: Tensor, target: Tensor, *given: Tensor, samples: int
    ) -> None:
        """Into = the gradient of the mean over samples of ``|prediction - gradient|^2 / 2``.

        The true gradient is given as `target`, that of the mean loss, as predictions are.
        """
        matrices = self._cut(parameters)
        passed = self._forward(xp, matrices, given, samples)
        flow = xp.add(xp.multiply(passed.pop(), 1.0 / samples), target, -1.0)
        found: list[Tensor] = []
        first = len(given)
        for (rows, columns), matrix in zip(reversed(self.shapes[first:]), reversed(matrices[first:]), strict=True):
            hidden = passed.pop()
            found.append(xp.matmul(xp.transpose(hidden, samples, rows), flow, rows, samples, columns))
            flow = xp.matmul(flow, xp.transpose(matrix, rows, columns), samples, columns, rows)
            flow = xp.where(xp.greater(hidden, 0.0), flow, 0.0)
        for (rows, columns), x in zip(reversed(self.shapes[:first]), reversed(given), strict=True):
            found.append(xp.matmul(xp.transpose(x, samples, rows), flow, rows, samples, columns))
        xp.copy_(into, xp.concatenate(found[::-1]))

    def _forward(self, xp: Tensors, matrices: list[Tensor], given: tuple[Tensor, ...], samples: int) -> list[Tensor]:
        """Activations of the hidden layers, and the outputs."""
        first = len(given)
        x: Tensor = None
        for (rows, columns), matrix, values in zip(self.shapes, matrices, given, strict=False):
            product = xp.matmul(values, matrix, samples, rows, columns)
            x = product if x is None else xp.add(x, product)
        passed = []
        for (rows, columns), matrix in zip(self.shapes[first:], matrices[first:], strict=True):
            passed.append(xp.where(xp.greater(x, 0.0), x, 0.0))
            x = xp.matmul(passed[-1], matrix, samples, rows, columns)
        return [*passed, x]

    def _cut(self, parameters: Tensor) -> list[Tensor]:
        pieces, start = [], 0
        for rows, columns in self.shapes:
            pieces.append(parameters[start : start + rows * columns])
            start += rows * columns
        return pieces
