"""Blocks of networks: sizes and costs of each kind. parasim/learning computes with the same blocks.

A block applies the activation function to its inputs (the first block: nothing), then its linear map. So it keeps
exactly its activated inputs from forward to backward, and what crosses a cut of the network is one block's output. The
last block ends in the loss and keeps the loss's residual too. Element-wise work is not counted (SCHEMES 0.3).

The networks of the zoo are chains of units instead (parasim/workload/unit.py): a unit holds its own activation
functions, and nothing is applied between units.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from parasim.program.model import Layer
from parasim.workload.unit import Unit

__all__ = ["Block", "Convolution", "Dense", "Ending", "Network", "Point"]


@dataclass(frozen=True, slots=True)
class Dense:
    """``y = x W'`` with W of `outputs` rows and `inputs` columns, row-major."""

    name: str
    inputs: int
    outputs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters."""
        return (self.outputs, self.inputs)

    def layer(self, last: bool) -> Layer:
        """Costs per sample: 2 FLOP per weight forward, and as many to inputs and to weights."""
        flops = 2.0 * self.inputs * self.outputs
        stored = self.inputs + (self.outputs if last else 0)
        words = f"linear {self.inputs}->{self.outputs}"
        size = self.inputs * self.outputs
        return Layer(
            self.name, size, flops, flops, flops, self.inputs, self.outputs, stored, "linear", words, (self.shape,)
        )


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 3x3 convolution of square images with padding 1; parameters in the order (out, in, row, column)."""

    name: str
    channels_in: int
    channels_out: int
    side_in: int
    stride: int

    @property
    def side_out(self) -> int:
        """Rows and columns of the output."""
        return (self.side_in - 1) // self.stride + 1

    @property
    def inputs(self) -> int:
        """Elements per sample that enter."""
        return self.channels_in * self.side_in**2

    @property
    def outputs(self) -> int:
        """Elements per sample that leave."""
        return self.channels_out * self.side_out**2

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters."""
        return (self.channels_out, self.channels_in, 3, 3)

    def layer(self, last: bool) -> Layer:
        """Costs per sample; the padding's multiplications by zero are counted, as libraries perform them."""
        weights = 9 * self.channels_in * self.channels_out
        flops = 2.0 * weights * self.side_out**2
        stored = self.inputs + (self.outputs if last else 0)
        words = (
            f"conv 3x3 {self.channels_in}->{self.channels_out} of {self.side_in}x{self.side_in} stride {self.stride}"
        )
        return Layer(
            self.name, weights, flops, flops, flops, self.inputs, self.outputs, stored, "conv", words, (self.shape,)
        )


@dataclass(frozen=True, slots=True)
class Point:
    """The point w of a quadratic function; a sample's inputs are the noise it adds to the gradient."""

    name: str
    inputs: int
    outputs: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters."""
        return (self.inputs,)

    def layer(self, last: bool) -> Layer:
        """Costs per sample: ``H (w - w*)`` forward, adding the noise backward."""
        size = self.inputs
        flops = 2.0 * size * size
        words = f"quadratic {size}"
        return Layer(self.name, size, flops, 0.0, float(size), size, self.outputs, size, "quadratic", words)


@dataclass(frozen=True, slots=True)
class Ending:
    """Nothing but the loss of its inputs, to which no activation function is applied."""

    name: str
    inputs: int

    @property
    def outputs(self) -> int:
        """Elements per sample that leave."""
        return self.inputs

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters: there are none."""
        return (0,)

    def layer(self, last: bool) -> Layer:
        """No FLOP; the loss's residual is kept."""
        return Layer(self.name, 0, 0.0, 0.0, 0.0, self.inputs, self.inputs, self.inputs, "ending", f"{self.inputs}")


Block = Dense | Convolution | Point | Ending | Unit


@dataclass(frozen=True, slots=True)
class Network:
    """A chain of blocks that can be trained: what `parasim.learning` computes.

    Attributes
    ----------
    blocks
        Either units, or blocks of the other kinds.
    activation
        Function between blocks; "linear" between units.
    initial
        "uniform" or "exact" (`parasim.workload.model_options`); "standard" for units: what the role of each parameter
        asks for.
    """

    name: str
    blocks: tuple[Block, ...]
    activation: str
    initial: str

    def layers(self, apart: bool = False) -> tuple[Layer, ...]:
        """Costs of all blocks; an array that two of them keep is counted once, with the later, unless they are `apart`.

        Apart: what one leaves is sent or gathered before the next takes it, so each keeps its own.
        """
        layers: list[Layer] = []
        for block, following in itertools.zip_longest(self.blocks, self.blocks[1:]):
            if isinstance(block, Unit):
                shared = isinstance(following, Unit) and following.cost.keeps_input and not apart
                layers.append(block.layer(following is None, keeps_output=not shared))
            else:
                layer = block.layer(following is None)
                activated = layers and not isinstance(block, Ending)
                words = f"{self.activation} {layer.signature}" if activated else layer.signature
                layers.append(replace(layer, signature=words))
        return tuple(layers)
