"""Work and depth of a network's operators: how much could be done at once, whatever the machine.

Work W is the number of operations (multiply-adds, where there are such), depth D the longest chain of them that depend
on each other. Sums are binary trees, dimension by dimension where there are several, and their levels are what depth
counts: the products that a sum is of come with its first level. An element-wise operation is one level. On p processors
Brent's bounds hold: max(W/p, D) <= T_p <= W/p + D.

References
----------
Ben-Nun and Hoefler (2019), Demystifying parallel and distributed deep learning, sections 2.3 and 4; Brent (1974), The
parallel evaluation of general arithmetic expressions; SCHEMES 14. What is from memory there is derived here, and
counted on explicit graphs in tests/test_theory_concurrency.py; convolution by other ways than the direct one is in
`parasim.theory.convolutions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "NOTHING",
    "Passes",
    "WorkDepth",
    "attention",
    "batch_norm",
    "convolution",
    "elementwise",
    "fully_connected",
    "layer_norm",
    "levels",
    "lstm",
    "mlp_step",
    "pooling",
    "softmax",
    "training_step",
]


@dataclass(frozen=True, slots=True)
class WorkDepth:
    """Work and depth, in operations."""

    work: float
    depth: float

    def then(self, other: WorkDepth) -> WorkDepth:
        """One after the other: both add."""
        return WorkDepth(self.work + other.work, self.depth + other.depth)

    def beside(self, other: WorkDepth) -> WorkDepth:
        """At the same time: work adds, the deeper one counts."""
        return WorkDepth(self.work + other.work, max(self.depth, other.depth))

    @property
    def parallelism(self) -> float:
        """Average number of processors that are of use: W / D."""
        return self.work / self.depth

    def bounds(self, processors: int) -> tuple[float, float]:
        """Brent: no schedule is faster than the first on so many processors, a greedy one no slower than the second."""
        return max(self.work / processors, self.depth), self.work / processors + self.depth


NOTHING = WorkDepth(0.0, 0.0)


class Passes(NamedTuple):
    """An operator's forward pass, and its gradients to weights and to inputs."""

    forward: WorkDepth
    weights: WorkDepth
    inputs: WorkDepth


def levels(terms: int) -> int:
    """Levels of a binary tree that sums so many terms: ceil(log2)."""
    return (terms - 1).bit_length()


def fully_connected(samples: int, inputs: int, outputs: int) -> Passes:
    """Forward pass, gradient to weights, gradient to inputs: N C_in C_out each; sums over inputs, samples, outputs."""
    work = float(samples * inputs * outputs)
    return Passes(WorkDepth(work, levels(inputs)), WorkDepth(work, levels(samples)), WorkDepth(work, levels(outputs)))


def convolution(
    samples: int, channels: tuple[int, int], image: tuple[int, int], kernel: tuple[int, int], output: tuple[int, int]
) -> Passes:
    """The same of a direct convolution; what the borders' zeros are multiplied with is counted, in all three.

    Parameters
    ----------
    samples
        N.
    channels
        C_in and C_out.
    image, kernel, output
        Height and width of the input, of the kernel, of the output.
    """
    entering, leaving = channels
    pairs = float(samples * entering * leaving * kernel[0] * kernel[1])
    window = levels(kernel[0]) + levels(kernel[1])
    forward = WorkDepth(pairs * output[0] * output[1], window + levels(entering))
    weights = WorkDepth(pairs * output[0] * output[1], levels(samples) + levels(output[0]) + levels(output[1]))
    inputs = WorkDepth(pairs * image[0] * image[1], window + levels(leaving))
    return Passes(forward, weights, inputs)


