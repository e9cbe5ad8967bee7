"""Options of every kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from parasim.fields import setting
from parasim.program.scheme import option

__all__ = [
    "Cnn",
    "LayerCost",
    "Layers",
    "Mlp",
    "Module",
    "Quadratic",
]

_ACTIVATION = "function between the layers"
_INITIAL = "initial weights: uniform (Glorot or He bounds), or exact (-1, 0 or 1; bit-exact sums in float64)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A multilayer perceptron without biases; with data, they decide the input and output sizes."""

    width: int = option(256, "neurons of a layer", ge=1)
    depth: int = option(2, "number of weight matrices", ge=1)
    activation: Literal["tanh", "relu", "linear"] = option("tanh", _ACTIVATION)
    initial: Literal["uniform", "exact"] = option("uniform", _INITIAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cnn:
    """3x3 convolutions (the second with stride 2) and a linear layer, without biases, on square grey images."""

    channels: int = option(8, "channels of the first convolution; the others have twice as many", ge=1)
    convolutions: int = option(2, "number of convolutions", ge=2)
    activation: Literal["tanh", "relu", "linear"] = option("relu", _ACTIVATION)
    initial: Literal["uniform", "exact"] = option("uniform", _INITIAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """Costs of one entry of a `layers` model, per sample; a value of -1 stands for the default it names."""

    name: str = option("", "name (default: layer and its number)")
    parameters: int = option(0, "number of parameter elements", ge=0)
    forward_flops: float = option(0.0, "FLOP of the forward pass", ge=0)
    input_flops: float = option(-1.0, "FLOP of the gradient to the inputs (-1: as forward)", ge=-1)
    weight_flops: float = option(
        -1.0, "FLOP of the gradient to the weights (-1: as forward, 0 without parameters)", ge=-1
    )
    input_elements: int = option(
        -1,
        "elements that enter (-1: those that leave the layer before; first layer: of the data, or as many as leave)",
        ge=-1,
    )
    output_elements: int = option(1, "elements that leave", ge=1)
    stored_elements: int = option(-1, "elements kept from forward to backward (-1: those that enter)", ge=-1)
    repeat: int = option(1, "how many such layers follow each other", ge=1)
    shapes: tuple[tuple[int, ...], ...] = option(
        (), "shapes of its arrays of parameters, as in [[64, 32], [64]] (none: one vector); compressors work by them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Layers given by their costs; such a model can be simulated but not trained."""

    layers: tuple[Mapping[str, Any], ...] = option((), "list of layer costs (LayerCost), first layer first")
    needs_input_gradient: bool = option(False, "count the first layer's gradient to its input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadratic:
    """One layer whose parameters are the point w of a quadratic function; needs data of kind quadratic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """Any torch.nn.Module, read on the meta device; such a model can be simulated but not trained."""

    factory: str = setting('function "package.module:name" beside the scenario file or installed; needs --allow-code')
    arguments: Mapping[str, Any] = field(default_factory=dict, metadata={"doc": "arguments of the function, by name"})
    input: tuple[int, ...] = option((), "shape of one sample, as in [3, 224, 224] (default: the data's)", ge=1)
    input_dtype: Literal["float32", "int64"] = option("float32", "type of the input; int64: token numbers")
