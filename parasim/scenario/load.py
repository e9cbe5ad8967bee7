"""Scenario files to `Scenario` objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parasim.scenario.changes import check_joined
from parasim.scenario.check import MAX_INTEGER, Section, shorten
from parasim.scenario.cluster import read_cluster
from parasim.scenario.compression import read_compression
from parasim.scenario.documents import MAX_NAME, read_documents, with_absolute_paths
from parasim.scenario.evaluation import EVALUATION, Evaluate, StepsModel, Target
from parasim.scenario.ground import make_plan
from parasim.scenario.model import Execute, Run, Scenario
from parasim.scenario.overrides import apply_overrides, read_override
from parasim.scenario.profiles import Vary
from parasim.scenario.progress import check_momentum, check_norms, with_batches, with_schedule, with_steps
from parasim.scenario.reader import Places, Tree
from parasim.scenario.scheme import read_optimizer, read_scheme
from parasim.scenario.stragglers import check_stragglers
from parasim.scenario.workload import read_workload, without_code

__all__ = ["TOP_LEVEL", "from_document", "load", "load_all", "scenario_of"]

TOP_LEVEL = {
    "name": "what the scenario is, for reports (default: the file's name)",
    "workload": "what is trained",
    "cluster": "where",
    "scheme": "the parallel SGD scheme: kind, its options, workers, placement",
    "optimizer": "the update rule (default: sgd)",
    "compression": "the code in which gradients, or models, are sent (default: none)",
    "run": "how long, from which seed, learning or not",
    "execute": "how `parasim execute` runs it for real",
    "variants": "name -> overrides; the file then holds a scenario per variant",
}
_MAX_ALL_ACTORS = 1_000_000
_MAX_ALL_LAYERS = 50_000
_MAX_TRAINED = 2**31
_MAX_FLOPS = 1e30


def load(
    path: str | Path, overrides: Sequence[str] = (), variant: str | None = None, *, allow_code: bool = False
) -> Scenario:
    """Read one scenario.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        "key.path=value", applied after the variant's own.
    variant
        Which of the file's variants.
    allow_code
        May the factory of a model of kind `module` be run?

    Raises
    ------
    ScenarioError
        If anything in the file or an override is wrong; or if the file has variants and none is chosen.
    """
    documents = read_documents(path, variant)
    read = [read_override(text) for text in overrides]
    if variant is None and "" not in documents.variants:
        listed = ", ".join(documents.variants)
        raise documents.whole.places.error(
            ("variants",),
            f"the file holds {len(documents.variants)} scenarios: choose variant= one of {listed}, or use load_all",
            at_key=True,
        )
    (name, tree), *_ = documents.variants.items()
    return scenario_of(apply_overrides(tree, read), name, allow_code=allow_code)


def load_all(path: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> list[Scenario]:
    """Read every variant of a file, or its one scenario; raises as :func:`load` does."""
    documents = read_documents(path)
    read = [read_override(text) for text in overrides]
    scenarios: list[Scenario] = []
    actors = layers = 0
    for name, tree in documents.variants.items():
        scenarios.append(scenario_of(apply_overrides(tree, read), name, allow_code=allow_code))
        actors += len(scenarios[-1].placement)
        layers += len(scenarios[-1].workload.model.layers)
        if len(scenarios) > 1 and (actors > _MAX_ALL_ACTORS or layers > _MAX_ALL_LAYERS):
            what = f"{actors} actors and {layers} layers up to here are too many for one file (the limits: "
            what += f"{_MAX_ALL_ACTORS} and {_MAX_ALL_LAYERS}): choose one variant, or take some out"
            raise documents.whole.places.error(("variants", name), what, at_key=True)
    return scenarios


def from_document(document: Mapping[str, Any], source: str = "document", *, vary: Vary | None = None) -> Scenario:
    """Check a document given as plain mappings, as `Scenario.document` holds it; raises as :func:`load` does.

    It runs no code: a scenario's document holds the layers of a module that was read, not its factory. `vary` is as of
    :func:`scenario_of`.
    """
    return scenario_of(Tree(dict(document), Places(source, {}, {})), vary=vary)


def scenario_of(tree: Tree, variant: str = "", *, allow_code: bool = False, vary: Vary | None = None) -> Scenario:
    """Check a document, as `read_documents` gives it and overrides change it; raises as :func:`load` does.

    With `vary`, each profile that it names is exchanged for what that gives, such as one drawn from its intervals.
    """
    top = Section(tree.data, (), tree.places)
    top.only(TOP_LEVEL)
    name = _name(top, variant)
    run = _read_run(top.section("run", example="{steps: 100}"))
    code = Path(tree.places.source).parent if allow_code else None
    work = top.section("workload", example="{model: {kind: mlp}, batch_size: 64}")
    workload = read_workload(work, code)
    place = top.section("cluster", example="{topology: {kind: star, hosts: 8}, device: ..., link: ...}")
    cluster = read_cluster(place, workload.dtype, vary)
    scheme, placement = read_scheme(top.section("scheme", example="{kind: allreduce}"), place, cluster)
    if scheme.tied() == "copies" and workload.model.untie is not None:
        workload = replace(workload, model=workload.model.untie())
    workload = with_batches(work, workload, scheme, learn=run.learn)
    run = with_steps(top.section("run"), run, workload, scheme)
    for index in cluster.speeds:
        if index >= scheme.options.workers:
            what = f"there is no such worker (workers: 0..{scheme.options.workers - 1})"
            raise place.section("speeds").error(index, what, at_key=True)
    check_joined(place, cluster, placement)
    check_stragglers(place, cluster.stragglers, scheme.roles(), run.steps)
    rule = top.section("optimizer", optional=True)
    document = with_absolute_paths(without_code(tree.data, workload), Path(tree.places.source).parent)
    chosen = read_optimizer(rule)
    check_norms(rule, chosen.kind, scheme)
    coding = top.section("compression", optional=True)
    compression = read_compression(coding, scheme, workload.model, top.section("scheme"))
    check_momentum(coding, compression, chosen)
    scenario = Scenario(
        name=name,
        source=tree.places.source,
        variant=variant,
        workload=workload,
        cluster=cluster,
        scheme=scheme,
        placement=placement,
        optimizer=with_schedule(rule, chosen, workload, scheme, run.steps),
        compression=compression,
        run=run,
        execute=top.section("execute", optional=True).build(Execute),
        document={**document, "name": name},
    )
    _check_together(top, scenario)
    return scenario


def _read_run(section: Section) -> Run:
    """The run, with what is said of its evaluation; where a file says that it does not learn, there is none."""
    run = section.build(Run, beside=tuple(EVALUATION))
    if "steps_model" in section.data:
        example = "{least_steps: 5000, critical_batch: 2000}"
        run = replace(run, steps_model=section.section("steps_model", example=example).build(StepsModel))
    if "target" in section.data and "evaluate" not in section.data:
        raise section.error("target", "needs evaluations: write evaluate: {every: 1 epoch}")
    if "evaluate" not in section.data:
        return run
    evaluate = section.section("evaluate", example="{every: 1 epoch}").build(Evaluate)
    target = section.section("target").build(Target) if "target" in section.data else None
    if not run.learn and "learn" not in section.data:
        raise section.error("evaluate", "needs a network that learns: write learn: true (or false, to leave it out)")
    return replace(run, evaluate=evaluate, target=target) if run.learn else run


def _name(top: Section, variant: str) -> str:
    name = top.data.get("name", Path(top.places.source).stem)
    whole = f"{name} [{variant}]" if variant else name
    if not isinstance(name, str) or not name.strip() or len(whole) > MAX_NAME or not name.isprintable():
        with_variant = ", the variant's included" if variant else ""
        what = f"must be a text of 1 to {MAX_NAME} printable characters{with_variant}"
        raise top.error("name", f"{shorten(name)} {what}")
    return str(whole)


def _check_together(top: Section, scenario: Scenario) -> None:
    """What no section can check on its own."""
    workload, run, scheme = scenario.workload, top.section("run"), top.section("scheme")
    with scheme.blamed(None):
        for size in workload.sizes:
            scenario.scheme.check(workload.model, size)
        shared = scenario.scheme.shared(workload.model)
        make_plan(scenario.scheme, workload, scenario.cluster, scenario.placement, scenario.optimizer)
    if shared and len(used := set(scenario.placement)) > 1:
        what = f"its memory is shared, but its actors sit on {len(used)} hosts: write placement with one host per role"
        raise scheme.error(None, what)
    if scenario.run.learn:
        if workload.data is None:
            raise run.error("learn", "needs data: write workload: {data: {kind: digits}}, or learn: false")
        from parasim.learning.build import LEARNING_DTYPES
        from parasim.workload.models import build_network

        if workload.dtype not in LEARNING_DTYPES:
            remedy = " or ".join(f"{{dtype: {dtype}}}" for dtype in LEARNING_DTYPES)
            raise run.error("learn", f"can't train in {workload.dtype}: write workload: {remedy}, or learn: false")
        with top.section("workload").blamed("model"):
            build_network(workload.model_kind, workload.model_options, workload.data, scenario.scheme.tied())
        copies = workload.model.whole.parameters * len(scenario.placement)
        if copies > _MAX_TRAINED:
            raise run.error("learn", f"{copies} parameters over all actors are too many; the limit is {_MAX_TRAINED}")
        numbers = workload.data.samples * workload.data.input_elements
        if numbers > _MAX_TRAINED:
            raise run.error("learn", f"data of {numbers} numbers are too many; the limit is {_MAX_TRAINED}")
        stored = max(workload.sizes) * workload.model.whole.stored_elements
        if stored > _MAX_TRAINED:
            raise run.error("learn", f"batches of {stored} stored numbers are too large; the limit is {_MAX_TRAINED}")
    _check_evaluation(run, scenario)
    if scenario.run.batched_gradients and not (scenario.run.learn and scenario.run.fast_paths == "all"):
        what = "has a meaning only with learn: true and fast_paths: all; leave it out, or write these"
        raise run.error("batched_gradients", what)
    model = workload.model
    if model.whole.nbytes > MAX_INTEGER:
        raise top.section("workload").error("model", f"has {model.whole.nbytes} bytes of parameters, more than 10^18")
    flops = sum(layer.forward_flops + layer.input_flops + layer.weight_flops for layer in model.layers)
    if not flops <= _MAX_FLOPS:
        raise top.section("workload").error("model", f"has {flops:g} FLOP per sample, more than {_MAX_FLOPS:g}")


def _check_evaluation(run: Section, scenario: Scenario) -> None:
    """The model must be evaluated at least once, and have what the target asks for."""
    target, data = scenario.run.target, scenario.workload.data
    if scenario.run.evaluate is None or data is None:
        return
    if scenario.evaluations(scenario.run.steps) < 1:
        what = f"every {scenario.run.evaluate.every} is never in {scenario.run.steps} steps: write every: 1 step"
        raise run.error("evaluate", what)
    if target is not None and target.accuracy is not None and data.kind not in ("classification", "tokens"):
        raise run.error("target", f"data {data.name} have no classes, so there is no accuracy: write {{loss: ...}}")
