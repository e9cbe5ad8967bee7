"""Work and depth of a network's operators: how much could be done at once, whatever the machine.

Work W is the number of operations (multiply-adds, where there are such), depth D the longest chain of them that depend
on each other; sums are binary trees. On p processors Brent's bounds hold: max(W/p, D) <= T_p <= W/p + D.

References
----------
Ben-Nun and Hoefler (2019), Demystifying parallel and distributed deep learning, sections 2.3 and 4; Brent (1974), The
parallel evaluation of general arithmetic expressions; SCHEMES 14.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WorkDepth", "convolution", "fully_connected", "mlp_step", "pooling"]


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


def _tree(terms: int) -> int:
    """Levels of a binary tree that sums so many terms: ceil(log2)."""
    return (terms - 1).bit_length()


def fully_connected(samples: int, inputs: int, outputs: int) -> tuple[WorkDepth, WorkDepth, WorkDepth]:
    """Forward pass, gradient to weights, gradient to inputs: N C_in C_out each; sums over inputs, samples, outputs."""
    work = float(samples * inputs * outputs)
    return WorkDepth(work, _tree(inputs)), WorkDepth(work, _tree(samples)), WorkDepth(work, _tree(outputs))


def convolution(
    samples: int, channels: tuple[int, int], image: tuple[int, int], kernel: tuple[int, int], output: tuple[int, int]
) -> tuple[WorkDepth, WorkDepth, WorkDepth]:
    """The same of a direct convolution.

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
    window = _tree(kernel[0]) + _tree(kernel[1])
    forward = WorkDepth(pairs * output[0] * output[1], window + _tree(entering))
    weights = WorkDepth(pairs * output[0] * output[1], _tree(samples) + _tree(output[0]) + _tree(output[1]))
    inputs = WorkDepth(pairs * image[0] * image[1], window + _tree(leaving))
    return forward, weights, inputs


def pooling(samples: int, channels: int, kernel: tuple[int, int], output: tuple[int, int]) -> WorkDepth:
    """Forward pass: N C H' W' K_x K_y; a tree over the window."""
    work = float(samples * channels * output[0] * output[1] * kernel[0] * kernel[1])
    return WorkDepth(work, _tree(kernel[0]) + _tree(kernel[1]))


def mlp_step(layers: int, width: int, samples: int) -> WorkDepth:
    """Forward and backward pass of L equal fully connected layers: W = 3 b L n**2, D = 2 L ceil(log2 n) + ceil(log2 b).

    Gradients to weights wait for nobody but the last of them, that of the first layer. Non-linearities are left out.
    """
    forward, weights, inputs = fully_connected(samples, width, width)
    step = WorkDepth(0.0, 0.0)
    for _ in range(layers):
        step = step.then(forward)
    for _ in range(layers):
        step = step.then(inputs.beside(WorkDepth(weights.work, 0.0)))
    return step.then(WorkDepth(0.0, weights.depth))
