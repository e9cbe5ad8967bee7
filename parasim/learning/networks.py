"""The mathematics of written-out blocks, activation functions and losses: forward and backward as plain functions.

Backward passes are written out, not recorded: a block needs its activated inputs, its weights and the gradient of its
outputs, and gives the gradients of both. So a stage is a slice of the list, and cutting changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from parasim.workload.blocks import Block, Convolution, Dense, Ending, Point

__all__ = ["ACTIVATIONS", "LOSSES", "Activation", "BlockMath", "Loss", "block_math", "each_weights"]

_aten: Any = torch.ops.aten


class BlockMath(Protocol):
    """A block's linear map. Inputs and outputs have a row per sample."""

    shape: tuple[int, ...]

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Outputs."""

    def backward(
        self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, needs_inputs: bool, needs_weights: bool = True
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Gradients of the inputs and of the weights, each None if not needed."""


class DenseMath:
    """A fully connected layer."""

    def __init__(self, block: Dense) -> None:
        self.shape = block.shape

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """``x W'``."""
        return torch.mm(x, w.T)

    def backward(
        self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, needs_inputs: bool, needs_weights: bool = True
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """``g W`` and ``g' x``."""
        return torch.mm(g, w) if needs_inputs else None, torch.mm(g.T, x) if needs_weights else None


class ConvolutionMath:
    """A 3x3 convolution with padding 1."""

    def __init__(self, block: Convolution) -> None:
        self.shape = block.shape
        self._stride = [block.stride, block.stride]
        self._inputs = (block.channels_in, block.side_in, block.side_in)
        self._outputs = (block.channels_out, block.side_out, block.side_out)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Correlate the images with the filters."""
        images = x.view(-1, *self._inputs)
        return torch.nn.functional.conv2d(images, w, stride=self._stride, padding=1).reshape(x.shape[0], -1)

    def backward(
        self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, needs_inputs: bool, needs_weights: bool = True
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """As torch's own autograd calls it."""
        upstream, images = g.view(-1, *self._outputs), x.view(-1, *self._inputs)
        needs = [needs_inputs, needs_weights, False]
        inputs, weights, _ = _aten.convolution_backward(
            upstream, images, w, None, self._stride, [1, 1], [1, 1], False, [0, 0], 1, needs
        )
        return inputs.reshape(x.shape) if needs_inputs else None, weights if needs_weights else None


class PointMath:
    """A quadratic function of the weights; a sample's output is ``1/2 d' H d + x' d`` with ``d = w - optimum``."""

    def __init__(self, block: Point, hessian: torch.Tensor, optimum: torch.Tensor) -> None:
        self.shape = block.shape
        self._hessian = hessian
        self._optimum = optimum

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Value of the function plus the samples' noise."""
        d = w - self._optimum
        return (torch.mv(x, d) + 0.5 * torch.dot(d, torch.mv(self._hessian, d))).view(-1, 1)

    def backward(
        self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, needs_inputs: bool, needs_weights: bool = True
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """``sum(g) H d + x' g``."""
        if not needs_weights:
            return None, None
        slope = torch.mv(self._hessian, w - self._optimum)
        return None, slope * g.sum() + torch.mv(x.T, g.view(-1))


class EndingMath:
    """Nothing: outputs are the inputs."""

    shape: tuple[int, ...] = (0,)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """The inputs."""
        return x

    def backward(
        self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, needs_inputs: bool, needs_weights: bool = True
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The gradient itself, and none to weights."""
        return g, w


def block_math(block: Block, hessian: torch.Tensor | None, optimum: torch.Tensor | None) -> BlockMath:
    """Mathematics of a block; `hessian` and `optimum` are those of quadratic data."""
    if isinstance(block, Dense):
        return DenseMath(block)
    if isinstance(block, Convolution):
        return ConvolutionMath(block)
    if isinstance(block, Ending):
        return EndingMath()
    assert isinstance(block, Point)
    assert hessian is not None
    assert optimum is not None
    return PointMath(block, hessian, optimum)


def each_weights(block: BlockMath, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, into: torch.Tensor) -> None:
    """Gradients of a block's weights from each of equal shares of the samples, flat: a row of `into` each."""
    shares = len(into)
    if isinstance(block, DenseMath):
        flows, inputs = g.view(shares, -1, g.shape[1]), x.view(shares, -1, x.shape[1])
        torch.bmm(flows.transpose(1, 2), inputs, out=into.view(shares, *block.shape))
        return
    for row, flow, rows in zip(into, g.chunk(shares), x.chunk(shares) if len(x) else [x] * shares, strict=True):
        _, weights = block.backward(flow, rows, w, False)
        assert weights is not None
        row.copy_(weights.reshape(-1))


@dataclass(frozen=True, slots=True)
class Activation:
    """`apply` makes a new tensor; `backward(g, y)` is the gradient of the inputs, given the outputs y."""

    apply: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _tanh_backward(g: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _aten.tanh_backward(g, y)
    return result


def _relu_backward(g: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _aten.threshold_backward(g, y, 0)
    return result


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(torch.clone, lambda g, y: g),
    "relu": Activation(torch.relu, _relu_backward),
    "tanh": Activation(torch.tanh, _tanh_backward),
}
"""Activation functions by name."""


class Loss(Protocol):
    """From outputs and targets, a row per sample, to mean losses and their gradients with respect to the outputs."""

    def __call__(self, y: torch.Tensor, targets: torch.Tensor, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """A loss for each of so many equal shares of the samples: as many elements; the gradient has the shape of y."""


def _cross_entropy(y: torch.Tensor, targets: torch.Tensor, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    logs = torch.log_softmax(y, dim=1)
    column = targets.view(-1, 1)
    losses = -logs.gather(1, column).view(shares, -1).mean(1)
    residual = logs.exp_()
    residual.scatter_add_(1, column, torch.full_like(column, -1, dtype=y.dtype))
    return losses, residual.div_(y.shape[0] // shares)


def _squared(y: torch.Tensor, targets: torch.Tensor, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    difference, own = y - targets, y.shape[0] // shares
    return 0.5 * (difference * difference).view(shares, -1).sum(1) / own, difference / own


def _mean(y: torch.Tensor, targets: torch.Tensor, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return y.view(shares, -1).mean(1), torch.full_like(y, shares / y.shape[0])


def _next_token(y: torch.Tensor, targets: torch.Tensor, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    losses, residual = _cross_entropy(y.view(targets.numel(), -1), targets, shares)
    return losses, residual.view_as(y)


LOSSES: dict[str, Loss] = {
    "classification": _cross_entropy,
    "quadratic": _mean,
    "regression": _squared,
    "tokens": _next_token,
}
"""Losses by kind of data."""
