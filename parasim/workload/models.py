"""Kinds of models and their builders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.model import Layer, Model
from parasim.workload.blocks import Convolution, Dense, Network, Point
from parasim.workload.choice import choose, read_options
from parasim.workload.data import DataSpec
from parasim.workload.model_options import Cnn, LayerCost, Layers, Mlp, Quadratic

__all__ = ["MODELS", "build_model", "build_network"]

MODELS: dict[str, type] = {"cnn": Cnn, "layers": Layers, "mlp": Mlp, "quadratic": Quadratic}
"""Kinds of models and their options."""


def build_model(kind: str, options: Mapping[str, Any], data: DataSpec | None, itemsize: int) -> Model:
    """Costs of the model of this kind with these options (`MODELS`).

    Parameters
    ----------
    data
        Decides the sizes of inputs and outputs; without it an `mlp` has `depth` equal layers of `width` (the survey's
        setting, first layer's input gradient included: ``6 b L n**2`` FLOP a step), a `cnn` the sizes of the digits.
    itemsize
        Bytes per element.

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown or out of range, or the model does not fit the data.
    """
    chosen = choose("model", MODELS, kind, options)
    if isinstance(chosen, Layers):
        return Model(kind, _explicit(chosen, data), itemsize, chosen.needs_input_gradient)
    network = _NETWORKS[kind](chosen, data)
    return Model(kind, network.layers(), itemsize, needs_input_gradient=kind == "mlp" and data is None)


def build_network(kind: str, options: Mapping[str, Any], data: DataSpec) -> Network:
    """Make the blocks of a model that is to be trained on `data`; they agree with :func:`build_model`.

    Raises
    ------
    ScenarioError
        As :func:`build_model`, and for kinds that are costs only.
    """
    chosen = choose("model", MODELS, kind, options)
    if kind not in _NETWORKS:
        known = ", ".join(sorted(_NETWORKS))
        raise ScenarioError(f"model {kind} has costs but no network and can't be trained; use one of {known}")
    return _NETWORKS[kind](chosen, data)


def _mlp(options: Mlp, data: DataSpec | None) -> Network:
    if data is not None:
        _require_samples_in_and_out("mlp", data)
    sizes = [options.width] * (options.depth + 1)
    if data is not None:
        sizes[0], sizes[-1] = data.input_elements, data.output_elements
    blocks = tuple(Dense(f"linear{i}", sizes[i], sizes[i + 1]) for i in range(options.depth))
    return Network("mlp", blocks, options.activation, options.initial)


def _cnn(options: Cnn, data: DataSpec | None) -> Network:
    inputs, outputs = (64, 10)
    if data is not None:
        _require_samples_in_and_out("cnn", data)
        inputs, outputs = data.input_elements, data.output_elements
    side = math.isqrt(inputs)
    if side * side != inputs:
        raise ScenarioError(f"model cnn needs square images; {inputs} input elements are no square, use an mlp")
    first = Convolution("conv0", 1, options.channels, side, stride=1)
    second = Convolution("conv1", options.channels, 2 * options.channels, first.side_out, stride=2)
    blocks = (first, second, Dense("linear2", second.outputs, outputs))
    return Network("cnn", blocks, options.activation, options.initial)


def _quadratic(options: Quadratic, data: DataSpec | None) -> Network:
    if data is None or data.kind != "quadratic":
        given = "none" if data is None else data.name
        raise ScenarioError(f"model quadratic needs data of kind quadratic, not {given}; add data: {{kind: quadratic}}")
    return Network("quadratic", (Point("point", data.input_elements),), "linear", "uniform")


_NETWORKS: dict[str, Callable[[Any, DataSpec | None], Network]] = {"cnn": _cnn, "mlp": _mlp, "quadratic": _quadratic}


def _require_samples_in_and_out(model: str, data: DataSpec) -> None:
    if data.kind == "quadratic":
        raise ScenarioError(
            f"data quadratic are a function of the parameters, not samples for model {model}; use model quadratic"
        )


def _explicit(options: Layers, data: DataSpec | None) -> tuple[Layer, ...]:
    """Layers of a list of costs, with defaults filled in and sizes checked against the data and each other."""
    if not options.layers:
        raise ScenarioError("model layers: the list of layers is empty; give at least one")
    layers: list[Layer] = []
    for number, entry in enumerate(options.layers):
        cost = entry if isinstance(entry, LayerCost) else read_options(f"layer {number}", LayerCost, entry)
        for copy in range(cost.repeat):
            entering = cost.input_elements
            if entering < 0:
                entering = layers[-1].output_elements if layers else cost.output_elements
                if not layers and data is not None:
                    entering = data.input_elements
            name = cost.name or f"layer{number}"
            layers.append(_layer(cost, name if cost.repeat == 1 else f"{name}.{copy}", entering))
    _check_chain(layers, data)
    return tuple(layers)


def _layer(cost: LayerCost, name: str, entering: int) -> Layer:
    weight_default = cost.forward_flops if cost.parameters else 0.0
    return Layer(
        name,
        cost.parameters,
        cost.forward_flops,
        cost.forward_flops if cost.input_flops < 0 else cost.input_flops,
        weight_default if cost.weight_flops < 0 else cost.weight_flops,
        entering,
        cost.output_elements,
        entering if cost.stored_elements < 0 else cost.stored_elements,
    )


def _check_chain(layers: list[Layer], data: DataSpec | None) -> None:
    """Every layer takes what the one before gives; the ends fit the data; names differ."""
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            raise ScenarioError(f"model layers: two layers are named {layer.name!r}; give each its own name")
        seen.add(layer.name)
    for before, after in itertools.pairwise(layers):
        if before.output_elements != after.input_elements:
            raise ScenarioError(
                f"model layers: {before.name} gives {before.output_elements} elements but {after.name} takes "
                f"{after.input_elements}; make them equal"
            )
    if data is not None and (layers[0].input_elements, layers[-1].output_elements) != (
        data.input_elements,
        data.output_elements,
    ):
        raise ScenarioError(
            f"model layers: takes {layers[0].input_elements} and gives {layers[-1].output_elements} elements, but data "
            f"{data.name} have {data.input_elements} and {data.output_elements}; make them equal or drop the data"
        )
