"""The list `cluster.stragglers` of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.program.cast import Role
from parasim.scenario.check import Section, shorten, suggestion
from parasim.simulation.noise import LAWS
from parasim.simulation.stragglers import Straggler

__all__ = ["RULE_KEYS", "check_stragglers", "read_stragglers"]

RULE_KEYS: Mapping[str, str] = {
    "workers": "the workers that it slows: a list of indices, or all",
    "role": "of actors that are no workers: their role",
    "actors": "and which of that role: a list of indices, or all",
    "noise": "law of random factors on the time of kernels, as under cluster; instead of slowdown",
}
"""Keys of a rule beside the fields of `Straggler`."""


def read_stragglers(cluster: Section) -> tuple[Straggler, ...]:
    """The rules, in the order of the document.

    Raises
    ------
    ScenarioError
        If a rule is not as `Straggler` wants it; `check_stragglers` holds it against the scheme.
    """
    entries = cluster.data.get("stragglers", [])
    if not isinstance(entries, list):
        what = "no list: write stragglers: [{workers: [3], slowdown: 2}]"
        raise cluster.error("stragglers", f"is {shorten(entries)}, {what}")
    rules: list[Straggler] = []
    drawn: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            place = Section({}, (*cluster.path, "stragglers"), cluster.places)
            raise place.error(number, f"is {shorten(entry)}, no rule: write {{workers: [3], slowdown: 2}}")
        section = Section(entry, (*cluster.path, "stragglers", number), cluster.places)
        rules.append(_rule(section, drawn))
    return tuple(rules)


def check_stragglers(cluster: Section, rules: Sequence[Straggler], roles: Sequence[Role], steps: int) -> None:
    """Hold the rules against the roles of the scheme and the length of the run.

    Raises
    ------
    ScenarioError
        If a rule slows an actor that the scheme does not have, or waits for a step that the run does not have.
    """
    counts = {role.name: role.count for role in roles}
    for number, rule in enumerate(rules):
        section = Section(cluster.data["stragglers"][number], (*cluster.path, "stragglers", number), cluster.places)
        if rule.role not in counts:
            key = "role" if "role" in section.data else "workers"
            raise section.error(key, f"no role '{rule.role}' in this scheme{suggestion(rule.role, counts)}")
        if rule.from_step >= steps:
            raise section.error("from_step", f"{rule.from_step} is never reached (steps of the run: 0..{steps - 1})")
        for place, index in enumerate(rule.actors or ()):
            if index >= counts[rule.role]:
                listed = Section(
                    {}, (*section.path, "workers" if "workers" in section.data else "actors"), section.places
                )
                what = f"there is no {rule.role} {index} ({rule.role}s: 0..{counts[rule.role] - 1})"
                raise listed.error(place, what)


def _rule(section: Section, drawn: dict[str, int]) -> Straggler:
    """One rule; `drawn` counts the rules of each random law, so that each has draws of its own."""
    role, actors = _whom(section)
    given: dict[str, Any] = {"role": role, "actors": actors}
    if "noise" in section.data:
        noise = section.section("noise", example="{kind: lognormal, sigma: 0.5}")
        kind, law = noise.choose(LAWS, "noise")
        given["noise"] = noise.build(law, beside=("kind",), of=f" of noise '{kind}'")
        given["draws"] = f"straggler/{kind}/{drawn.get(kind, 0)}"
        drawn[kind] = drawn.get(kind, 0) + 1
    rule = section.build(Straggler, beside=RULE_KEYS, defaults=given)
    if rule.by_step and role != "worker":
        key = "from_step" if "from_step" in section.data else "until_step"
        raise section.error(key, f"only workers have steps, not role '{role}': write from: or until:", at_key=True)
    return rule


def _whom(section: Section) -> tuple[str, tuple[int, ...] | None]:
    """Role, and indices in it (None: all)."""
    if "workers" in section.data:
        for key in ("role", "actors"):
            if key in section.data:
                raise section.error(key, "is given beside workers: keep one of the two", at_key=True)
        return "worker", _indices(section, "workers")
    for key, other in (("role", "actors"), ("actors", "role")):
        if key in section.data and other not in section.data:
            raise section.error(key, f"needs {other} beside it: write {{role: server, actors: [0]}}", at_key=True)
    if "role" not in section.data:
        raise section.error(None, "says not whom it slows: write workers: [3], or workers: all")
    role = section.data["role"]
    if not isinstance(role, str):
        raise section.error("role", f"{shorten(role)} is no role: write role: server")
    return role, _indices(section, "actors")


def _indices(section: Section, key: str) -> tuple[int, ...] | None:
    value = section.data[key]
    if value == "all":
        return None
    if not isinstance(value, list):
        raise section.error(key, f"{shorten(value)} is no list of indices: write [3], or all")
    for place, index in enumerate(value):
        inner = Section({}, (*section.path, key), section.places)
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise inner.error(place, f"{shorten(index)} is no index: write a whole number from 0 on")
        if index in value[:place]:
            raise inner.error(place, f"{index} is listed twice: leave one out")
    return tuple(value)
