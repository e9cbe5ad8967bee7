"""The sections `scheme` and `optimizer` of a document."""

from __future__ import annotations

import warnings
from dataclasses import replace

from parasim.errors import ScenarioWarning
from parasim.fields import default_of, described
from parasim.program.scheme import Scheme
from parasim.scenario.check import Section, shorten
from parasim.scenario.model import ClusterSpec, Optimizer
from parasim.scenario.placement import place
from parasim.scenario.progress import SCHEDULE
from parasim.scenario.tables import optimizer_kinds, scheme_kinds

__all__ = ["MAX_ACTORS", "read_optimizer", "read_scheme", "warn_idle"]

MAX_ACTORS = 1_000_000


def read_scheme(section: Section, cluster_section: Section, cluster: ClusterSpec) -> tuple[Scheme, tuple[int, ...]]:
    """The scheme with its number of workers resolved, and the host of every rank."""
    kind, scheme = section.choose(scheme_kinds(), "scheme")
    preset = scheme_kinds().preset(kind)
    options = section.build(scheme.Options, beside=("kind", "placement"), defaults=preset, of=f" of scheme '{kind}'")
    hosts = cluster.hosts
    if options.workers > MAX_ACTORS:
        raise section.error("workers", f"{options.workers} workers are too many; the limit is {MAX_ACTORS}")
    with section.blamed(None):
        extra = scheme.extra_actors(options)
        workers = options.workers or min(max(1, hosts - extra), scheme.most_workers or MAX_ACTORS)
        built = scheme(replace(options, workers=workers))
        roles = built.roles()
    for name, why in built.options.idle().items():
        warn_idle(section, scheme, name, why)
    total = sum(role.count for role in roles)
    if total > MAX_ACTORS:
        raise section.error(None, f"{total} actors are too many; the limit is {MAX_ACTORS}")
    with section.blamed(None):
        built.groups()
    chosen = _placement(section, cluster_section)
    with (section if "placement" in section.data else cluster_section).blamed("placement"):
        return built, place(roles, hosts, chosen)


def warn_idle(section: Section, scheme: type[Scheme], name: str, why: str) -> None:
    """Tell that an option has no effect which the section of the scheme gives, and not as it is anyway."""
    known = described(scheme.Options)
    if name in known and name in section.data and section.data[name] != default_of(known[name]):
        warnings.warn(str(section.error(name, f"has no effect: {why}", at_key=True)), ScenarioWarning, stacklevel=2)


def read_optimizer(section: Section) -> Optimizer:
    """The optimiser, its schedule aside; plain SGD if the document has none."""
    if not section.data:
        section = Section({"kind": "sgd"}, section.path, section.places)
    plain = {key: value for key, value in section.data.items() if key != SCHEDULE}
    return Optimizer(*replace(section, data=plain).build_kind(optimizer_kinds(), "optimizer"))


def _placement(scheme: Section, cluster: Section) -> dict[str, list[int]]:
    """Role -> hosts, given under the scheme or under the cluster."""
    if "placement" in scheme.data and "placement" in cluster.data:
        raise scheme.error("placement", "is given under cluster too: keep one of the two", at_key=True)
    holder = scheme if "placement" in scheme.data else cluster
    section = holder.section("placement", optional=True)
    for role, hosts in section.data.items():
        if not isinstance(hosts, list) or not all(
            isinstance(host, int) and not isinstance(host, bool) for host in hosts
        ):
            raise section.error(role, f"{shorten(hosts)} must be a list of hosts, as in [0, 1]")
    return {str(role): hosts for role, hosts in section.data.items()}
