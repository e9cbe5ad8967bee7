"""Overrides: "scheme.workers=16" on the command line, and dotted keys in the variants of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from parasim.errors import ScenarioError
from parasim.scenario.kinds import leave_out_former
from parasim.scenario.reader import MAX_DEPTH, Key, Places, Tree, read_value, show_path

__all__ = ["Override", "apply_overrides", "apply_variant", "read_override", "split_variants"]

_MAX_SHOWN = 80


class Override(NamedTuple):
    """One "key.path=value", read: where it goes, what, and its place for errors."""

    path: Key
    value: Any
    place: str


def apply_overrides(tree: Tree, overrides: Sequence[Override]) -> Tree:
    """Apply overrides of the command line in their order, to a copy; an override to `null` removes the key.

    Where they change the kind of a section, options of its former kind are left out (parasim/scenario/kinds.py).
    """
    result = _copied(tree)
    for path, value, place in overrides:
        _put(result, path, value, place, {})
    leave_out_former(tree, result)
    return result


def read_override(override: str) -> Override:
    """Read one "key.path=value".

    Raises
    ------
    ScenarioError
        If it has no "=", no key, no value, or a value that is no YAML.
    """
    shown = override if len(override) <= _MAX_SHOWN else f"{override[:_MAX_SHOWN]}..."
    place = f"override '{' '.join(shown.split())}'"
    name, equals, text = override.partition("=")
    if not equals:
        raise ScenarioError(f"{place}: write key.path=value, as in scheme.workers=16")
    path = _path(name, place)
    if not text.strip():
        raise ScenarioError(f"{place}: has no value: write {name.strip()}=value ('null' removes the key)")
    return Override(path, read_value(text, place), place)


def split_variants(tree: Tree) -> tuple[Tree, dict[str | int, Tree]]:
    """Take a document with ``variants: {name: overrides}`` apart: the rest of it, and each variant's part."""
    variants = tree.data["variants"]
    rest = Tree({key: value for key, value in tree.data.items() if key != "variants"}, _no_places(tree))
    parts = {name: Tree(overrides, _no_places(tree)) for name, overrides in variants.items()}
    for of in ("keys", "values"):
        for key, place in getattr(tree.places, of).items():
            part = rest if key[:1] != ("variants",) else parts.get(key[1]) if len(key) > 1 else None
            if part is not None:
                getattr(part.places, of)[key] = place
    return rest, parts


def _no_places(tree: Tree) -> Places:
    return Places(tree.places.source, {}, {})


def apply_variant(rest: Tree, part: Tree, name: str | int) -> Tree:
    """Apply the overrides of one variant to a copy of the rest of the document, as `apply_overrides` does."""
    here: Key = ("variants", name)
    result = _copied(rest)
    if not isinstance(part.data, dict):
        raise part.places.error(here, "must be a mapping of overrides, as in {scheme.workers: 16}")
    for key, value in part.data.items():
        path = _path(str(key), part.places.of_key((*here, key)))
        inner = _places_below(part.places, (*here, key), path)
        _put(result, path, value, part.places.of_value((*here, key)), inner)
    leave_out_former(rest, result)
    return result


_IN_THE_PLACE_OF: dict[Key, str] = {("run", "epochs"): "steps", ("run", "steps"): "epochs"}
"""A key that is overridden, and what it takes the place of."""


def _path(name: str, place: str) -> Key:
    words = [word.strip() for word in name.split(".", MAX_DEPTH)]
    if len(words) > MAX_DEPTH:
        raise ScenarioError(f"{place}: the key has more than {MAX_DEPTH} parts, the limit")
    if not all(words):
        raise ScenarioError(
            f"{place}: key '{name.strip()[:_MAX_SHOWN]}' has an empty part: write it as in scheme.workers"
        )
    if words[0] == "variants":
        raise ScenarioError(f"{place}: variants can't be overridden: edit the file")
    return tuple(int(word) if re.fullmatch("[0-9]{1,18}", word) else word for word in words)


def _copied(tree: Tree) -> Tree:
    places = Places(tree.places.source, dict(tree.places.keys), dict(tree.places.values))
    return Tree(deepcopy(tree.data), places)


def _places_below(places: Places, old: Key, new: Key) -> dict[Key, str]:
    """Where the parts of a variant's value stand, under their new path."""
    return {(*new, *key[len(old) :]): place for key, place in places.values.items() if key[: len(old)] == old}


def _put(tree: Tree, path: Key, value: Any, place: str, inner: dict[Key, str]) -> None:
    """Set, or with None remove, the value at `path`, and note where it came from."""
    at = tree.data
    for depth, key in enumerate(path[:-1]):
        if isinstance(at, dict) and key not in at:
            at[key] = {}
            tree.places.keys.setdefault(path[: depth + 1], place)
            tree.places.values.setdefault(path[: depth + 1], place)
        at = _inside(at, path, depth, place)
    last = path[-1]
    if value is not None and (other := _IN_THE_PLACE_OF.get(path)) and isinstance(at, dict) and at.pop(other, None):
        tree.places.forget((*path[:-1], other))
    if isinstance(at, list):
        _inside(at, path, len(path) - 1, place)
    elif not isinstance(at, dict):
        raise _not_a_section(at, path, len(path) - 1, place)
    tree.places.forget(path)
    if value is None and isinstance(at, dict):
        at.pop(last, None)
        return
    at[last] = deepcopy(value)
    tree.places.keys[path] = place
    tree.places.values[path] = place
    tree.places.values.update(inner)
    tree.places.keys.update(inner)


def _inside(at: Any, path: Key, depth: int, place: str) -> Any:
    key = path[depth]
    if isinstance(at, list):
        if not isinstance(key, int) or key >= len(at):
            above = show_path(path[:depth])
            raise ScenarioError(f"{place}: {above} is a list with places 0 to {len(at) - 1}: there is no '{key}'")
        return at[key]
    if not isinstance(at, dict):
        raise _not_a_section(at, path, depth, place)
    return at[key]


def _not_a_section(at: Any, path: Key, depth: int, place: str) -> ScenarioError:
    return ScenarioError(f"{place}: {show_path(path[:depth])} is {at!r}, no section that could hold '{path[depth]}'")
