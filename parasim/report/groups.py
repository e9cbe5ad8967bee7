"""Where the traffic of groups runs, beneath the table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.text import Column, table
from parasim.units import format_quantity

__all__ = ["groups_table"]

_HEADINGS = ("inside\nnodes", "messages", "between\nnodes", "messages", "on its\nbusiest link", "of others\nthere")


def groups_table(summaries: Sequence[Mapping[str, Any]], labels: Sequence[str], width: int) -> list[str]:
    """Lines of the table; none if no scheme has groups."""
    names: list[tuple[str, str, str]] = []
    cells: list[list[str]] = []
    for summary, label in zip(summaries, labels, strict=True):
        for kind, found in summary.get("groups", {}).items():
            link = found["busiest_link"]
            names.append((label, kind, link["name"] if link else "-"))
            counts = [f"{found[place]['messages_per_step']:g}" for place in ("inside", "between")]
            sent = [_bytes(found[place]["bytes_per_step"]) for place in ("inside", "between")]
            shared = [_bytes(link["bytes_per_step"]), _bytes(sum(link["bytes_per_step_of_others"].values()))]
            cells.append([sent[0], counts[0], sent[1], counts[1], *(shared if link else ("-", "-"))])
    if not names:
        return []
    words = zip(("scenario", "group", "busiest link"), zip(*names, strict=True), strict=True)
    texts = [Column(heading, column, least=8) for heading, column in words]
    numbers = [Column(heading, column) for heading, column in zip(_HEADINGS, zip(*cells, strict=True), strict=True)]
    note = "groups: payload of all workers per step, where it runs, and the link that has most of the group's."
    return ["", *table([*texts[:2], *numbers[:4], texts[2], *numbers[4:]], width), "", note]


def _bytes(value: float) -> str:
    return format_quantity(value, "bytes") if value else "0"
