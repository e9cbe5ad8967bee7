"""Kinds of models and their builders."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.model import Model, Tied
from parasim.workload.blocks import Network
from parasim.workload.choice import choose
from parasim.workload.data import DataSpec
from parasim.workload.explicit import explicit_layers
from parasim.workload.factory import factory_layers
from parasim.workload.model_options import Layers, Module
from parasim.workload.operator_costs import shape_text
from parasim.workload.sharding import make_shard
from parasim.workload.ties import tie_of, with_copy
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
    return _model_of(ZOO[ALIASES.get(kind, kind)].build(chosen, data), kind, data, itemsize)


def _model_of(network: Network, kind: str, data: DataSpec | None, itemsize: int) -> Model:
    """Costs of a network of the zoo."""
    tie = tie_of(network)
    if data is None:
        model = Model(network.name, network.layers(), itemsize, needs_input_gradient=kind == "mlp", tie=tie)
    else:
        source, loss = f"{data.name} {shape_text(data.input_shape)}", f"{data.kind} {data.outputs}"
        model = Model(network.name, network.layers(), itemsize, source=source, loss=loss, tie=tie)
    if tie is not None and not tie.copied:
        model = replace(model, untie=functools.partial(_untied, network, kind, data, itemsize))
    return replace(model, splitter=functools.partial(make_shard, network, model))


def _untied(network: Network, kind: str, data: DataSpec | None, itemsize: int) -> Model:
    return _model_of(with_copy(network), kind, data, itemsize)


def build_network(kind: str, options: Mapping[str, Any], data: DataSpec, tied: Tied = "") -> Network:
    """Make the blocks of a model that is to be trained on `data`; they agree with :func:`build_model`.

    `tied` says how weights that two layers share are trained (`parasim.program.Scheme.tied`); as "copies", the blocks
    are those of the model that `Model.untie` makes.

    Raises
    ------
    ScenarioError
        As :func:`build_model`, and for kinds that are costs only; or if such weights can't be trained.
    """
    chosen = choose("model", MODELS, kind, options)
    if isinstance(chosen, (Layers, Module)):
        known = ", ".join(sorted(ZOO))
        raise ScenarioError(f"model {kind} has costs but no network and can't be trained; use one of {known}")
    network = ZOO[ALIASES.get(kind, kind)].build(chosen, data)
    if tie_of(network) is None:
        return network
    if not tied:
        raise ScenarioError(
            f"model {kind} shares weights between its first and its last unit, which can't be trained here; use "
            "sequential SGD, a pipeline with a flush or two versions, all-reduce without overlap, or write tied: false"
        )
    return with_copy(network) if tied == "copies" else network
