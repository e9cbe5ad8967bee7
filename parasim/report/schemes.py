"""The list of schemes: what each is, where it comes from, how stale gradients get, the time of a step, its options."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from parasim.program.scheme import Scheme

__all__ = ["option_entry", "option_lines", "scheme_entry", "schemes_list", "wrapped"]

_WIDTH = 100
_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def scheme_entry(scheme: type[Scheme]) -> dict[str, Any]:
    """Everything that a scheme says of itself, ready for JSON."""
    hints = get_type_hints(scheme.Options)
    return {
        "name": scheme.name,
        "aliases": list(scheme.aliases),
        "summary": next(iter((scheme.__doc__ or "").strip().splitlines()), ""),
        "family": dataclasses.asdict(scheme.taxonomy),
        "citation": scheme.citation,
        "staleness": scheme.staleness,
        "approximates": scheme.approximates or None,
        "closed_form": _closed_form(scheme),
        "in_code": _in_code(scheme),
        "options": [option_entry(field, hints[field.name]) for field in dataclasses.fields(scheme.Options)],
    }


_IN_CODE = {
    "sums": "Gradients that workers sum, in any code.",
    "models": "Models that workers average, or in codes for gradients their changes.",
    "messages": "Gradients to servers, in any code.",
    "values": "Models, in codes that carry parameters.",
}


def _in_code(scheme: type[Scheme]) -> str | None:
    """What of it can be sent in code (the section `compression` of a scenario); None if nothing can."""
    if scheme.codes is not Scheme.codes:  # options decide
        return " ".join((inspect.getdoc(scheme.codes) or "").replace("``", "").split())
    if not scheme.compresses:
        return None
    return _IN_CODE[scheme.compresses] + (f" No changes of them: {scheme.no_changes}." if scheme.no_changes else "")


def schemes_list(schemes: Sequence[type[Scheme]]) -> str:
    """All schemes as text."""
    return "\n\n".join(_paragraph(scheme_entry(scheme)) for scheme in schemes)


def _closed_form(scheme: type[Scheme]) -> dict[str, str] | None:
    """What its closed form of a step's time says, in words: the formula, and what it assumes; None if there is none.

    Code marks (double back-quotes) are taken out.
    """
    if scheme.closed_form is Scheme.closed_form:
        return None
    text = (inspect.getdoc(scheme.closed_form) or "").replace("``", "")
    formula, _, assumes = text.partition("\n\n")
    return {"formula": " ".join(formula.split()), "assumes": " ".join(assumes.split())}


def option_entry(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """What a field of an options class says of itself."""
    values = list(get_args(hint)) if get_origin(hint) is Literal else None
    limits = {key: field.metadata[key] for key in _LIMITS if key in field.metadata}
    kind = "choice" if values else getattr(hint, "__name__", str(hint))
    default = None if field.default is dataclasses.MISSING else field.default
    entry = {"name": field.name, "type": kind, "default": default, "doc": field.metadata.get("doc", "")}
    return entry | ({"values": values} if values else {}) | ({"limits": limits} if limits else {})


def _paragraph(entry: Mapping[str, Any]) -> str:
    aliases = f" (also: {', '.join(entry['aliases'])})" if entry["aliases"] else ""
    family = "; ".join(f"{axis}: {value}" for axis, value in entry["family"].items())
    lines = [f"{entry['name']}{aliases}", *wrapped("", entry["summary"])]
    form = entry["closed_form"]
    headed = {"family": family, "paper": entry["citation"], "staleness": entry["staleness"]}
    headed |= {"replaces": entry["approximates"]} if entry["approximates"] else {}
    headed |= {"in code": entry["in_code"] or "nothing"}
    for heading, text in (headed | ({"step": form["formula"]} if form else {})).items():
        lines += wrapped(f"{heading:<9} ", text)
    return "\n".join([*lines, *option_lines(entry["options"])])


def option_lines(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Options as text: what each is, its values and limits, its default."""
    lines = []
    for option in options:
        values = f" [{', '.join(map(str, option['values']))}]" if "values" in option else ""
        limits = "".join(f", {_LIMITS[key]} {limit:g}" for key, limit in option.get("limits", {}).items())
        default = f"default {option['default']!r}{limits}"
        lines += wrapped(f"  {option['name']}: ", f"{option['doc']}{values} ({default})")
    return lines


def wrapped(lead: str, text: str) -> list[str]:
    """Lines of an entry's paragraph."""
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=f"  {lead}", subsequent_indent=" " * (6 if lead else 2)
    )
