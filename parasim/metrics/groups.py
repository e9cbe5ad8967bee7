"""Where the traffic of each kind of group runs: inside nodes or between them, and over which links most.

Groups of one kind have names that differ in their numbers ("tensor 0", "tensor 1"); messages outside collectives are a
kind of their own. All figures are payload of all actors together, per step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from parasim.trace.rows import Row

__all__ = ["group_traffic"]


def group_traffic(
    rows: Iterable[Row],
    steps: int,
    alone: str,
    nodes: Sequence[int],
    links: Callable[[int, int], Sequence[str]],
    members: Callable[[str], Sequence[int]],
) -> dict[str, Any]:
    """By kind of group: what is sent `inside` nodes and `between` them, and the `busiest_link` of its messages.

    Parameters
    ----------
    rows
        Of the whole run; those of sends count.
    steps
        Of the run, at least one.
    alone
        What messages outside collectives are called.
    nodes
        The node that each rank is in.
    links
        From two ranks to the names of the links between them.
    members
        From the name of a group to its ranks. A collective that was simulated as one flow has no messages: they are
        taken to go round in this order, as a ring's do.
    """
    sent: dict[tuple[str, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if row.op == "send" and row.nbytes:
            peer = row.peer
            if row.outcome == "coupled":
                ranks = members(row.group)
                peer = ranks[(ranks.index(row.rank) + 1) % len(ranks)]
            kind = row.group.rstrip("0123456789").strip() or alone
            counts = sent[kind, row.rank, peer]
            counts[0] += row.nbytes
            counts[1] += row.messages if row.outcome == "coupled" else 1
    found: dict[str, Any] = {}
    loads: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (kind, source, destination), (nbytes, messages) in sorted(sent.items()):
        none = {"bytes_per_step": 0.0, "messages_per_step": 0.0}
        figures = found.setdefault(kind, {"inside": dict(none), "between": dict(none)})
        place = figures["inside" if nodes[source] == nodes[destination] else "between"]
        place["bytes_per_step"] += nbytes / steps
        place["messages_per_step"] += messages / steps
        for link in links(source, destination):
            loads[link][kind] += nbytes
    for kind, figures in found.items():
        name = max(loads, key=lambda link: loads[link].get(kind, 0), default="")
        load = loads.get(name, {})
        others = {other: nbytes / steps for other, nbytes in load.items() if other != kind}
        busiest = {"name": name, "bytes_per_step": load.get(kind, 0) / steps, "bytes_per_step_of_others": others}
        figures["busiest_link"] = busiest if kind in load else None
    return found
