"""The JSON Schema of scenario files: current, and true to what the loader takes."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import parasim
from parasim.scenario.schema import schema, schema_text
from parasim.schemes import SCHEMES

COMMITTED = Path(parasim.__file__).parent / "scenario" / "schema.json"
EXAMPLE = """
name: eight workers behind one switch
workload:
  model: {kind: mlp, width: 1024, depth: 4}
  batch_size: 64
  data: {kind: digits}
cluster:
  topology: {kind: star, hosts: 8}
  host: {cores: 1}
  device: {flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}
  link: {bandwidth: 10 Gbit/s, latency: 50 us}
  noise: {kind: lognormal, sigma: 0.1}
scheme: {kind: allreduce, algorithm: ring, workers: 8}
optimizer: {kind: sgd, lr: 0.1}
run: {steps: 100, seed: 0, learn: false}
"""
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def accepts(rule: Any, value: Any) -> bool:
    """A validator of the keywords that the schema uses."""
    if not isinstance(rule, dict):
        return bool(rule)
    kinds = [rule["type"]] if isinstance(rule.get("type"), str) else rule.get("type", [])
    if kinds and not any(isinstance(value, TYPES[k]) and (k == "boolean" or value is not True) for k in kinds):
        return False
    if ("const" in rule and value != rule["const"]) or ("enum" in rule and value not in rule["enum"]):
        return False
    if "not" in rule and accepts(rule["not"], value):
        return False
    if "if" in rule and accepts(rule["if"], value) and not accepts(rule["then"], value):
        return False
    if isinstance(value, int | float) and not (
        value >= rule.get("minimum", value)
        and value <= rule.get("maximum", value)
        and (value > rule["exclusiveMinimum"] if "exclusiveMinimum" in rule else True)
        and (value < rule["exclusiveMaximum"] if "exclusiveMaximum" in rule else True)
    ):
        return False
    if isinstance(value, list):
        return all(accepts(rule.get("items", True), item) for item in value)
    if isinstance(value, dict):
        if any(key not in value for key in rule.get("required", [])):
            return False
        for key, inner in value.items():
            patterns = [r for p, r in rule.get("patternProperties", {}).items() if re.search(p, str(key))]
            known = [rule["properties"][key]] if key in rule.get("properties", {}) else patterns
            if not all(accepts(r, inner) for r in known or [rule.get("additionalProperties", True)]):
                return False
    return all(accepts(branch, value) for branch in rule.get("allOf", []))


def example() -> Any:
    return YAML(typ="safe").load(EXAMPLE)


def test_the_committed_schema_is_current() -> None:
    assert COMMITTED.read_text() == schema_text(), "run: parasim schema > parasim/scenario/schema.json"


def test_it_accepts_the_example_of_the_design() -> None:
    assert accepts(schema(), example())
    if importlib.util.find_spec("jsonschema"):
        import jsonschema

        jsonschema.validate(example(), json.loads(COMMITTED.read_text()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("colour", 1),
        ("scheme.kind", "alreduce"),
        ("scheme.algoritm", "ring"),
        ("scheme.algorithm", "rng"),
        ("workload.batch_size", 0),
        ("workload.batch_size", 1.5),
        ("workload.model.width", "wide"),
        ("cluster.topology.hosts", 0),
        ("cluster.noise.sigma", -1),
        ("cluster.speeds", {"x": 1}),
        ("optimizer.lr", 0),
        ("run.learn", "yes"),
        ("run.trace", "row"),
    ],
)
def test_it_refuses_what_the_loader_refuses(path: str, value: Any) -> None:
    document = example()
    *above, last = path.split(".")
    section = document
    for key in above:
        section = section[key]
    section[last] = value
    assert not accepts(schema(), document)


def test_required_sections_unless_there_are_variants() -> None:
    document = example()
    del document["scheme"]
    assert not accepts(schema(), document)
    document["variants"] = {"ring": {"scheme": {"kind": "allreduce"}}}
    assert accepts(schema(), document)


def test_every_scheme_has_its_options_documented() -> None:
    branches = schema()["properties"]["scheme"]["allOf"]
    by_kind = {branch["then"]["properties"]["kind"]["const"]: branch["then"]["properties"] for branch in branches}
    assert set(SCHEMES) <= set(by_kind)
    for properties in by_kind.values():
        assert "workers" in properties
        assert all(entry.get("description") for name, entry in properties.items() if name not in ("kind", "placement"))
