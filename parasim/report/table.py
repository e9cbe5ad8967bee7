"""The table of results: one row per run, one line per column that explains it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parasim.metrics.rates import WHILE_ALL_WORK, ends_apart
from parasim.report.groups import groups_table
from parasim.report.members import members_line
from parasim.report.text import Column, shortened, table
from parasim.units import format_quantity

__all__ = [
    "NONE",
    "WIDTH",
    "count",
    "coupled_collectives",
    "explanations",
    "marks",
    "percent",
    "profile_words",
    "quantity",
    "rates_apart",
    "results_columns",
    "results_footer",
    "results_table",
]

WIDTH = 120
NONE = "-"
_MOST_SIZES = 12
_ENDS_APART = "while all work: each worker's own samples per s, summed; the run lasts until the slowest ends."

Summary = Mapping[str, Any]


def results_table(summaries: Sequence[Summary], labels: Sequence[str], title: str = "") -> str:
    """Write a table of runs, at most 120 columns wide, that a newcomer can read.

    Parameters
    ----------
    summaries
        `Result.summary` of each run.
    labels
        Name of each row: the variant's, or the scenario's.
    title
        A line above the table, if not empty.
    """
    lines = [shortened(title, WIDTH), ""] if title else []
    lines += [*table(results_columns(summaries, labels), WIDTH), ""]
    lines += [*results_footer(summaries), *_apart(summaries, labels), *groups_table(summaries, labels, WIDTH)]
    return "\n".join(lines)


def results_columns(summaries: Sequence[Summary], labels: Sequence[str]) -> list[Column]:
    """The columns of that table; the first one holds the labels."""
    clocks = [str(summary["clock"]) for summary in summaries]
    return [
        Column("scenario", list(labels), least=4),
        Column("scheme", [str(summary["scheme"]) for summary in summaries], least=9),
        *([Column("clock", clocks, least=9)] if len(set(clocks)) > 1 else []),
        Column("workers", [str(summary["workers"]) for summary in summaries]),
        Column("time per\nstep", [quantity(summary["seconds_per_step"], "seconds") for summary in summaries]),
        Column("samples\nper s", [count(summary["samples_per_second"]) for summary in summaries]),
        *(
            Column(share, [percent(summary["shares"], share) for summary in summaries], narrow=narrow)
            for share, narrow in (("compute", "com-\npute"), ("transfer", "trans-\nfer"), ("wait", ""))
        ),
        Column("sent per\nstep", [quantity(s["bytes_sent_per_worker_per_step"], "bytes") for s in summaries]),
        Column(
            "messages\nper step",
            [count(summary["messages_sent_per_worker_per_step"]) for summary in summaries],
            narrow="mes-\nsages",
        ),
        Column("staleness\nmean (max)", [_staleness(summary) for summary in summaries]),
        *([Column("loss", [_loss(summary) for summary in summaries])] if _learned(summaries) else []),
        Column("memory", [quantity(summary["memory_bytes_per_worker"], "bytes") for summary in summaries]),
    ]


def results_footer(summaries: Sequence[Summary]) -> list[str]:
    """Sentences that explain the columns, and marks of what is not calibrated."""
    return [*explanations(summaries), *marks(summaries)]


def explanations(summaries: Sequence[Summary]) -> list[str]:
    """Sentences that explain the columns."""
    return [
        *([_ENDS_APART] if ends_apart(summaries) else []),
        "compute, transfer, wait: how a worker's main line of work spends its time; they sum to 100 %.",
        "sent, messages: payload that a worker sends per step. memory: most that it held. All are means over workers.",
        "staleness: changes of the parameters between their reading and the use of the gradient computed from them.",
        *(["loss: of the first step -> of the last."] if _learned(summaries) else []),
    ]


def marks(summaries: Sequence[Summary]) -> list[str]:
    """What must be said of figures wherever they are shown: what is not calibrated, not measured, not real data."""
    lines = _synthetic(summaries) if _learned(summaries) else []
    lines += list(dict.fromkeys(line for summary in summaries if (line := _facts(summary))))
    lines += [line for summary in summaries if (line := members_line(summary))]
    lines += [line for summary in summaries if (line := _modelled(summary))]
    lines += [line for summary in summaries if (line := _chosen(summary))]
    lines += [f"COUPLED: {coupled}."] if (coupled := coupled_collectives(summaries)) else []
    lines += [line for summary in summaries if (line := _too_large(summary))]
    simulated = [summary for summary in summaries if summary["clock"] == "simulated"]
    lines += [f"PROFILE: {words}." for words in dict.fromkeys(profile_words(s) for s in simulated) if words]
    uncalibrated = [summary for summary in simulated if not summary["calibrated"]]
    by_sheets = [summary for summary in uncalibrated if summary.get("data_sheets")]
    by_numbers = [s for s in uncalibrated if not s.get("data_sheets") and not s.get("profile")]
    for rows, source in ((by_numbers, "plain numbers"), (by_sheets, "data sheet values")):
        if rows:
            which = "" if len(rows) == len(simulated) else f" ({len(rows)} of {len(simulated)} rows)"
            what = f"the device is described by {source}, not by measurements of a machine"
            lines.append(f"UNCALIBRATED{which}: {what}{':' if rows is by_sheets else '.'}")
    return lines + [f"  {sheet}" for sheet in dict.fromkeys(sheet for row in by_sheets for sheet in row["data_sheets"])]


def profile_words(summary: Summary) -> str:
    """On whose measurements a run rests; empty if on nobody's."""
    profile = summary.get("profile")
    if not profile:
        return ""
    names = " and ".join(profile["names"])
    if profile["replaced"]:
        return f"measurements of {names}, UNCALIBRATED as the scenario replaces {', '.join(profile['replaced'])}"
    partly = "" if summary["calibrated"] else ", UNCALIBRATED as some hosts have devices without measurements"
    return f"measurements of {names}{partly}"


