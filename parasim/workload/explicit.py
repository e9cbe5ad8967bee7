"""Models given as a list of layer costs."""

from __future__ import annotations

import itertools
import math
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.model import Layer, Model
from parasim.workload.choice import read_options
from parasim.workload.data import DataSpec
from parasim.workload.model_options import LayerCost, Layers

__all__ = ["as_options", "explicit_layers"]


def explicit_layers(options: Layers, data: DataSpec | None) -> tuple[Layer, ...]:
    """Layers of a list of costs, with defaults filled in and sizes checked against the data and each other.

    Raises
    ------
    ScenarioError
        If the list is empty, an entry is wrong, or sizes do not fit each other or the data.
    """
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


def as_options(model: Model) -> dict[str, Any]:
    """The same model as options of kind `layers`, ready for a document."""
    return {
        "layers": [
            {
                "name": layer.name,
                "parameters": layer.parameters,
                "forward_flops": layer.forward_flops,
                "input_flops": layer.input_flops,
                "weight_flops": layer.weight_flops,
                "input_elements": layer.input_elements,
                "output_elements": layer.output_elements,
                "stored_elements": layer.stored_elements,
                **({"shapes": [list(shape) for shape in layer.shapes]} if layer.shapes else {}),
            }
            for layer in model.layers
        ],
        "needs_input_gradient": model.needs_input_gradient,
    }


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
        shapes=_shapes(cost, name),
    )


def _shapes(cost: LayerCost, name: str) -> tuple[tuple[int, ...], ...]:
    """Shapes of a layer's arrays, which must hold its parameters."""
    given: Any = cost.shapes
    lists = isinstance(given, (list, tuple)) and all(isinstance(shape, (list, tuple)) and shape for shape in given)
    if not lists or not all(type(extent) is int and extent > 0 for shape in given for extent in shape):
        raise ScenarioError(f"model layers: shapes of {name} must be lists of positive integers, as in [[64, 32]]")
    held = sum(math.prod(shape) for shape in given)
    if given and held != cost.parameters:
        raise ScenarioError(
            f"model layers: the shapes of {name} hold {held} elements, but it has {cost.parameters} parameters; make "
            "them equal"
        )
    return tuple(tuple(shape) for shape in given)


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
