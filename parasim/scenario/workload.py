"""The section `workload` of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from parasim.fields import described, setting
from parasim.program.batches import Batches
from parasim.program.tensors import ITEMSIZES
from parasim.scenario.check import Section
from parasim.scenario.model import Workload
from parasim.scenario.overrides import apply_overrides, read_override
from parasim.scenario.progress import GROWTH, SEARCH
from parasim.scenario.reader import Places, Tree
from parasim.scenario.tables import data_kinds, model_kinds

if TYPE_CHECKING:
    from parasim.workload import DataSpec

__all__ = ["MAX_LAYERS", "Batch", "read_workload", "without_code", "workload_of_kind"]

MAX_LAYERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What `workload` says beside model and data."""

    batch_size: int = setting("samples per worker (per pipeline) and step", ge=1, le=1_000_000_000)
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = setting(
        "type of every number; learning knows float32 and float64", "float32"
    )


def read_workload(section: Section, code: Path | None) -> Workload:
    """The workload, its model built, its batch constant; `code` is the folder of code that may be run, if any may."""
    from parasim.workload import build_data, build_model

    batch = section.build(Batch, beside=("model", "data", GROWTH, SEARCH))
    data: DataSpec | None = None
    data_kind: str | None = None
    data_options: dict[str, Any] = {}
    if "data" in section.data:
        chosen = section.section("data", example="{kind: digits}")
        data_kind, data_options = chosen.build_kind(data_kinds(), "data")
        if data_options.get("path"):
            data_options["path"] = str(Path(section.places.source).parent / data_options["path"])
        with chosen.blamed(None):
            data = build_data(data_kind, data_options)
    model_section = section.section("model", example="{kind: mlp, width: 1024, depth: 4}")
    kind, options = model_section.build_kind(model_kinds(), "model")
    _check_layers(kind, options, model_section)
    with model_section.blamed(None):
        model = build_model(kind, options, data, ITEMSIZES[batch.dtype], code)
    if len(model.layers) > MAX_LAYERS:
        raise section.error("model", f"{len(model.layers)} layers are too many; the limit is {MAX_LAYERS}")
    return Workload(
        model_kind=kind,
        model_options=options,
        data_kind=data_kind,
        data_options=data_options,
        batch_size=batch.batch_size,
        batches=Batches((batch.batch_size,)),
        dtype=batch.dtype,
        data=data,
        model=model,
    )


def workload_of_kind(kind: str, overrides: Sequence[str], code: Path | None) -> Workload:
    """A workload with no scenario around it, as `parasim models` shows it.

    Parameters
    ----------
    kind
        Of model.
    overrides
        "key=value": options of the model, or `batch_size` (default 1), `dtype`, `data`.
    code
        As in :func:`read_workload`.

    Raises
    ------
    ScenarioError
        If anything in it is wrong.
    """
    read = [read_override(text) for text in overrides]
    beside = ("model", "data", *described(Batch))
    placed = [entry if entry.path[0] in beside else entry._replace(path=("model", *entry.path)) for entry in read]
    tree = apply_overrides(Tree({"model": {"kind": kind}, "batch_size": 1}, Places("models", {}, {})), placed)
    return read_workload(Section(tree.data, (), tree.places), code)


def without_code(document: Mapping[str, Any], workload: Workload) -> dict[str, Any]:
    """The document, with the layers of a model that code has made in place of the code: reading it again runs none."""
    if workload.model_kind != "module":
        return dict(document)
    from parasim.workload.explicit import as_options

    model = {"kind": "layers", **as_options(workload.model)}
    return {**document, "workload": {**document["workload"], "model": model}}


def _check_layers(kind: str, options: Mapping[str, Any], section: Section) -> None:
    """Refuse entries of a list of layers that say no costs, and too many layers, before they are built."""
    from parasim.workload.model_options import LayerCost

    key, layers = "depth", int(options.get("depth", 0))
    if kind == "layers":
        key = "layers"
        for number, entry in enumerate(options["layers"]):
            layer = Section({number: entry}, (*section.path, key), section.places)
            layers += Section(entry, (*layer.path, number), section.places).build(LayerCost, of=" of a layer").repeat
    if layers > MAX_LAYERS:
        raise section.error(key, f"{layers} layers are too many; the limit is {MAX_LAYERS}")
