"""Scenario files to `Scenario` objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parasim.errors import ScenarioError
from parasim.scenario.check import MAX_INTEGER, Section, shorten, suggestion
from parasim.scenario.model import Execute, Run, Scenario
from parasim.scenario.overrides import apply_overrides, apply_variant
from parasim.scenario.parts import read_cluster, read_optimizer, read_scheme, read_workload
from parasim.scenario.reader import Places, Tree, read_file

__all__ = ["TOP_LEVEL", "from_document", "load", "load_all"]

TOP_LEVEL = {
    "name": "what the scenario is, for reports (default: the file's name)",
    "workload": "what is trained",
    "cluster": "where",
    "scheme": "the parallel SGD scheme: kind, its options, workers, placement",
    "optimizer": "the update rule (default: sgd)",
    "run": "how long, from which seed, learning or not",
    "execute": "how `parasim execute` runs it for real",
    "variants": "name -> overrides; the file then holds a scenario per variant",
}
_MAX_VARIANTS = 1000
_MAX_NAME = 200
_MAX_TRAINED = 2**31


def load(path: str | Path, overrides: Sequence[str] = (), variant: str | None = None) -> Scenario:
    """Read one scenario.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        "key.path=value", applied after the variant's own.
    variant
        Which of the file's variants.

    Raises
    ------
    ScenarioError
        If anything in the file or an override is wrong; or if the file has variants and none is chosen.
    """
    tree = read_file(path)
    names = _variants(tree)
    if not names:
        if variant is not None:
            raise ScenarioError(f"{tree.places.source}: has no variants, so no '{variant}': leave the variant out")
        return _scenario(apply_overrides(tree, overrides), "")
    listed = ", ".join(map(str, names))
    if variant is None:
        raise tree.places.error(
            ("variants",),
            f"the file holds {len(names)} scenarios: choose variant= one of {listed}, or use load_all",
            at_key=True,
        )
    for name in names:
        if str(name) == variant:
            return _scenario(apply_overrides(apply_variant(tree, name), overrides), variant)
    raise tree.places.error(
        ("variants",), f"has no variant {shorten(variant)}{suggestion(variant, names)}", at_key=True
    )


def load_all(path: str | Path, overrides: Sequence[str] = ()) -> list[Scenario]:
    """Read every variant of a file, or its one scenario; raises as :func:`load` does."""
    tree = read_file(path)
    names = _variants(tree)
    if not names:
        return [_scenario(apply_overrides(tree, overrides), "")]
    return [_scenario(apply_overrides(apply_variant(tree, name), overrides), str(name)) for name in names]


def from_document(document: Mapping[str, Any], source: str = "document") -> Scenario:
    """Check a document given as plain mappings, as `Scenario.document` holds it; raises as :func:`load` does."""
    return _scenario(Tree(dict(document), Places(source, {}, {})), "")


def _variants(tree: Tree) -> list[str | int]:
    if "variants" not in tree.data:
        return []
    section = Section(tree.data, (), tree.places).section("variants", example="{ring: {scheme.kind: allreduce}}")
    if not section.data:
        raise section.error(None, "is empty: name a variant, or remove it")
    if len(section.data) > _MAX_VARIANTS:
        raise section.error(None, f"has {len(section.data)} variants; the limit is {_MAX_VARIANTS}")
    return list(section.data)


def _scenario(tree: Tree, variant: str) -> Scenario:
    top = Section(tree.data, (), tree.places)
    top.only(TOP_LEVEL)
    name = _name(top, variant)
    run = top.section("run", example="{steps: 100}").build(Run)
    workload = read_workload(top.section("workload", example="{model: {kind: mlp}, batch_size: 64}"))
    place = top.section("cluster", example="{topology: {kind: star, hosts: 8}, device: ..., link: ...}")
    cluster = read_cluster(place)
    scheme, placement = read_scheme(top.section("scheme", example="{kind: allreduce}"), place, cluster)
    for index in cluster.speeds:
        if index >= scheme.options.workers:
            what = f"there is no such worker (workers: 0..{scheme.options.workers - 1})"
            raise place.section("speeds").error(index, what, at_key=True)
    scenario = Scenario(
        name=name,
        source=tree.places.source,
        variant=variant,
        workload=workload,
        cluster=cluster,
        scheme=scheme,
        placement=placement,
        optimizer=read_optimizer(top.section("optimizer", optional=True)),
        run=run,
        execute=top.section("execute", optional=True).build(Execute),
        document={**tree.data, "name": name},
    )
    _check_together(top, scenario)
    return scenario


def _name(top: Section, variant: str) -> str:
    name = top.data.get("name", Path(top.places.source).stem)
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME:
        raise top.error("name", f"{shorten(name)} must be a text of 1 to {_MAX_NAME} characters")
    return f"{name} [{variant}]" if variant else name


def _check_together(top: Section, scenario: Scenario) -> None:
    """What no section can check on its own."""
    workload, run = scenario.workload, top.section("run")
    if scenario.run.learn:
        if workload.data is None:
            raise run.error("learn", "needs data: write workload: {data: {kind: digits}}, or learn: false")
        from parasim.workload.models import build_network

        with top.section("workload").blamed("model"):
            build_network(workload.model_kind, workload.model_options, workload.data)
        copies = workload.model.whole.parameters * len(scenario.placement)
        if copies > _MAX_TRAINED:
            raise run.error("learn", f"{copies} parameters over all actors are too many; the limit is {_MAX_TRAINED}")
        numbers = workload.data.samples * workload.data.input_elements
        if numbers > _MAX_TRAINED:
            raise run.error("learn", f"data of {numbers} numbers are too many; the limit is {_MAX_TRAINED}")
    if scenario.execute.compute == "paced" and scenario.run.learn:
        execute = top.section("execute")
        raise execute.error("compute", "'paced' sleeps instead of computing: write run: {learn: false}")
    if workload.model.whole.nbytes > MAX_INTEGER:
        raise top.section("workload").error(
            "model", f"has {workload.model.whole.nbytes} bytes of parameters, more than 10^18"
        )