def _chosen(summary: Summary) -> str:
    """Which batch sizes a run has chosen, and from which step on."""
    sizes = [f"{size['samples']} from step {size['step']}" for size in summary.get("batches") or ()]
    shown = ", ".join(sizes[:_MOST_SIZES]) + (" ..." if len(sizes) > _MOST_SIZES else "")
    return f"{summary['scenario']}: samples per worker {shown}: chosen by trials, whose time counts." if sizes else ""


def _synthetic(summaries: Sequence[Summary]) -> list[str]:
    """A line if a loss that is shown is not of real data."""
    learned = [summary for summary in summaries if _loss(summary) != NONE]
    found = [data["kind"] for summary in learned if (data := summary.get("data")) and data["synthetic"]]
    if not found:
        return []
    which = "" if len(found) == len(learned) else f" ({len(found)} of {len(learned)} losses)"
    kinds = ", ".join(dict.fromkeys(found))
    return [f"SYNTHETIC DATA{which}: the loss is of generated data ({kinds}), not of a real data set."]


def _facts(summary: Summary) -> str:
    """A line of what the scheme says of its options, if anything."""
    found = ", ".join(f"{name} = {value:.4g}" for name, value in summary.get("facts", {}).items())
    return found and f"{summary['scenario']}: {found}."


def _modelled(summary: Summary) -> str:
    """A line of the time to a target that is modelled; empty without such a model."""
    found = summary.get("modelled")
    if not found or found["seconds"] is None:
        return ""
    late = f", {found['staleness']:.3g} updates late" if found["staleness"] else ""
    what = f"{count(found['updates'])} updates of {count(found['batch'])} samples{late}"
    return f"MODELLED, not measured: {summary['scenario']}: {quantity(found['seconds'], 'seconds')} to target: {what}."


def coupled_collectives(summaries: Sequence[Summary]) -> str:
    """How many collectives were not simulated message by message; empty if there are none."""
    counts = [summary["collectives"] for summary in summaries if summary.get("collectives")]
    coupled = sum(count["coupled"] for count in counts)
    if not coupled:
        return ""
    whole = coupled + sum(count["message"] for count in counts)
    return f"{coupled} of {whole} collectives were simulated as one flow each, not message by message"


def _apart(summaries: Sequence[Summary], labels: Sequence[str]) -> list[str]:
    """What workers that end apart take together, as there is no column for it."""
    rows = rates_apart(zip(labels, summaries, strict=True))
    return textwrap.wrap(f"ENDS APART: samples per s while all work: {rows}.", WIDTH) if rows else []


def rates_apart(labelled: Iterable[tuple[str, Summary]]) -> str:
    """Of runs whose workers end apart: label, and samples per second while all work."""
    return ", ".join(f"{label} {count(run[WHILE_ALL_WORK])}" for label, run in labelled if ends_apart([run]))


def _learned(summaries: Sequence[Summary]) -> bool:
    return any(_loss(summary) != NONE for summary in summaries)


def _too_large(summary: Summary) -> str:
    """A line if an actor holds more than its device does."""
    found = summary.get("does_not_fit")
    if found is None:
        return ""
    most, limit = (format_quantity(found[which], "bytes") for which in ("held_bytes", "device_bytes"))
    return f"DOES NOT FIT: in {summary['scenario']} {found['actor']} holds {most}, its device has {limit}."


def quantity(value: float | None, dimension: str) -> str:
    """A number with its unit; a dash for none."""
    return NONE if value is None else format_quantity(value, dimension)


def count(value: float | None) -> str:
    """A number to three digits, with k, M, G for thousands."""
    if value is None:
        return NONE
    value = float(f"{value:.3g}")
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:g}"


def percent(shares: Mapping[str, float] | None, share: str) -> str:
    """One of the shares of time as a whole percentage; a dash for none."""
    if not shares or shares.get(share) is None:
        return NONE
    value = 100 * shares[share]
    return "<1%" if 0 < value < 0.5 else f"{value:.0f}%"


def _staleness(summary: Summary) -> str:
    staleness = summary["staleness"]
    if not staleness or staleness.get("mean") is None:
        return NONE
    return f"{count(staleness['mean'])} ({count(staleness['max'])})"


def _loss(summary: Summary) -> str:
    loss = summary["loss"] or {}
    first, last = loss.get("first"), loss.get("last")
    return NONE if first is None or last is None else f"{first:.3g}->{last:.3g}"
