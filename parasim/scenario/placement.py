"""Which host every rank sits on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parasim.program.cast import Role

__all__ = ["place"]


def place(roles: Sequence[Role], hosts: int, chosen: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Host of every rank.

    By default workers go round-robin over the hosts, and the actors of other roles round-robin over the hosts left
    free, or over all hosts (beside the workers) if none is. A role in `chosen` goes round-robin over the hosts listed
    there; the others then avoid those hosts while there are more.

    Raises
    ------
    ValueError
        If a list is empty, longer than its role, or names a host that does not exist, or if there is no such role.
    """
    counts = {role.name: role.count for role in roles}
    for name, listed in chosen.items():
        if name not in counts:
            raise ValueError(f"no role '{name}' in this scheme (roles: {', '.join(counts)})")
        if not listed:
            raise ValueError(f"role '{name}' has no host: list one or more of 0..{hosts - 1}")
        if len(listed) > counts[name]:
            raise ValueError(f"role '{name}' has {counts[name]} actors but {len(listed)} hosts are listed")
        for host in listed:
            if not 0 <= host < hosts:
                raise ValueError(f"role '{name}': host {host} does not exist (hosts: 0..{hosts - 1})")
    taken = {host for listed in chosen.values() for host in listed}
    open_hosts = [host for host in range(hosts) if host not in taken] or list(range(hosts))
    workers = 0 if "worker" in chosen else counts.get("worker", 0)
    free = open_hosts[workers:] or open_hosts
    result: list[int] = []
    others = 0
    for role in roles:
        if role.name in chosen:
            over, first = list(chosen[role.name]), 0
        elif role.name == "worker":
            over, first = open_hosts, 0
        else:
            over, first = free, others
            others += role.count
        result += [over[(first + i) % len(over)] for i in range(role.count)]
    return tuple(result)
