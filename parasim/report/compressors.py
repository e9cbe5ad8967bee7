"""The list of compressors: what each is, where it comes from, how long its messages are, its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_type_hints

from parasim.program.compressor import Compressor
from parasim.report.schemes import option_entry, option_lines, wrapped

__all__ = ["compressor_entry", "compressors_list"]

_SUMS = {
    "gather": "every worker gets all messages (gather)",
    "reduce": "all-reduce of codes (reduce)",
    "server": "every worker sums a range and codes it again (server)",
}


def compressor_entry(code: type[Compressor]) -> dict[str, Any]:
    """Everything that a compressor says of itself, ready for JSON."""
    hints: dict[str, Any] = get_type_hints(code)
    fields: Any = dataclasses.fields(code)  # type: ignore[arg-type] # all of the table are dataclasses
    return {
        "name": code.name,
        "aliases": list(code.aliases),
        "summary": (code.__doc__ or "").strip().splitlines()[0],
        "citation": code.citation,
        "bytes": code.law,
        "unbiased": code.unbiased,
        "error_feedback": "of its own" if code.keeps_error else code.error_feedback,
        "aggregation": code.aggregation,
        "carries_parameters": code.for_values,
        "length_varies": code.varying,
        "options": [option_entry(field, hints[field.name]) for field in fields],
    }


def compressors_list(codes: Sequence[type[Compressor]]) -> str:
    """All compressors as text."""
    return "\n\n".join(_paragraph(compressor_entry(code)) for code in codes)


def _paragraph(entry: dict[str, Any]) -> str:
    aliases = f" (also: {', '.join(entry['aliases'])})" if entry["aliases"] else ""
    feedback = {True: "yes", False: "no"}.get(entry["error_feedback"], entry["error_feedback"])
    facts = {
        "paper": entry["citation"],
        "bytes": f"{entry['bytes']} (of W numbers in float32)",
        "bias": "none" if entry["unbiased"] else "biased",
        "feedback": f"of errors: {feedback}",
        "sums": _SUMS[entry["aggregation"]],
        "carries": "gradients, changes of models, parameters" if entry["carries_parameters"] else "gradients, changes",
    }
    lines = [f"{entry['name']}{aliases}", *wrapped("", entry["summary"].replace("``", ""))]
    for heading, text in facts.items():
        lines += wrapped(f"{heading:<9} ", text)
    return "\n".join([*lines, *option_lines(entry["options"])])
