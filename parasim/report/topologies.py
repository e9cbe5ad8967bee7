"""What people read of topologies: the list of kinds, and the hosts, switches and cables of one cluster."""

from __future__ import annotations

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from parasim.cluster.hosts import Device
from parasim.cluster.topologies import TOPOLOGIES
from parasim.cluster.topology import Topology, Wiring
from parasim.fields import default_of, described
from parasim.report.text import Column, shortened, table
from parasim.scenario.model import ClusterSpec
from parasim.units import format_quantity

__all__ = ["Cable", "cables_of", "cluster_entry", "cluster_text", "counted", "kind_entries", "kinds_text"]

_MAX_LISTED = 64
_MAX_NAMES = 60
_WIDTH = 110
_LEGEND = (
    "B: bandwidth of the scenario's link, which each of the two directions of a cable has. Diameter: links on the",
    "longest route. Formulas for even numbers, where that matters; parasim topologies KIND options... gives the exact",
    "figures of any: parasim topologies torus dimensions=[4,4,4]",
)
_HEADINGS = {
    "hosts": "hosts N",
    "switches": "switches",
    "cables": "cables",
    "diameter": "diameter",
    "bisection": "bisection bandwidth",
}


class Cable(NamedTuple):
    """A cable, or one link where the other direction differs or is not there; seconds and bytes/s."""

    name: str
    ends: tuple[int, int]
    bandwidth: float
    latency: float


def cables_of(wiring: Wiring) -> list[Cable]:
    """Every cable in the order of its first link; two directions that are alike are one cable."""
    found: list[Cable] = []
    for (start, end), link in wiring.links.items():
        back = wiring.links.get((end, start))
        alike = back is not None and (back.bandwidth, back.latency) == (link.bandwidth, link.latency)
        if start == end or (alike and start > end):
            continue
        name = f"{wiring.name(start)}{'<->' if alike else '->'}{wiring.name(end)}"
        found.append(Cable(name, (start, end), link.bandwidth, link.latency))
    return found


# the kinds -----------------------------------------------------------------------------------------------------------
def kind_entries() -> list[dict[str, Any]]:
    """Everything that the topologies say of themselves, ready for JSON."""
    return [
        {
            "kind": kind,
            "summary": next(iter((topology.__doc__ or "").splitlines()), ""),
            "options": [_option(entry) for entry in described(topology).values()],
            **{key: value for key, value in topology.facts._asdict().items() if key in _HEADINGS},
        }
        for kind, topology in TOPOLOGIES.items()
    ]


def kinds_text() -> str:
    """A table of the kinds with their formulas, and their options below it."""
    entries = kind_entries()
    columns = [Column("kind", [entry["kind"] for entry in entries], 12)]
    for fact, heading in _HEADINGS.items():
        columns.append(Column(heading, [entry[fact] for entry in entries], 80))
    lines = table(columns, _WIDTH)
    lines += ["", *_LEGEND]
    for entry in entries:
        lines += ["", *textwrap.wrap(f"{entry['kind']}: {entry['summary']}", _WIDTH)]
        for option in entry["options"]:
            default = "needed" if option["needed"] else f"default {option['default']}"
            letter = TOPOLOGIES[entry["kind"]].facts.letters.get(option["name"], option["name"])
            name = option["name"] if letter == option["name"] else f"{option['name']} ({letter})"
            line = f"{name}: {option['doc']} ({default})"
            lines += textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def _option(entry: dataclasses.Field[Any]) -> dict[str, Any]:
    default = default_of(entry)
    plain = list(default) if isinstance(default, tuple) else default
    return {
        "name": entry.name,
        "doc": entry.metadata["doc"],
        "needed": default is dataclasses.MISSING,
        "default": None if default is dataclasses.MISSING else plain,
    }


# one cluster ---------------------------------------------------------------------------------------------------------
def cluster_entry(name: str, cluster: ClusterSpec) -> dict[str, Any]:
    """Everything that is known of one cluster, ready for JSON."""
    wiring, topology = cluster.wiring(), cluster.topology
    return {
        "name": name,
        "kind": topology.kind,
        "options": _options(topology),
        "hosts": topology.hosts,
        "switches": len(wiring.switches),
        "diameter": topology.diameter,
        "bisection_bytes_per_second": topology.bisection(cluster.link),
        "routing": {"kind": cluster.routing.kind, **dataclasses.asdict(cluster.routing)},
        "cut": _cut(cluster, wiring),
        "links": [
            {
                "name": f"{wiring.name(start)}->{wiring.name(end)}",
                "bandwidth": link.bandwidth,
                "latency": link.latency,
            }
            for (start, end), link in wiring.links.items()
        ],
    }


