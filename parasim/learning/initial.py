"""Initial weights, drawn under the names of blocks and parameters: no cut of a network changes them."""

from __future__ import annotations

import math

import numpy as np
import torch

from parasim.program.draws import Draws
from parasim.workload.blocks import Block, Network, Point
from parasim.workload.costs import Parameter
from parasim.workload.unit import Unit

__all__ = ["InitialWeights", "initial_weights"]

_TRANSFORMER_DEVIATION = 0.02


class InitialWeights:
    """Those of a network's blocks, each drawn when it is first asked for: drawing takes longer than a step may.

    Parameters
    ----------
    network, seed, dtype
        As of :func:`initial_weights`.
    """

    def __init__(self, network: Network, seed: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._network = network
        self._seed = seed
        self._drawn: dict[int, torch.Tensor] = {}

    def of(self, index: int) -> torch.Tensor:
        """Of block `index`, flat; not to be changed."""
        if index not in self._drawn:
            self._drawn[index] = initial_weights(self._network, index, self._seed, self.dtype)
        return self._drawn[index]


def initial_weights(network: Network, index: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Initial weights of block `index`, flat.

    "uniform": bounds of Glorot and Bengio (2010), or of He et al. (2015) after a rectifier. "exact": -1, 0 or 1. The
    point of a quadratic function starts at zero. "standard", by the role of the parameter: filters of convolutions
    normal with deviation ``sqrt(2 / fan_in)`` (He et al. 2015); other weights and tables normal with deviation 0.02 in
    networks on tokens (Radford et al. 2018, without GPT-2's smaller start of residual projections), else uniform
    within the bounds of Glorot and Bengio; weights of recurrent layers uniform within ``1 / sqrt(hidden)``; scales
    one, shifts and biases zero.

    Notes
    -----
    With "exact" weights, integer data, float64, and powers of two as learning rate and batch size, sums come out the
    same in any order (SCHEMES 0.5) as long as 53 bits hold all of a number. A step of a quadratic or of one linear
    layer adds some 7 bits, so that half a dozen steps are exact; with two layers the bits multiply, and two steps are.
    """
    block = network.blocks[index]
    if isinstance(block, Unit):
        first = network.blocks[0]
        on_tokens = isinstance(first, Unit) and any(parameter.role == "table" for parameter in first.cost.parameters)
        values = [_initial(*_origin(first, block, parameter), on_tokens, seed) for parameter in block.cost.parameters]
        return torch.from_numpy(np.concatenate([np.empty(0), *values])).to(dtype)
    count = int(np.prod(block.shape))
    if isinstance(block, Point):
        return torch.zeros(count, dtype=dtype)
    generator = Draws(seed).generator("weights", label=block.name)
    if network.initial == "exact":
        return torch.from_numpy(generator.integers(-1, 2, count)).to(dtype)
    field = block.shape[2:]  # rows and columns of a filter
    fan_in, fan_out = (int(np.prod((channels, *field))) for channels in (block.shape[1], block.shape[0]))
    if network.activation == "relu":
        bound = np.sqrt(6.0 / fan_in)
    else:
        bound = np.sqrt(6.0 / (fan_in + fan_out))
    return torch.from_numpy(generator.uniform(-bound, bound, count)).to(dtype)


def _origin(first: Block, unit: Unit, parameter: Parameter) -> tuple[Parameter, str]:
    """Whose values a parameter of a unit begins with: its own; those of the token vectors, of which it is a copy."""
    if parameter.role == "tied":
        assert isinstance(first, Unit)
        return first.cost.parameters[0], first.name
    return parameter, unit.name


def _initial(
    parameter: Parameter, unit: str, on_tokens: bool, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Values of one parameter of a unit, flat."""
    count = parameter.elements
    if parameter.role in ("scale", "shift", "bias"):
        return np.full(count, 1.0 if parameter.role == "scale" else 0.0)
    generator = Draws(seed).generator("weights", label=f"{unit}.{parameter.name}")
    if parameter.role == "filter":
        return generator.normal(0.0, math.sqrt(2.0 / math.prod(parameter.shape[1:])), count)
    if parameter.role == "recurrent":
        bound = 1.0 / math.sqrt(parameter.shape[0] // 4)
    elif on_tokens:
        return generator.normal(0.0, _TRANSFORMER_DEVIATION, count)
    else:
        bound = math.sqrt(6.0 / sum(parameter.shape))
    return generator.uniform(-bound, bound, count)