def pooling(
    samples: int, channels: int, kernel: tuple[int, int], output: tuple[int, int], stride: tuple[int, int] | None = None
) -> Passes:
    """N C H' W' K_x K_y forward, in a tree over the window; as much back.

    An input gets gradients from the ceil(K / stride) windows per dimension that it lies in, and sums them; where
    windows don't overlap (stride K, the default) that is one level, a selection or a division.
    """
    rows, columns = stride or kernel
    work = float(samples * channels * output[0] * output[1] * kernel[0] * kernel[1])
    back = levels(-(-kernel[0] // rows)) + levels(-(-kernel[1] // columns))
    return Passes(WorkDepth(work, levels(kernel[0]) + levels(kernel[1])), NOTHING, WorkDepth(work, max(1, back)))


def elementwise(elements: int) -> Passes:
    """An activation function, or an addition: one level each way."""
    return Passes(WorkDepth(elements, 1), NOTHING, WorkDepth(elements, 1))


def batch_norm(samples: int, channels: int, image: tuple[int, int]) -> Passes:
    """Normalisation of each channel over batch, rows and columns: 4 N C H W each way.

    Forward the mean, the difference from it, the sum of squares, scaling and shift. Back the sums of the gradient and
    of its product with the normalised input, side by side, which are the gradients of shift and scale; then two
    multiply-adds per element. What is done once per channel is not counted.
    """
    elements = samples * channels * image[0] * image[1]
    return _norm(elements, levels(samples) + levels(image[0]) + levels(image[1]))


def layer_norm(samples: int, tokens: int, width: int) -> Passes:
    """The same over the last dimension; gradients of scale and shift are sums over samples and tokens."""
    elements = samples * tokens * width
    forward, _, inputs = _norm(elements, levels(width))
    return Passes(forward, WorkDepth(2.0 * elements, levels(samples) + levels(tokens)), inputs)


def _norm(elements: int, tree: int) -> Passes:
    work = 4.0 * elements
    return Passes(WorkDepth(work, 2 * tree + 2), NOTHING, WorkDepth(work, tree + 2))


def softmax(rows: int, terms: int) -> Passes:
    """Maximum, difference and exponential, sum, quotient; back p (dp - sum of p dp): a sum and two operations."""
    elements = float(rows * terms)
    return Passes(WorkDepth(4 * elements, 2 * levels(terms) + 2), NOTHING, WorkDepth(3 * elements, levels(terms) + 2))


def attention(samples: int, tokens: int, width: int, heads: int) -> Passes:
    """Self-attention, projections included: four products with weights, two of T x T, and a softmax (T tokens).

    W = N T 4 d**2 + N h (2 T**2 d_h + 4 T**2) forward, with d_h = d / h; D = 2 log2 d + log2 d_h + log2 T and the
    softmax's 2 log2 T + 2. Back, values and probabilities first, then queries beside keys: twice the products of T x T.
    Gradients of weights wait for what the other gradients do; their own sums are over samples and tokens.
    """
    size, batch = width // heads, samples * heads
    into, out = fully_connected(samples * tokens, width, 3 * width), fully_connected(samples * tokens, width, width)
    scores = WorkDepth(float(batch * tokens * tokens * size), levels(size))
    values = WorkDepth(float(batch * tokens * tokens * size), levels(tokens))
    normal = softmax(batch * tokens, tokens)
    forward = into.forward.then(scores).then(normal.forward).then(values).then(out.forward)
    middle = values.beside(scores.then(normal.inputs).then(values.beside(values)))  # dV; dP, dS, then dQ and dK
    inputs = out.inputs.then(middle).then(into.inputs)
    return Passes(forward, out.weights.beside(into.weights), inputs)


def lstm(samples: int, tokens: int, inputs: int, hidden: int) -> Passes:
    """Four gates per token, each a sum over inputs and state; token after token, which is what bounds it.

    Per token a product of (inputs + hidden) with 4 hidden, and five levels: four gates, two products, their sum, tanh,
    product with the output gate. Back: products of the output's gradient with gate and tanh (2 operations), the
    cell's gradient (1), those of the gates and of the cell before (4), through the gates' functions (4), sums over the
    4 hidden gates, and the addition to the output's gradient of the token before (1). Weights' gradients are sums over
    samples and tokens; biases are not counted.
    """
    products = samples * 4 * hidden * (inputs + hidden)
    forward = WorkDepth(tokens * float(products + 9 * samples * hidden), tokens * (levels(inputs + hidden) + 5))
    back = WorkDepth(tokens * float(products + 12 * samples * hidden), tokens * (levels(4 * hidden) + 5))
    return Passes(forward, WorkDepth(tokens * products, levels(samples) + levels(tokens)), back)


def training_step(chain: Sequence[Passes], input_gradient: bool = False) -> WorkDepth:
    """Forward and backward pass of operators in series.

    Gradients to weights wait for the error that reaches their operator, and nobody waits for them: the depth is that of
    the forward pass and of the longest of these ends. The first operator needs no gradient to its inputs, unless
    `input_gradient`.
    """
    work = sum(passes.forward.work + passes.weights.work + passes.inputs.work for passes in chain)
    depth = sum(passes.forward.depth for passes in chain)
    ends, reached = [0.0], 0.0
    for passes in reversed(chain):
        ends.append(reached + passes.weights.depth)
        reached += passes.inputs.depth
    if chain and not input_gradient:
        work -= chain[0].inputs.work
        reached -= chain[0].inputs.depth
    return WorkDepth(work, depth + max(*ends, reached))


def mlp_step(layers: int, width: int, samples: int) -> WorkDepth:
    """Forward and backward pass of L equal fully connected layers: W = 3 b L n**2, D = 2 L ceil(log2 n) + ceil(log2 b).

    Gradients to weights wait for nobody but the last of them, that of the first layer. Non-linearities are left out.
    """
    forward, weights, inputs = fully_connected(samples, width, width)
    step = training_step([Passes(forward, NOTHING, inputs.beside(WorkDepth(weights.work, 0.0)))] * layers, True)
    return step.then(WorkDepth(0.0, weights.depth))