def cluster_text(name: str, cluster: ClusterSpec, *, every: bool = False) -> str:
    """The cluster in some lines, and a table of its cables; many are shown by groups of a kind, unless `every` is."""
    wiring, topology = cluster.wiring(), cluster.topology
    cables = cables_of(wiring)
    bisection = topology.bisection(cluster.link)
    options = ", ".join(f"{key} {value}" for key, value in _options(topology, format_quantity).items())
    shown = "not known (no closed formula)" if bisection is None else format_quantity(bisection, "bytes/s")
    single = any("<->" not in cable.name for cable in cables)
    as_designed = " (before links were changed)" if cluster.changes.links else ""
    lines = [
        f"{name}: {topology.kind} ({options})",
        f"{counted(topology.hosts, 'host', 's')}, {counted(len(wiring.switches), 'switch', 'es')}, {len(cables)} cables"
        f"{' and single links' if single else ''}, {len(wiring.links)} links",
        f"diameter {topology.diameter} links, bisection bandwidth {shown}{as_designed}",
        f"routing {cluster.routing.kind}"
        + "".join(f", {key} {value}" for key, value in dataclasses.asdict(cluster.routing).items()),
    ]
    if cut := _cut(cluster, wiring):
        lines.append(f"cut: {', '.join(cut)}")
    lines += _parted(wiring)
    lines += _hosts_of_their_own(cluster, wiring)
    return "\n".join([*lines, "", *_cable_table(cables, every=every)])


def counted(number: int, word: str, plural: str) -> str:
    """A number of things: "1 host", "no switches"."""
    return f"{number or 'no'} {word}{'' if number == 1 else plural}"


def _cable_table(cables: Sequence[Cable], *, every: bool) -> list[str]:
    rows: list[tuple[str, int, float, float]]
    if every or len(cables) <= _MAX_LISTED:
        rows = [(cable.name, 1, cable.bandwidth, cable.latency) for cable in cables]
    else:
        groups: dict[tuple[str, float, float], list[Cable]] = {}
        for cable in cables:
            groups.setdefault((re.sub(r"\d+", "#", cable.name), cable.bandwidth, cable.latency), []).append(cable)
        rows = [
            (f"{group[0].name} ... {group[-1].name}" if group[1:] else group[0].name, len(group), *key[1:])
            for key, group in groups.items()
        ]
    listed = rows if every else rows[:_MAX_LISTED]
    columns = [Column("cable (a<->b) or link (a->b)", [name for name, *_ in listed], 24)]
    if any(number > 1 for _, number, _, _ in listed):
        columns.append(Column("number", [str(number) for _, number, _, _ in listed]))
    columns += [
        Column("bandwidth", [format_quantity(bandwidth, "bytes/s", 4) for *_, bandwidth, _ in listed]),
        Column("latency", [format_quantity(latency, "seconds", 4) for *_, latency in listed]),
    ]
    lines = table(columns, max(100, shutil.get_terminal_size((100, 24)).columns))
    if len(rows) > len(listed):
        lines.append(f"... and {len(rows) - len(listed)} more kinds of cables")
    if len(rows) < len(cables) or len(listed) < len(rows):
        lines.append("(--all lists every cable)")
    return lines


def _options(topology: Topology, quantity: Callable[[float, str], object] = lambda value, _: value) -> dict[str, Any]:
    """Options of a topology as files write them, less those at their defaults; `quantity` shows units."""
    shown: dict[str, Any] = {}
    for name, entry in described(type(topology)).items():
        value = getattr(topology, name)
        if value is not None and (dimension := entry.metadata.get("dimension")):
            value = quantity(value, dimension)
        if value not in ((), default_of(entry)):
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown


def _cut(cluster: ClusterSpec, wiring: Wiring) -> list[str]:
    """Names of the links that were cut."""
    cut = {ends for ends, link in cluster.changes.links.items() if link is None}
    names = []
    for start, end in sorted(cut):
        both = (end, start) in cut
        if not both or start < end:
            names.append(f"{wiring.name(start)}{'<->' if both else '->'}{wiring.name(end)}")
    return names


def _parted(wiring: Wiring) -> list[str]:
    """A line if the cuts leave hosts without a route."""
    lost = wiring.parted_from(0)
    if not lost:
        return []
    more = f" and {len(lost) - 1} more" if lost[1:] else ""
    return [f"PARTED: no route joins {wiring.name(0)} with {wiring.name(lost[0])}{more}, in one direction or both"]


def _hosts_of_their_own(cluster: ClusterSpec, wiring: Wiring) -> list[str]:
    """A line for each kind of host that differs from the rest."""
    kinds: dict[tuple[int, Device], list[str]] = {}
    for host in wiring.hosts:
        if (host.cores, host.device) != (cluster.host.cores, cluster.host.device):
            kinds.setdefault((host.cores, host.device), []).append(host.name)
    return [
        f"{shortened(', '.join(names), _MAX_NAMES)}: {counted(cores, 'core', 's')} of {device.name or 'a device'}"
        f" with {format_quantity(device.flops, 'FLOP/s')}"
        for (cores, device), names in kinds.items()
    ]
