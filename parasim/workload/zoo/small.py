"""The small networks without biases, written in blocks whose backward pass is written out.

References
----------
Yook, Lee, Yoo: A survey on parallel training algorithms for deep neural networks, J. Acoust. Soc. Korea 39(6), 2020
(the multilayer perceptron of equal layers).
"""

from __future__ import annotations

import math

from parasim.errors import ScenarioError
from parasim.workload.blocks import Convolution, Dense, Network, Point
from parasim.workload.data import DataSpec
from parasim.workload.model_options import Cnn, Mlp, Quadratic

__all__ = ["cnn", "mlp", "quadratic"]


def mlp(options: Mlp, data: DataSpec | None) -> Network:
    """`depth` linear layers of `width`; data decide the ends."""
    if data is not None:
        _require_samples_in_and_out("mlp", data)
    sizes = [options.width] * (options.depth + 1)
    if data is not None:
        sizes[0], sizes[-1] = data.input_elements, data.output_elements
    blocks = tuple(Dense(f"linear{i}", sizes[i], sizes[i + 1]) for i in range(options.depth))
    return Network("mlp", blocks, options.activation, options.initial)


def cnn(options: Cnn, data: DataSpec | None) -> Network:
    """Convolutions, the second with stride 2, and a linear layer on square grey images."""
    inputs, outputs = (64, 10)
    if data is not None:
        _require_samples_in_and_out("cnn", data)
        inputs, outputs = data.input_elements, data.output_elements
        if len(data.input_shape) == 3 and data.input_shape[0] != 1:
            raise ScenarioError(
                f"model cnn needs grey images; data {data.name} have {data.input_shape[0]} channels, use lenet5"
            )
    side = math.isqrt(inputs)
    if side * side != inputs:
        raise ScenarioError(f"model cnn needs square images; {inputs} input elements are no square, use an mlp")
    narrow, wide = options.channels, 2 * options.channels
    convolutions = [Convolution("conv0", 1, narrow, side, stride=1), Convolution("conv1", narrow, wide, side, stride=2)]
    half = convolutions[1].side_out
    convolutions += [Convolution(f"conv{i}", wide, wide, half, stride=1) for i in range(2, options.convolutions)]
    last = Dense(f"linear{len(convolutions)}", convolutions[-1].outputs, outputs)
    return Network("cnn", (*convolutions, last), options.activation, options.initial)


def quadratic(options: Quadratic, data: DataSpec | None) -> Network:
    """The point itself."""
    if data is None or data.kind != "quadratic":
        given = "none" if data is None else data.name
        raise ScenarioError(f"model quadratic needs data of kind quadratic, not {given}; add data: {{kind: quadratic}}")
    return Network("quadratic", (Point("point", data.input_elements),), "linear", "uniform")


def _require_samples_in_and_out(model: str, data: DataSpec) -> None:
    if data.kind == "quadratic":
        raise ScenarioError(
            f"data quadratic are a function of the parameters, not samples for model {model}; use model quadratic"
        )
    if data.kind == "tokens":
        raise ScenarioError(f"data {data.name} are sequences of tokens, not numbers for model {model}; use model gpt")
