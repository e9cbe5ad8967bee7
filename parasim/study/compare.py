"""Schemes, or the variants of a file, side by side: the same workload on the same cluster with the same draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parasim.errors import ScenarioError
from parasim.metrics.outcome import Outcome
from parasim.scenario.check import shorten, suggestion
from parasim.scenario.documents import Documents, read_documents
from parasim.scenario.overrides import Override, apply_overrides, read_override
from parasim.scenario.reader import Tree
from parasim.scenario.tables import scheme_kinds
from parasim.study.cases import Case
from parasim.study.words import split_outside

__all__ = ["Choice", "compare", "compare_cases", "read_choices", "title_of"]

_OPENED = re.compile(r"([^()]+?)\s*\((.*)\)", re.DOTALL)


class Choice(NamedTuple):
    """A scheme that was asked for: its words, its kind, and the options given with it."""

    words: str
    kind: str
    options: tuple[Override, ...]


def compare(
    path: str | Path,
    schemes: str | Sequence[str] = (),
    overrides: Sequence[str] = (),
    variant: str | None = None,
    *,
    allow_code: bool = False,
    watch: Callable[[int, int, str], None] | None = None,
) -> list[Outcome]:
    """Simulate several schemes, or the variants of a file, and put their figures side by side.

    Parameters
    ----------
    path
        A scenario file.
    schemes
        "allreduce, downpour(servers=2)", or a list of such entries: names of schemes, with options. Each is the file's
        scenario with that scheme, its `workers` those of the file's section `scheme` (but one for `sequential`), every
        other option its default; the scheme that the file itself names keeps the options it has there. Without any, the
        variants are compared.
    overrides
        "key.path=value", for every row; options given with a scheme come after them.
    variant
        Only this one of the file's variants (with `schemes`).
    allow_code
        May the factory of a model of kind `module` be run?
    watch
        Called before each row with the number of rows done, the number of all, and the row's label.

    Returns
    -------
    list of Outcome
        A row per scheme or variant. With both, each variant is taken with every scheme; variants that differ in their
        section `scheme` alone count as one, with the scheme section that stands outside of the variants. What could
        not be run is a row with the reason.

    Raises
    ------
    ScenarioError
        If the file, its variants, the overrides or the entries of `schemes` can't be read, or nothing is to be
        compared.
    """
    cases = compare_cases(path, schemes, overrides, variant, allow_code=allow_code)
    outcomes = []
    for number, case in enumerate(cases):
        if watch is not None:
            watch(number, len(cases), case.label)
        outcomes.append(case.run()[0])
    return outcomes


def compare_cases(
    path: str | Path,
    schemes: str | Sequence[str] = (),
    overrides: Sequence[str] = (),
    variant: str | None = None,
    *,
    allow_code: bool = False,
) -> list[Case]:
    """The rows of :func:`compare`, not run yet; parameters and errors are the same."""
    choices = read_choices(schemes)
    documents = read_documents(path, variant)
    read = [read_override(text) for text in overrides]
    if choices:
        _check_overrides(read)
        return [
            _case(f"{name}: {choice.words}" if name else choice.words, variant_name, tree, choice, read, allow_code)
            for name, variant_name, tree in _settings(documents)
            for choice in choices
        ]
    if "" in documents.variants:
        raise ScenarioError(
            f"{documents.whole.places.source}: has no variants to compare: name schemes, as in "
            "--schemes allreduce,downpour, or give it variants"
        )
    return [_case(name, name, tree, None, read, allow_code) for name, tree in documents.variants.items()]


def title_of(path: str | Path) -> str:
    """The name of a file's scenario, without a variant's."""
    return str(read_documents(path).base.data.get("name", Path(path).stem))


def read_choices(schemes: str | Sequence[str]) -> list[Choice]:
    """Read "allreduce, downpour(servers=2)", or a list of such entries.

    Raises
    ------
    ScenarioError
        If an entry is no scheme with options, or is given twice.
    """
    entries = split_outside(schemes, ",") if isinstance(schemes, str) else list(schemes)
    choices: list[Choice] = []
    for entry in entries:
        words = " ".join(entry.split())
        found = _OPENED.fullmatch(words)
        kind, inner = (found[1], found[2]) if found else (words, "")
        if kind not in scheme_kinds():
            raise ScenarioError(f"--schemes: unknown scheme {shorten(kind)}{suggestion(kind, scheme_kinds())}")
        if any(words == choice.words for choice in choices):
            raise ScenarioError(f"--schemes: {shorten(words)} is given twice: leave one out")
        options = [_option(text, words) for text in split_outside(inner, ",")] if inner.strip() else []
        choices.append(Choice(words, kind, tuple(options)))
    return choices


def _option(text: str, words: str) -> Override:
    """One option of an entry, as an override of the section `scheme`."""
    try:
        path, value, _ = read_override(f"scheme.{text.strip()}")
    except ScenarioError:
        raise ScenarioError(f"--schemes {words}: {shorten(text.strip())} is no option: write key=value") from None
    return Override(path, value, f"--schemes {words}")


def _check_overrides(overrides: Sequence[Override]) -> None:
    for path, _, place in overrides:
        if path in {("scheme",), ("scheme", "kind")}:
            raise ScenarioError(f"{place}: --schemes chooses the scheme: leave one of the two out")


def _settings(documents: Documents) -> list[tuple[str, str, Tree]]:
    """What schemes are put into: a name for the label, the variant, and the document.

    Variants that differ in nothing but their scheme are one setting, with the base's scheme.
    """
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for name, tree in documents.variants.items():
        rest = {key: value for key, value in tree.data.items() if key != "scheme"}
        for other, names in groups:
            if other == rest:
                names.append(name)
                break
        else:
            groups.append((rest, [name]))
    settings = []
    for _, names in groups:
        tree = documents.variants[names[0]]
        if len(names) == 1:
            settings.append((names[0], names[0], tree))
            continue
        chosen = {key: value for key, value in tree.data.items() if key != "scheme"}
        if "scheme" in documents.base.data:
            chosen["scheme"] = documents.base.data["scheme"]
        settings.append((" / ".join(names) if len(groups) > 1 else "", "", Tree(chosen, tree.places)))
    return settings


def _case(
    label: str, variant: str, tree: Tree, choice: Choice | None, overrides: Sequence[Override], allow_code: bool
) -> Case:
    try:
        if choice is not None:
            overrides = [*_scheme_section(tree, choice), *overrides, *choice.options]
        made = apply_overrides(tree, overrides)
    except ScenarioError as error:
        return Case(label, None, variant, allow_code=allow_code, failure=error)
    return Case(label, made, variant, allow_code=allow_code)


def _scheme_section(tree: Tree, choice: Choice) -> list[Override]:
    """The section `scheme` with another scheme, unless it is that one already."""
    own = tree.data.get("scheme")
    own = own if isinstance(own, dict) else {}
    kinds = scheme_kinds()
    former = own.get("kind")
    if isinstance(former, str) and kinds.get(former) is kinds[choice.kind]:
        same = kinds.preset(former) == kinds.preset(choice.kind)
        return [] if same else [Override(("scheme", "kind"), choice.kind, f"--schemes {choice.words}")]
    section: dict[str, Any] = {"kind": choice.kind}
    if "workers" in own and kinds[choice.kind].most_workers is None:
        section["workers"] = own["workers"]
    return [Override(("scheme",), section, f"--schemes {choice.words}")]
