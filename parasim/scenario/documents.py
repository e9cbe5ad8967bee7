"""A scenario file as documents: the one it holds, or one per variant; not checked yet beyond that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from parasim.cluster.profile_file import named_from_anywhere
from parasim.errors import ScenarioError
from parasim.scenario.check import Section, shorten, suggestion
from parasim.scenario.overrides import apply_variant, split_variants
from parasim.scenario.profiles import PROFILE
from parasim.scenario.reader import Tree, read_file

__all__ = ["MAX_NAME", "Documents", "read_documents", "with_absolute_paths"]

MAX_NAME = 200
_MAX_VARIANTS = 500
_FILES = (("workload", "data", "path"), ("cluster", "topology", "file"))


class Documents(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    whole, base
        All of it; and without `variants`.
    variants
        By name, the base with each variant's overrides; of a file without variants, the base under the name "".
    """

    whole: Tree
    base: Tree
    variants: dict[str, Tree]


def read_documents(path: str | Path, variant: str | None = None) -> Documents:
    """Read a file; with `variant`, only that one of its variants.

    Raises
    ------
    ScenarioError
        If it can't be read, its variants are no mapping of names to overrides, or there is no such variant.
    """
    tree = read_file(path)
    names = _names(tree)
    if not names:
        if variant is not None:
            raise ScenarioError(f"{tree.places.source}: has no variants, so no '{variant}': leave the variant out")
        return Documents(tree, tree, {"": tree})
    chosen = names if variant is None else [name for name in names if str(name) == variant]
    if not chosen:
        what = f"has no variant {shorten(variant)}{suggestion(variant, names)}"
        raise tree.places.error(("variants",), what, at_key=True)
    base, parts = split_variants(tree)
    return Documents(tree, base, {str(name): apply_variant(base, parts[name], name) for name in chosen})


def with_absolute_paths(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document, the files that it names relative to `folder` named so that they are found from anywhere."""
    absolute = dict(document)
    for top, inner, key in _FILES:
        section = absolute[top]
        named = (section.get(inner) or {}).get(key)
        if named:
            absolute[top] = {**section, inner: {**section[inner], key: str(Path.cwd() / folder / named)}}
    cluster = _with_absolute_profile(absolute["cluster"], folder)
    if "hosts" in cluster:
        cluster["hosts"] = {key: _with_absolute_profile(host, folder) for key, host in cluster["hosts"].items()}
    return {**absolute, "cluster": cluster}


def _with_absolute_profile(section: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if PROFILE not in section:
        return dict(section)
    return {**section, PROFILE: named_from_anywhere(section[PROFILE], Path.cwd() / folder)}


def _names(tree: Tree) -> list[str | int]:
    if "variants" not in tree.data:
        return []
    section = Section(tree.data, (), tree.places).section("variants", example="{ring: {scheme.kind: allreduce}}")
    if not section.data:
        raise section.error(None, "is empty: name a variant, or remove it")
    if len(section.data) > _MAX_VARIANTS:
        raise section.error(None, f"has {len(section.data)} variants; the limit is {_MAX_VARIANTS}")
    for name in section.data:
        if not 0 < len(str(name)) <= MAX_NAME or not str(name).isprintable():
            raise section.error(name, f"a variant's name has 1 to {MAX_NAME} printable characters", at_key=True)
    return list(section.data)
