"""Kinds of models and their builders."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.model import Model
from parasim.workload.blocks import Network
from parasim.workload.choice import choose
from parasim.workload.data import DataSpec
from parasim.workload.explicit import explicit_layers
from parasim.workload.factory import factory_layers
from parasim.workload.model_options import Layers, Module
from parasim.workload.operator_costs import shape_text
from parasim.workload.operators import Operator, TiedLinear
from parasim.workload.sharding import make_shard
from parasim.workload.unit import Unit
from parasim.workload.zoo import ALIASES, ZOO

__all__ = ["MODELS", "build_model", "build_network"]

MODELS: dict[str, type] = {
    "layers": Layers,
    "module": Module,
    **{kind: entry.options for kind, entry in ZOO.items()},
    **{alias: ZOO[kind].options for alias, kind in ALIASES.items()},
}
"""Kinds of models and their options."""


def build_model(
    kind: str, options: Mapping[str, Any], data: DataSpec | None, itemsize: int, code: Path | None = None
) -> Model:
    """Costs of the model of this kind with these options (`MODELS`).

    Parameters
    ----------
    data
        Decides the sizes of inputs and outputs; without it an `mlp` has `depth` equal layers of `width` (the survey's
        setting, first layer's input gradient included: ``6 b L n**2`` FLOP a step), a `cnn` the sizes of the digits,
        and the others those of their papers.
    itemsize
        Bytes per element.
    code
        Folder from which code may be run (kind `module`); None: no code is run.

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown or out of range, or the model does not fit the data.
    """
    chosen = choose("model", MODELS, kind, options)
    if isinstance(chosen, Layers):
        return Model(kind, explicit_layers(chosen, data), itemsize, chosen.needs_input_gradient)
    if isinstance(chosen, Module):
        return Model(kind, factory_layers(chosen, data, code), itemsize)
    network = ZOO[ALIASES.get(kind, kind)].build(chosen, data)
    if data is None:
        model = Model(network.name, network.layers(), itemsize, needs_input_gradient=kind == "mlp")
    else:
        source, loss = f"{data.name} {shape_text(data.input_shape)}", f"{data.kind} {data.outputs}"
        model = Model(network.name, network.layers(), itemsize, source=source, loss=loss)
    return replace(model, splitter=functools.partial(make_shard, network, model))


def build_network(kind: str, options: Mapping[str, Any], data: DataSpec) -> Network:
    """Make the blocks of a model that is to be trained on `data`; they agree with :func:`build_model`.

    Raises
    ------
    ScenarioError
        As :func:`build_model`, and for kinds that are costs only.
    """
    chosen = choose("model", MODELS, kind, options)
    if isinstance(chosen, (Layers, Module)):
        known = ", ".join(sorted(ZOO))
        raise ScenarioError(f"model {kind} has costs but no network and can't be trained; use one of {known}")
    network = ZOO[ALIASES.get(kind, kind)].build(chosen, data)
    if any(_is_tied(block.operators) for block in network.blocks if isinstance(block, Unit)):
        raise ScenarioError(
            f"model {kind} shares weights between its first and its last unit and can't be trained; write tied: false"
        )
    return network


def _is_tied(operators: tuple[Operator, ...]) -> bool:
    return any(isinstance(operator, TiedLinear) for operator in operators)
