"""The list of models, and the layers of one: FLOP, parameters and activations by batch and type of numbers."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parasim.report.text import Column, table
from parasim.units import format_quantity

if TYPE_CHECKING:
    from parasim.scenario.model import Workload

__all__ = ["layers_entry", "layers_text", "models_entries", "models_text"]

_WIDTH = 120
_ITEMSIZE = 4


def models_entries() -> list[dict[str, Any]]:
    """What every kind of model is, with its default options and without data; ready for JSON.

    Figures are of one sample in float32; null for kinds that are nothing without options or data.
    """
    from parasim.workload import MODELS, build_model
    from parasim.workload.zoo import ALIASES, ZOO

    entries = []
    for kind, options in MODELS.items():
        if kind in ALIASES:
            continue
        entry: dict[str, Any] = {
            "kind": kind,
            "aliases": sorted(alias for alias, meant in ALIASES.items() if meant == kind),
            "summary": (inspect.getdoc(options) or "").partition("\n")[0],
            "paper": ZOO[kind].paper if kind in ZOO else "",
            "options": {field.name: field.metadata["doc"] for field in dataclasses.fields(options)},
        }
        figures: dict[str, Any] = dict.fromkeys(("parameters", "forward_flops", "activation_bytes", "units"))
        if kind not in ("layers", "module", "quadratic"):
            model = build_model(kind, {}, None, _ITEMSIZE)
            whole = model.whole
            figures = {
                "parameters": whole.parameters,
                "forward_flops": whole.forward_flops,
                "activation_bytes": whole.stored_elements * _ITEMSIZE,
                "units": len(model.layers),
            }
        entries.append(entry | figures)
    return entries


def models_text() -> str:
    """The list as a table."""
    entries = models_entries()
    columns = [
        Column("kind", [", ".join([entry["kind"], *entry["aliases"]]) for entry in entries], least=12),
        Column("parameters", [_or_dash(entry["parameters"], "{:,}") for entry in entries]),
        Column("forward\nper sample", [_flop(entry["forward_flops"]) for entry in entries]),
        Column("activations\nper sample", [_bytes(entry["activation_bytes"]) for entry in entries]),
        Column("units", [_or_dash(entry["units"], "{}") for entry in entries]),
        Column("paper, or what it is", [entry["paper"] or entry["summary"] for entry in entries], least=20),
    ]
    footer = [
        "With default options and without data. forward: FLOP, a multiply-add being two. activations: kept from",
        "forward to backward, in float32. units: the links between which schemes cut; parasim models KIND lists them.",
    ]
    return "\n".join([*table(columns, _WIDTH), "", *footer])


def layers_entry(workload: Workload) -> dict[str, Any]:
    """Layers of a workload's model, and their sums; FLOP and activations of a batch, ready for JSON.

    What training does not compute, the gradient to the inputs of the first layer, is zero.
    """
    model, batch, itemsize = workload.model, workload.batch_size, workload.model.itemsize
    layers: list[dict[str, Any]] = []
    for place, layer in enumerate(model.layers):
        needed = place > 0 or model.needs_input_gradient
        layers.append(
            {
                "name": layer.name,
                "forward_flops": batch * layer.forward_flops,
                "input_flops": batch * layer.input_flops if needed else 0.0,
                "weight_flops": batch * layer.weight_flops,
                "parameters": layer.parameters,
                "parameter_bytes": layer.parameters * itemsize,
                "output_bytes": batch * layer.output_elements * itemsize,
                "activation_bytes": batch * layer.stored_elements * itemsize,
            }
        )
    sums = {key: sum(layer[key] for layer in layers) for key in layers[0] if key not in ("name", "output_bytes")}
    head = {"model": workload.model_kind, "batch_size": batch, "dtype": workload.dtype}
    return head | {"data": workload.data_kind, "layers": layers, "total": sums}


def layers_text(entry: Mapping[str, Any]) -> str:
    """The same as a table."""
    layers: Sequence[Mapping[str, Any]] = [*entry["layers"], {"name": "total", "output_bytes": None, **entry["total"]}]
    columns = [
        Column("layer", [layer["name"] for layer in layers], least=12),
        Column("forward", [_flop(layer["forward_flops"]) for layer in layers]),
        Column("backward\nto inputs", [_flop(layer["input_flops"]) for layer in layers]),
        Column("backward\nto weights", [_flop(layer["weight_flops"]) for layer in layers]),
        Column("parameters", [f"{layer['parameters']:,}" for layer in layers]),
        Column("parameter\nbytes", [_bytes(layer["parameter_bytes"]) for layer in layers]),
        Column("output", [_bytes(layer["output_bytes"]) for layer in layers]),
        Column("activations", [_bytes(layer["activation_bytes"]) for layer in layers]),
    ]
    data = f" on data {entry['data']}" if entry["data"] else ""
    samples = "1 sample" if entry["batch_size"] == 1 else f"{entry['batch_size']} samples"
    title = f"{entry['model']}{data}: a batch of {samples} in {entry['dtype']}"
    footer = [
        "FLOP, a multiply-add being two; training needs no gradient to the inputs of the first layer (but the survey's",
        "closed forms count it: mlp without data). output: what a cut after the layer sends. activations: kept from",
        "forward to backward.",
    ]
    return "\n".join([title, "", *table(columns, _WIDTH), "", *footer])


def _flop(value: float | None) -> str:
    if value == 0:
        return "0"
    return "-" if value is None else format_quantity(value, "FLOP")


def _bytes(value: float | None) -> str:
    return "-" if value is None else format_quantity(value, "bytes")


def _or_dash(value: int | None, form: str) -> str:
    return "-" if value is None else form.format(value)
