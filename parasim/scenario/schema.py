"""JSON Schema of scenario files, for editors; made from the same dataclasses and tables that check them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.routing import ROUTINGS
from parasim.cluster.sheets import SHEETS
from parasim.cluster.topologies import TOPOLOGIES
from parasim.fields import default_of, described
from parasim.program.batches import Growth
from parasim.program.searching import Search
from parasim.scenario.changes import CUT, HOST_KEYS, LINK_KEYS
from parasim.scenario.check import adapter
from parasim.scenario.cluster import CLUSTER_KEYS
from parasim.scenario.compression import Composing
from parasim.scenario.devices import FromSheet
from parasim.scenario.evaluation import EVALUATION, Evaluate, StepsModel, Target
from parasim.scenario.load import TOP_LEVEL
from parasim.scenario.model import Execute, Overhead, Run
from parasim.scenario.profiles import PROFILE
from parasim.scenario.progress import GROWTH, SCHEDULE, SEARCH
from parasim.scenario.stragglers import RULE_KEYS
from parasim.scenario.tables import (
    compressor_kinds,
    data_kinds,
    model_kinds,
    optimizer_kinds,
    schedule_kinds,
    scheme_kinds,
)
from parasim.scenario.workload import Batch
from parasim.simulation.noise import LAWS
from parasim.simulation.stragglers import Straggler

__all__ = ["schema", "schema_text"]

_Schema = dict[str, Any]


def schema_text() -> str:
    """What `parasim schema` prints and `parasim/scenario/schema.json` holds."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> _Schema:
    """The schema of a scenario file."""
    hosts: _Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    placement: _Schema = {"type": "object", "additionalProperties": hosts}
    loopback = _section(Link)
    del loopback["required"]
    cluster = {
        PROFILE: _profile(),
        "transport": {"type": "string"},
        "topology": _kinds(TOPOLOGIES),
        "host": _section(Host),
        "device": _device(),
        "link": _section(Link),
        "routing": _kinds(ROUTINGS),
        "hosts": _hosts(),
        "links": {"type": "object", "additionalProperties": _link()},
        "loopback": loopback,
        "noise": _kinds(LAWS),
        "overhead": _section(Overhead),
        "handling": _section(Handling),
        "handling_noise": _kinds(LAWS),
        "handling_cores": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "speeds": {
            "type": "object",
            "patternProperties": {"^[0-9]+$": {"type": "number", "exclusiveMinimum": 0}},
            "additionalProperties": False,
        },
        "stragglers": {"type": "array", "items": _rule()},
        "placement": placement,
    }
    workload = _section(Batch)
    growth = {**_section(Growth), "description": "when the batch grows, and by how much (it does not)"}
    search = {**_section(Search), "description": "sizes of the batch that are tried now and then (none)"}
    workload["properties"] |= {"model": _kinds(model_kinds()), "data": _kinds(data_kinds())}
    workload["properties"] |= {GROWTH: growth, SEARCH: search}
    workload["required"] = ["model", *workload["required"]]
    schedule = {**_kinds(schedule_kinds()), "description": "how the learning rate changes (it is lr)"}
    run = {**_section(Run), "oneOf": [{"required": ["steps"]}, {"required": ["epochs"]}]}
    evaluated = {"evaluate": Evaluate, "target": Target, "steps_model": StepsModel}
    run["properties"]["steps"].pop("default")
    run["properties"]["epochs"].pop("default")
    run["properties"] |= _with_docs({key: _section(cls) for key, cls in evaluated.items()}, EVALUATION)
    top = {
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "workload": workload,
        "cluster": {
            **_object(_with_docs(cluster, CLUSTER_KEYS), []),
            "if": {"not": {"required": [PROFILE]}},
            "then": {"required": ["topology", "device", "link"]},
        },
        "scheme": _kinds({kind: cls.Options for kind, cls in scheme_kinds().items()}, {"placement": placement}),
        "optimizer": _kinds(optimizer_kinds(), {SCHEDULE: schedule}),
        "compression": _kinds(compressor_kinds(), _section(Composing)["properties"]),
        "run": run,
        "execute": _section(Execute),
        "variants": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object"}},
    }
    whole = {"workload", "cluster", "scheme", "run"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A parasim scenario",
        **_object(_with_docs(top, TOP_LEVEL), []),
        "if": {"not": {"required": ["variants"]}},
        "then": {"required": [key for key in top if key in whole]},
    }


def _section(cls: type) -> _Schema:
    """A mapping whose keys are the fields of a dataclass."""
    properties, required = {}, []
    for name, field in described(cls).items():
        entry = adapter(cls, name).json_schema()
        entry["description"] = field.metadata.get("doc", name)
        default = default_of(field)
        if default is MISSING:
            required.append(name)
        elif not field.metadata.get("dimension"):
            entry["default"] = default
        properties[name] = entry
    return _object(properties, required)


def _profile() -> _Schema:
    return {"type": "string", "minLength": 1, "examples": ["my-machine.json"]}


def _device() -> _Schema:
    """The name of a data sheet, or a mapping; all numbers without defaults are needed where it names no sheet."""
    numbers, chosen = _section(Device), _section(FromSheet)
    names = {"examples": list(SHEETS)}
    chosen["properties"]["sheet"] |= names
    return {
        **_object(numbers["properties"] | chosen["properties"], []),
        "type": ["string", "object"],
        **names,
        "if": {"type": "object", "not": {"required": ["sheet"]}},
        "then": {"required": numbers["required"]},
    }


def _hosts() -> _Schema:
    """Hosts and ranges of hosts, and what differs there."""
    keys = {PROFILE: _profile(), "cores": _section(Host)["properties"]["cores"], "device": _device()}
    del keys["cores"]["default"]
    host = _object(_with_docs(keys, HOST_KEYS), [])
    return {"type": "object", "patternProperties": {"^[0-9]+(-[0-9]+)?$": host}, "additionalProperties": False}


def _link() -> _Schema:
    """The word for a cut cable, or what differs."""
    keys = {**_section(Link)["properties"], CUT: {"type": "boolean"}}
    return {**_object(_with_docs(keys, LINK_KEYS), []), "type": ["string", "object"], "pattern": f"^{CUT}$"}


def _rule() -> _Schema:
    """A rule of stragglers."""
    all_of_them = {"if": {"type": "string"}, "then": {"const": "all"}}
    some: _Schema = {"type": ["array", "string"], "items": {"type": "integer", "minimum": 0}, **all_of_them}
    whom = {"workers": some, "role": {"type": "string"}, "actors": some, "noise": _kinds(LAWS)}
    return _object(_with_docs(whom, RULE_KEYS) | _section(Straggler)["properties"], [])


def _object(properties: _Schema, required: list[str]) -> _Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _kinds(table: Mapping[str, type], beside: Mapping[str, _Schema] | None = None) -> _Schema:
    """A mapping whose `kind` says which other keys there are: one branch per kind."""
    branches = []
    for kind, cls in sorted(table.items()):
        section = _section(cls)
        section["properties"] = {"kind": {"const": kind}, **(beside or {}), **section["properties"]}
        branches.append({"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": section})
    kinds = {"kind": {"enum": sorted(table)}}
    return {"type": "object", "properties": kinds, "required": ["kind"], "allOf": branches}


def _with_docs(properties: Mapping[str, _Schema], docs: Mapping[str, str]) -> _Schema:
    return {key: {"description": docs[key], **value} for key, value in properties.items()}
