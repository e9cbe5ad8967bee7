"""The sections `hosts` and `links` of a cluster: single hosts and links that differ from the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from parasim.cluster.changes import Changes
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.profiled import host_of, transport_of
from parasim.cluster.topology import Wiring
from parasim.scenario.check import Section, shorten, suggestion
from parasim.scenario.devices import read_device
from parasim.scenario.profiles import PROFILE, Profiles

if TYPE_CHECKING:
    from parasim.scenario.model import ClusterSpec

__all__ = ["CUT", "HOST_KEYS", "LINK_KEYS", "check_joined", "read_changes"]

HOST_KEYS = {
    PROFILE: "a machine as calibrate measured it: its cores, device, contention and handling",
    "cores": "number of cores",
    "device": "what they compute with",
}
LINK_KEYS = {
    "bandwidth": "of each direction",
    "latency": "of each direction",
    "cut": "true: the cable is not there, and routes go around it",
}
CUT = "cut"
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MAX_NAMES = 5_000
_LINKS = '{"host0<->switch": {bandwidth: 1 Gbit/s}}'


def read_changes(
    cluster: Section, wiring: Wiring, loopback: Callable[[Device], Link], dtype: str, profiles: Profiles
) -> Changes:
    """What `hosts` and `links` of the cluster say.

    Parameters
    ----------
    cluster
        The section `cluster`.
    wiring
        The cluster without these changes.
    loopback
        The link from a host to itself.
    dtype
        The workload's, for data sheets.
    profiles
        Reads those of single hosts.

    Raises
    ------
    ScenarioError
        If a host or link does not exist or is named twice, or a value is wrong.
    """
    hosts = _hosts(cluster.section("hosts", optional=True, example="{3: {cores: 2}}"), wiring, dtype, profiles)
    links = _links(cluster.section("links", optional=True, example=_LINKS), Changes(hosts).apply(wiring), loopback)
    return Changes(hosts, links)


def check_joined(cluster: Section, spec: ClusterSpec, placement: Sequence[int]) -> None:
    """Refuse cuts that leave no route between hosts on which actors sit, in one direction or both."""
    if None not in spec.changes.links.values():
        return
    wiring = spec.wiring()
    first = placement[0]
    lost = sorted(set(placement).intersection(wiring.parted_from(first)))
    if lost:
        more = f" and {len(lost) - 1} more" if lost[1:] else ""
        raise cluster.section("links").error(
            None,
            f"the cuts leave no route between {wiring.name(first)} and {wiring.name(lost[0])}{more}, in one"
            " direction or both, where actors sit: mend a cable, or choose hosts that are joined by placement",
        )


def _hosts(section: Section, wiring: Wiring, dtype: str, profiles: Profiles) -> dict[int, Host]:
    changed: dict[int, Host] = {}
    said: dict[int, str | int] = {}
    last = len(wiring.hosts) - 1
    for key in section.data:
        found = _RANGE.fullmatch(str(key)) if not isinstance(key, bool) else None
        if found is None:
            what = 'is no host: write {3: {cores: 2}}, or {"4-7": {cores: 2}} for hosts 4 to 7'
            raise section.error(key, what, at_key=True)
        first, end = int(found[1]), int(found[2] or found[1])
        if not first <= end <= last:
            raise section.error(key, f"there are no such hosts (hosts: 0..{last})", at_key=True)
        inner = section.section(key, example="{cores: 2}")
        inner.only(HOST_KEYS)
        if not inner.data:
            raise section.error(key, "says nothing: give profile, cores or device, or leave it out")
        own = _own(inner, dtype, profiles, len(wiring.hosts))
        for number in range(first, end + 1):
            if number in said:
                raise section.error(key, f"host {number} is named under {said[number]!r} already", at_key=True)
            said[number] = key
            host = wiring.hosts[number]
            usual = {entry.name: getattr(host, entry.name) for entry in fields(Host)}
            changed[number] = inner.build(Host, beside=(PROFILE, "device"), defaults={**usual, **own})
    return changed


def _own(section: Section, dtype: str, profiles: Profiles, hosts: int) -> dict[str, Any]:
    """What a host has that differs from the others, but its cores: a device replaces that of its profile."""
    own: dict[str, Any] = {}
    profile = profiles.read(section)
    if profile is not None:
        with section.blamed(PROFILE):
            machine = host_of(profile, transport_of(profile, None, hosts))
        own = {entry.name: getattr(machine, entry.name) for entry in fields(Host) if entry.name != "name"}
    if "device" in section.data:
        own |= {"device": read_device(section, dtype), "contention": ()}
    return own


def _links(section: Section, wiring: Wiring, loopback: Callable[[Device], Link]) -> dict[tuple[int, int], Link | None]:
    if not section.data:
        return {}
    count = len(wiring.hosts) + len(wiring.switches)
    numbers = {wiring.name(node): node for node in range(count)}
    changed: dict[tuple[int, int], Link | None] = {}
    for key, value in section.data.items():
        for ends in _ends(section, key, wiring, numbers):
            if ends in changed:
                first, second = map(wiring.name, ends)
                raise section.error(key, f"link {first}->{second} is named twice", at_key=True)
            link = wiring.links.get(ends) or loopback(wiring.hosts[ends[0]].device)
            changed[ends] = _link(section, key, value, link, inside=ends[0] == ends[1])
    return changed


def _link(section: Section, key: str | int, value: object, link: Link, *, inside: bool) -> Link | None:
    """The link with what the value says of it; None if it is cut."""
    if value == CUT:
        cut = True
    elif isinstance(value, dict):
        inner = section.section(key)
        inner.only(LINK_KEYS)
        cut = inner.data.get(CUT, False)
        if not isinstance(cut, bool):
            raise inner.error(CUT, f"{shorten(cut)} must be true or false")
        if cut and len(inner.data) > 1:
            raise inner.error(CUT, "leaves nothing of the link: take bandwidth and latency out", at_key=True)
        if not inner.data:
            raise section.error(key, "says nothing: give bandwidth, latency or cut, or leave it out")
    else:
        raise section.error(key, f"is {shorten(value)}: write {{bandwidth: 1 Gbit/s}}, or cut")
    if cut and inside:
        raise section.error(key, "is inside a host and can't be cut", at_key=True)
    if cut:
        return None
    return inner.build(
        Link, beside=(CUT,), defaults={"name": link.name, "bandwidth": link.bandwidth, "latency": link.latency}
    )


def _ends(section: Section, key: str | int, wiring: Wiring, numbers: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Nodes at the ends of the link, or of both links of the cable, that a key names."""
    text = str(key)
    arrow = "<->" if "<->" in text else "->"
    names = [name.strip() for name in text.split(arrow)]
    if len(names) != 2:
        what = 'is no link: write "host0->host1" for one direction, "host0<->host1" for both'
        raise section.error(key, what, at_key=True)
    for name in names:
        if name not in numbers:
            hint = suggestion(name, numbers) if len(numbers) <= _MAX_NAMES else ""
            raise section.error(key, f"no host or switch is called {shorten(name)}{hint}", at_key=True)
    first, second = (numbers[name] for name in names)
    for ends in ((first, second), (second, first))[: 2 if arrow == "<->" and first != second else 1]:
        if ends not in wiring.links and first != second:
            raise section.error(key, _no_link(wiring, *ends), at_key=True)
        yield ends


def _no_link(wiring: Wiring, start: int, end: int) -> str:
    after = [wiring.name(other) for node, other in wiring.links if node == start]
    listed = ", ".join(after[:8]) + (", ..." if len(after) > 8 else "")
    return f"no link leads from {wiring.name(start)} to {wiring.name(end)} (from there: {listed or 'none'})"
