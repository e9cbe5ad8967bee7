"""The section `compression` of a document: which code, and how it goes together with the scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parasim.fields import described, option
from parasim.program.compressor import Aggregation, Compression, Compressor
from parasim.program.model import Model
from parasim.program.scheme import Scheme
from parasim.scenario.check import Section
from parasim.scenario.scheme import warn_idle
from parasim.scenario.tables import compressor_kinds

__all__ = ["Composing", "read_compression"]


@dataclass(frozen=True, slots=True)
class Composing:
    """What can be said of any code."""

    error_feedback: bool | Literal["auto"] = option(
        "auto", "add what was lost to the next vector; auto: as the code's paper has it"
    )
    aggregation: Literal["auto", "gather", "reduce", "server"] = option(
        "auto",
        "how sums of workers are made: all get all messages, codes are all-reduced, or each owns a range; auto: as the "
        "code allows",
    )
    both_ways: bool | Literal["auto"] = option(
        "auto", "servers send parameters in code, too; auto: if the code can carry parameters"
    )


def read_compression(section: Section, scheme: Scheme, model: Model, chosen: Section) -> Compression | None:
    """How the scenario compresses what its scheme sends; None if the document says nothing.

    `chosen` is the section of the scheme: what it says of all-reduces has no effect where codes are not all-reduced.

    Raises
    ------
    ScenarioError
        If an option is wrong, or code, scheme and how they go together do not fit.
    """
    if not section.data:
        return None
    kind, cls = section.choose(compressor_kinds(), "compression")
    common = tuple(described(Composing))
    of = f" of compression '{kind}'"
    code: Compressor = section.build(cls, beside=("kind", *common), of=of)
    composing = section.build(Composing, beside=("kind", *described(cls)), of=of)
    sends = scheme.codes()
    if not sends:
        depends = type(scheme).codes is not Scheme.codes
        sent = "with these options" if depends else f"(but {scheme.taxonomy.communication})"
        raise section.error(None, f"scheme {scheme.name} sends nothing that a compressor works on {sent}: leave it out")
    if sends == "values" and not code.for_values:
        carriers = ", ".join(name for name, each in compressor_kinds().items() if each.for_values and name == each.name)
        why = f" ({scheme.no_changes})" if scheme.no_changes else ""
        what = f"scheme {scheme.name} sends models as they are, and {code.name} is for gradients{why}: use {carriers}"
        if scheme.changes_with:
            what += f", or write {scheme.changes_with}"
        raise section.error("kind", what)
    if sends == "pieces" and code.varying:
        what = f"owners of pieces don't know how long messages of {code.name} are: use another code"
        raise section.error("kind", what)
    if sends == "changes" and code.keeps_error:
        what = f"{code.name} keeps what it did not send, and the next change of a model has it too: use topk"
        raise section.error("kind", what)
    if why := scheme.no_codes(model, code):
        raise section.error("kind", f"in {scheme.name} {why}")
    aggregation = _aggregation(section, composing, code, scheme)
    if aggregation != "reduce" and sends in ("sums", "models", "messages"):
        for name in ("algorithm", "rows"):
            what = f"in compression {code.name} nothing is all-reduced (aggregation: {aggregation})"
            warn_idle(chosen, type(scheme), name, what)
    return Compression(
        code,
        _feedback(section, composing, code, sends),
        aggregation,
        _both_ways(section, composing, code, scheme),
    )


def _feedback(section: Section, composing: Composing, code: Compressor, sends: str) -> bool:
    if composing.error_feedback == "auto":
        return code.error_feedback and sends not in ("changes", "values")
    if composing.error_feedback and code.keeps_error:
        raise section.error("error_feedback", f"{code.name} keeps what it did not send itself: write auto")
    if composing.error_feedback and sends == "changes":
        raise section.error("error_feedback", "what is lost of a change is in the next change already: write auto")
    if composing.error_feedback and sends == "values":
        raise section.error(
            "error_feedback", "models that are sent as they are leave no error to send later: write auto"
        )
    return bool(composing.error_feedback)


def _aggregation(section: Section, composing: Composing, code: Compressor, scheme: Scheme) -> Aggregation:
    if scheme.codes() not in ("sums", "models"):
        if composing.aggregation != "auto":
            raise section.error("aggregation", f"scheme {scheme.name} sums nothing over workers: write auto")
        return code.aggregation  # of sums inside groups
    chosen: Aggregation = code.aggregation if composing.aggregation == "auto" else composing.aggregation
    if chosen == "reduce" and not code.rounds:
        others = "gather" if code.varying else "gather or server"
        raise section.error("aggregation", f"codes of {code.name} can't be added up by an all-reduce: use {others}")
    if chosen == "server" and code.varying:
        what = f"members don't know how long messages of {code.name} are: use gather"
        raise section.error("aggregation", what)
    return chosen


def _both_ways(section: Section, composing: Composing, code: Compressor, scheme: Scheme) -> bool:
    sends = scheme.codes()
    possible = code.for_values and sends in ("messages", "changes", "values")
    if composing.both_ways == "auto":
        return possible
    if composing.both_ways and not possible:
        why = (
            f"servers send parameters, and {code.name} is for gradients: write auto"
            if sends == "messages"
            else f"scheme {scheme.name} has no servers that send parameters: write auto"
        )
        raise section.error("both_ways", why)
    if sends in ("changes", "values") and code.for_values and not composing.both_ways:
        raise section.error("both_ways", f"scheme {scheme.name} sends models: write auto, or leave compression out")
    return composing.both_ways
