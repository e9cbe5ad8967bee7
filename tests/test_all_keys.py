"""scenarios/all_keys.yaml shows every key and every kind that a scenario file may have, or says why not."""

import re

import pytest

from parasim.fields import described
from parasim.scenario.compression import Composing
from parasim.scenario.documents import read_documents
from parasim.scenario.schema import schema
from parasim.scenario.tables import compressor_kinds, model_kinds, scheme_kinds
from tests.effort import in_one_test
from tests.golden import ROOT

FILE = ROOT / "scenarios" / "all_keys.yaml"
RUNS_CODE = "needs --allow-code; scenarios/own/own.yaml shows it"
LOCAL_FILES = "names files that are not shipped"
EXCEPTIONS = {
    "workload.model[module]": RUNS_CODE,
    "workload.model[module].factory": RUNS_CODE,
    "workload.model[module].arguments": RUNS_CODE,
    "workload.model[module].input": RUNS_CODE,
    "workload.model[module].input_dtype": RUNS_CODE,
    "workload.data[cifar10]": LOCAL_FILES,
    "workload.data[cifar10].path": LOCAL_FILES,
    "workload.data[image_folder]": LOCAL_FILES,
    "workload.data[image_folder].path": LOCAL_FILES,
    "workload.data[image_folder].size": LOCAL_FILES,
    "workload.data[image_folder].channels": LOCAL_FILES,
    "workload.data[characters].path": LOCAL_FILES,
}
"""Keys that its comments name, but no variant uses."""

FAMILIES = {"workload.model": model_kinds(), "scheme": scheme_kinds(), "compression": compressor_kinds()}
"""Kinds with one class of options, as aliases and the sizes of one network have, count as one."""


def family(path, kind):
    """The first of the kinds that differ in name only."""
    table = FAMILIES.get(path, {kind: None})
    return next(other for other in table if table[other] is table[kind])


def same(path):
    """What may stand in several places is shown once: devices, noise laws, schedules, placements."""
    path = re.sub(r"^optimizer\[\w+\]\.schedule", "optimizer.schedule", path)
    for long, short in (
        ("cluster.hosts.*.device", "cluster.device"),
        ("cluster.stragglers.*.noise", "cluster.noise"),
    ):
        if path.startswith(long):
            return short + path.removeprefix(long)
    if path.startswith("compression[") and path.rpartition(".")[2] in described(Composing):
        return "compression." + path.rpartition(".")[2]
    return "scheme.placement" if path.startswith("scheme[") and path.endswith(".placement") else path


def branches(rule):
    """The schema of each kind, of a mapping that has a `kind`."""
    return {branch["if"]["properties"]["kind"]["const"]: branch["then"] for branch in rule.get("allOf", ())}


def inside(rule, key):
    """The schema of what stands under a key, or at a place in a list; None if it has none."""
    if key in rule.get("properties", {}):
        return rule["properties"][key]
    others = [*rule.get("patternProperties", {}).values(), rule.get("additionalProperties"), rule.get("items")]
    return next((other for other in others if isinstance(other, dict)), None)


def possible(rule, path=""):
    """Every place that the schema knows."""
    for key in rule.get("properties", {}):
        if key != "kind":
            yield same(f"{path}.{key}".lstrip("."))
            yield from possible(rule["properties"][key], f"{path}.{key}".lstrip("."))
    for kind, branch in branches(rule).items():
        if kind == family(path, kind):
            yield same(f"{path}[{kind}]")
            yield from possible(branch, f"{path}[{kind}]")
    other = inside(rule, None)
    if other is not None:
        yield from possible(other, f"{path}.*")


def used(rule, value, path=""):
    """Every place of the schema that a document uses."""
    if isinstance(value, dict) and "kind" in value and branches(rule):
        kind = value["kind"]
        path, rule = f"{path}[{family(path, kind)}]", branches(rule)[kind]
        yield same(path)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key == "kind" or (found := inside(rule, key)) is None:
            continue
        place = f"{path}.{key}".lstrip(".") if key in rule.get("properties", {}) else f"{path}.*"
        if not place.endswith("*"):
            yield same(place)
        yield from used(found, inner, place)


@pytest.fixture(scope="module")
def shown():
    documents = read_documents(FILE)
    whole = [documents.whole, *documents.variants.values()]
    rule = schema()
    return {place for tree in whole for place in used(rule, tree.data)}


@pytest.fixture(scope="module")
def known():
    return set(possible(schema()))


def test_every_key_is_used(known, shown):
    assert len(known) > 600
    assert sorted(known - set(EXCEPTIONS) - shown) == []


@in_one_test("place", EXCEPTIONS)
def test_exceptions_are_known_unused_and_named_in_a_comment(place, known, shown):
    assert place in known
    assert place not in shown
    kind, _, key = place.split("[")[1].partition("].")
    comments = [line for line in FILE.read_text().splitlines() if line.lstrip().startswith("#")]
    start = next(number for number, line in enumerate(comments) if f" {kind.rstrip(']')} " in line)
    assert key in " ".join(comments[start : start + 3])
