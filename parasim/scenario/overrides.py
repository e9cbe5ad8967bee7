"""Overrides: "scheme.workers=16" on the command line, and dotted keys in the variants of a file."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from parasim.errors import ScenarioError
from parasim.scenario.reader import Key, Places, Tree, read_value, show_path

__all__ = ["apply_overrides", "apply_variant", "split_override"]

_MAX_SHOWN = 80


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> Tree:
    """Apply overrides of the command line in their order, to a copy; an override to `null` removes the key."""
    result = _copied(tree)
    for override in overrides:
        path, value, place = split_override(override)
        _put(result, path, value, place, {})
    return result


def split_override(override: str) -> tuple[Key, Any, str]:
    """Path, value and place (for errors) of one "key.path=value".

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
    return path, read_value(text, place), place


def apply_variant(tree: Tree, name: str | int) -> Tree:
    """Apply the overrides under ``variants: {name: ...}`` to a copy of the document without its variants."""
    here: Key = ("variants", name)
    overrides = tree.data["variants"][name]
    result = _copied(tree)
    del result.data["variants"]
    if not isinstance(overrides, dict):
        raise tree.places.error(here, "must be a mapping of overrides, as in {scheme.workers: 16}")
    for key, value in overrides.items():
        path = _path(str(key), tree.places.of_key((*here, key)))
        inner = _places_below(tree.places, (*here, key), path)
        _put(result, path, value, tree.places.of_value((*here, key)), inner)
    return result


def _path(name: str, place: str) -> Key:
    words = [word.strip() for word in name.split(".")]
    if not all(words):
        raise ScenarioError(
            f"{place}: key '{name.strip()[:_MAX_SHOWN]}' has an empty part: write it as in scheme.workers"
        )
    if words[0] == "variants":
        raise ScenarioError(f"{place}: variants can't be overridden: edit the file")
    return tuple(int(word) if word.isascii() and word.isdigit() else word for word in words)


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
