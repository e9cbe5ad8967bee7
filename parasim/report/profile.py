"""A profile in print: what was measured, how sure that is, and what to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from parasim.cluster.profile import Number, Profile
from parasim.cluster.profile_file import profile_text as file_text
from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["agreement_json", "agreement_text", "profile_json", "profile_text"]

_WIDTH = 120


def profile_json(profile: Profile) -> Any:
    """What its file holds."""
    return json.loads(file_text(profile))


def profile_text(profile: Profile) -> str:
    """Its numbers with their 90 % intervals, where it comes from, and warnings of the fit."""
    rows = list(_rows(profile))
    columns = [
        Column("number", [name for name, _ in rows], least=12),
        Column("value", [_shown(number.value, number.unit) for _, number in rows]),
        Column("90 % interval", [_interval(number) for _, number in rows]),
        Column("seen", [str(number.count) for _, number in rows]),
    ]
    lines = [f"{profile.name}: {_about(profile.provenance)}", "", *table(columns, _WIDTH), ""]
    lines += [f"{what}: {_list(list(found))}" for what, found in _tables(profile) if found]
    lines += [f"noise of {of}: {_law(law)}" for of, law in profile.noise.items()]
    lines += [f"valid for {of}: {least:.4g} to {most:.4g}" for of, (least, most) in profile.validity.items()]
    lines += [f"not measured: {probe}: {why}" for probe, why in profile.provenance.get("skipped", {}).items()]
    lines += [f"WARNING: {text}" for text in profile.provenance.get("warnings", ())]
    return "\n".join(lines)


class Agreement(Protocol):
    """Of two profiles: how many numbers both have, and those that are apart, by name."""

    @property
    def count(self) -> int:
        """Of both."""

    @property
    def apart(self) -> Mapping[str, tuple[Number, Number]]:
        """Those that differ by more than their intervals allow."""


def agreement_json(found: Agreement) -> Any:
    """`numbers`, the share of them that agree (None of none), and those that are `apart`, by name."""
    return {
        "numbers": found.count,
        "agree": 1 - len(found.apart) / found.count if found.count else None,
        "apart": {name: {"odd": asdict(odd), "even": asdict(even)} for name, (odd, even) in found.apart.items()},
    }


def agreement_text(found: Agreement) -> str:
    """What odd and even rounds say of the same numbers, where they differ; and how often they agree."""
    agree = found.count - len(found.apart)
    total = f"odd and even rounds agree in {agree} of {found.count} numbers"
    if not found.count:
        return total
    columns = [Column("number", list(found.apart), least=12)]
    for place, half in enumerate(("odd", "even")):
        numbers = [pair[place] for pair in found.apart.values()]
        columns.append(Column(half, [_shown(number.value, number.unit) for number in numbers]))
        columns.append(Column("90 % interval", [_interval(number) for number in numbers]))
    rows = [*table(columns, _WIDTH), ""] if found.apart else []
    return "\n".join([*rows, f"{total} ({agree / found.count:.0%}; nine of ten do by 90 % intervals that are right)"])


def _rows(profile: Profile) -> Iterator[tuple[str, Number]]:
    """All numbers but those of curves and blocks."""
    yield "arithmetic of a core", profile.flops
    yield "memory of a core", profile.memory_bandwidth
    for cores, number in enumerate(profile.contention, 1):
        yield f"slowdown of {cores} cores", number
    for what, costs in (("handling", profile.handling), ("idle", profile.idle), ("native", profile.native)):
        for name, number in costs.items():
            yield f"{what}.{name}", number
    for name, way in profile.transports.items():
        yield f"{name}: goodput", way.goodput
        if way.bandwidth is not None:
            yield f"{name}: bandwidth", way.bandwidth
    for of, number in profile.drift.items():
        yield f"drift of {of}", number


def _tables(profile: Profile) -> Iterator[tuple[str, Sequence[str]]]:
    yield "curves", sorted(profile.kernels)
    yield "blocks", sorted(profile.blocks)


def _about(provenance: Mapping[str, Any]) -> str:
    machine, versions = provenance.get("machine", {}), provenance.get("versions", {})
    cores = machine.get("cores")
    facts = [
        machine.get("processor"),
        f"{cores} core{'s' * (cores != 1)}" if cores else None,
        machine.get("system"),
        f"Linux {machine['kernel']}" if "kernel" in machine else None,
        f"torch {versions['torch']}" if "torch" in versions else None,
        provenance.get("date"),
    ]
    return ", ".join(str(fact) for fact in facts if fact) or "of no machine that it tells"


def _list(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _WIDTH else f"{len(names)}, among them {text[: _WIDTH // 2].rpartition(',')[0]}"


def _law(law: Mapping[str, Any]) -> str:
    parameters = {name: value.value if isinstance(value, Number) else value for name, value in law.items()}
    kind = parameters.pop("kind", "none")
    shown = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{len(value)} {name}"
        for name, value in parameters.items()
    ]
    return " ".join([str(kind), *shown])


def _interval(number: Number) -> str:
    return f"{_shown(number.low, number.unit)} to {_shown(number.high, number.unit)}"


def _shown(value: float, unit: str) -> str:
    return format_quantity(value, unit) if unit else f"{value:.4g}"
