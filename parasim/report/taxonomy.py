"""The schemes on the axes of Ben-Nun and Hoefler (2019): as a tree, and the neighbours of one."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from parasim.program.scheme import Scheme, Taxonomy

__all__ = ["likes_entry", "likes_text", "tree_entry", "tree_text"]

_LEVELS = ("concurrency", "consistency", "distribution")
"""Axes of the tree, from the root; a leaf says the others."""
_WORDS = {
    "concurrency": "in a network",
    "consistency": "model consistency",
    "distribution": "parameters",
    "communication": "communication",
    "training": "training",
}
_NEAR = 8
_WIDTH = 120


def tree_entry(schemes: Sequence[type[Scheme]]) -> dict[str, Any]:
    """Schemes by concurrency, consistency and distribution, level by level; ready for JSON."""
    tree: dict[str, Any] = {}
    for scheme in sorted(schemes, key=lambda each: [getattr(each.taxonomy, axis) for axis in _LEVELS] + [each.name]):
        at = tree
        for axis in _LEVELS:
            at = at.setdefault(getattr(scheme.taxonomy, axis), {})
        at[scheme.name] = {
            "communication": scheme.taxonomy.communication,
            "training": scheme.taxonomy.training,
            "approximates": scheme.approximates or None,
        }
    return tree


def tree_text(schemes: Sequence[type[Scheme]]) -> str:
    """The same as a drawing: branches are axes, leaves schemes with what they communicate."""
    width = max(len(scheme.name) for scheme in schemes)
    lines = ["parallel SGD: concurrency in a network > consistency of the model > where parameters are"]
    _draw(tree_entry(schemes), "", 0, width, lines)
    return "\n".join(lines)


def _draw(at: dict[str, Any], lead: str, level: int, width: int, lines: list[str]) -> None:
    for place, (name, below) in enumerate(at.items()):
        last = place == len(at) - 1
        branch, under = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if level == len(_LEVELS):
            more = [below["communication"], *([below["training"]] if below["training"] != "one model" else [])]
            lines.append(f"{lead}{branch}{name:<{width}}  {'; '.join(more)}")
            continue
        owned = "parameters: each has one owner" if name == "none" else f"parameters: {name}"
        lines.append(f"{lead}{branch}{owned if _LEVELS[level] == 'distribution' else name}")
        _draw(below, lead + under, level + 1, width, lines)


def likes_entry(scheme: type[Scheme], schemes: Sequence[type[Scheme]]) -> list[dict[str, Any]]:
    """The other schemes, nearest first: on how many axes they differ, and how.

    Of those that differ on equally many, relatives come first (schemes that one is written in terms of, or that share a
    base), then those that differ on a later axis.
    """
    axes = [axis.name for axis in dataclasses.fields(Taxonomy)]
    found = []
    for other in schemes:
        if other is scheme:
            continue
        differs = {
            axis: [mine, theirs]
            for axis in axes
            if (mine := getattr(scheme.taxonomy, axis)) != (theirs := getattr(other.taxonomy, axis))
        }
        bases = [base for base in scheme.__mro__ if base in other.__mro__ and base not in (Scheme, object)]
        found.append({"name": other.name, "differs": differs, "related": bool(bases)})
    order = {axis: place for place, axis in enumerate(axes)}
    return sorted(
        found,
        key=lambda each: (
            len(each["differs"]),
            not each["related"],
            [-order[axis] for axis in each["differs"]],
            each["name"],
        ),
    )


def likes_text(scheme: type[Scheme], schemes: Sequence[type[Scheme]]) -> str:
    """The nearest of them, and what differs, in their own words where the axes are the same."""
    by_name = {other.name: other for other in schemes}
    place = "; ".join(f"{_WORDS[axis]}: {value}" for axis, value in dataclasses.asdict(scheme.taxonomy).items())
    lines = [*_wrapped(f"{scheme.name}: {place}"), f"  replaces: {scheme.approximates or 'nothing'}", ""]
    for entry in likes_entry(scheme, schemes)[:_NEAR]:
        other = by_name[entry["name"]]
        differs = [f"{_WORDS[axis]}: {theirs}" for axis, (_, theirs) in entry["differs"].items()]
        if scheme.approximates != other.approximates:
            differs.append(f"replaces: {other.approximates or 'nothing'}")
        if scheme.staleness != other.staleness:
            differs.append(f"staleness: {other.staleness}")
        lines.append(f"{entry['name']}")
        lines += [line for words in differs for line in _wrapped(f"  {words}")] or ["  nothing but its options"]
    return "\n".join(lines)


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, subsequent_indent="    ")
