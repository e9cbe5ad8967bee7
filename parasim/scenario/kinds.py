"""Sections that choose a kind: what becomes of the options of the kind that an override or a variant replaces."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from parasim.errors import ScenarioWarning
from parasim.fields import described
from parasim.scenario.reader import Key, Places, Tree, show_path

__all__ = ["leave_out_former"]


def leave_out_former(before: Tree, after: Tree) -> None:
    """Take options of a kind that was replaced out of `after`, with a warning for each section.

    Such an option stood there `before`, belongs to the former kind, is unknown to the new one, and was not given (nor
    any part of it) by the overrides themselves. So ``scheme.kind=gpipe`` alone suffices where the file's scheme had
    options of its own; an option that the overrides give stays, and is an error if the new kind does not know it.

    Parameters
    ----------
    before, after
        The document without and with a set of overrides; only `after` is changed.
    """
    for path, old, new in _sections(before.data, after.data, ()):
        former, chosen = _options(path[-1], old["kind"]), _options(path[-1], new["kind"])
        if former is None or chosen is None:
            continue
        gone = [key for key in new if key in former and key not in chosen and _same((*path, key), before, after)]
        if not gone:
            continue
        place = after.places.of_value((*path, "kind"))
        for key in gone:
            del new[key]
            after.places.forget((*path, key))
        listed, them = ", ".join(map(str, gone)), "them" if len(gone) > 1 else "it"
        what = f"left out with the former kind {old['kind']!r}: {listed} ({new['kind']!r} does not have {them})"
        warnings.warn(f"{place}: {show_path(path)}: {what}", ScenarioWarning, stacklevel=2)


def _sections(old: Any, new: Any, path: Key) -> Iterator[tuple[Key, dict[str, Any], dict[str, Any]]]:
    """Sections, before and after, whose kind has changed."""
    if isinstance(old, list) and isinstance(new, list):
        for place, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from _sections(one, other, (*path, place))
    elif isinstance(old, dict) and isinstance(new, dict):
        kinds = old.get("kind"), new.get("kind")
        if path and all(isinstance(kind, str) for kind in kinds) and kinds[0] != kinds[1]:
            yield path, old, new
        for key in (key for key in old if key in new):
            yield from _sections(old[key], new[key], (*path, key))


def _same(path: Key, before: Tree, after: Tree) -> bool:
    """Does what stands at the path come from where it came from before?"""
    return _places_of(path, before.places) == _places_of(path, after.places)


def _places_of(path: Key, places: Places) -> dict[Key, str]:
    return {key: place for key, place in places.values.items() if key[: len(path)] == path}


def _options(section: str | int, kind: str) -> frozenset[str] | None:
    """What a section of this name and kind may hold; None if there is no such kind."""
    table = _table(section)
    if kind not in table:
        return None
    if section == "scheme":
        return frozenset({*described(table[kind].Options), "kind", "placement"})
    return frozenset({*described(table[kind]), "kind"})


def _table(section: str | int) -> Mapping[str, Any]:
    """The kinds that a section of this name chooses from."""
    from parasim.cluster.routing import ROUTINGS
    from parasim.cluster.topologies import TOPOLOGIES
    from parasim.scenario import tables
    from parasim.simulation.noise import LAWS

    kinds: dict[str | int, Any] = {
        "topology": lambda: TOPOLOGIES,
        "routing": lambda: ROUTINGS,
        "noise": lambda: LAWS,
        "model": tables.model_kinds,
        "data": tables.data_kinds,
        "optimizer": tables.optimizer_kinds,
        "compression": tables.compressor_kinds,
        "schedule": tables.schedule_kinds,
        "scheme": tables.scheme_kinds,
    }
    table: Mapping[str, Any] = kinds[section]() if section in kinds else {}
    return table
