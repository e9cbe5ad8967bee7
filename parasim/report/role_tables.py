"""Tables of runs by role: a row for the workers, and one for each other role, of every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from parasim.report.table import NONE, count, percent, quantity
from parasim.report.text import Column

__all__ = ["memory_columns", "staleness_columns", "time_columns", "traffic_columns"]

Summary = Mapping[str, Any]


class _Role(NamedTuple):
    """The figures of a role in a run, and what ends their names."""

    label: str
    name: str
    actors: int
    figures: Summary
    per: str


def time_columns(summaries: Sequence[Summary], labels: Sequence[str]) -> list[Column]:
    """How the main line of work spends its time, and what lanes do beside it."""
    roles = list(_roles(summaries, labels))

    def shares(name: str) -> list[str]:
        found = [(role.figures.get("shares"), (role.figures.get("max") or {}).get("shares")) for role in roles]
        return [f"{percent(mean, name)} ({percent(most, name)})" for mean, most in found]

    def overlapped(name: str) -> list[str]:
        return [quantity((role.figures.get("overlapped") or {}).get(name), "seconds") for role in roles]

    return [
        *_names(roles),
        *(Column(name, shares(name)) for name in ("compute", "transfer", "wait")),
        *(Column(f"overlapped\n{name}", overlapped(name)) for name in ("compute", "transfer")),
    ]


def traffic_columns(summaries: Sequence[Summary], labels: Sequence[str]) -> list[Column]:
    """Payload and messages of an actor per step, sent and received; messages that are a header alone."""
    roles = list(_roles(summaries, labels))

    def bytes_of(name: str) -> list[str]:
        return [quantity(role.figures.get(f"{name}{role.per}_per_step"), "bytes") for role in roles]

    def number_of(name: str) -> list[str]:
        return [count(role.figures.get(f"{name}{role.per}_per_step")) for role in roles]

    return [
        *_names(roles),
        Column("sent\nper step", bytes_of("bytes_sent")),
        Column("messages\nsent", number_of("messages_sent")),
        Column("received\nper step", bytes_of("bytes_received")),
        Column("messages\nreceived", number_of("messages_received")),
        Column("headers\nalone", number_of("control_messages")),
    ]


def memory_columns(summaries: Sequence[Summary], labels: Sequence[str]) -> list[Column]:
    """The most that actors of a role held: on average, and the one that held most."""
    roles = list(_roles(summaries, labels))
    names = [f"memory_bytes{role.per}" for role in roles]
    most = [(role.figures.get("max") or {}).get(name) for role, name in zip(roles, names, strict=True)]
    held = zip(roles, names, strict=True)
    return [
        *_names(roles),
        Column("most held,\nmean", [quantity(role.figures.get(name), "bytes") for role, name in held]),
        Column("largest", [quantity(value, "bytes") for value in most]),
    ]


def staleness_columns(summaries: Sequence[Summary], labels: Sequence[str]) -> list[Column]:
    """Moments of the distribution, and updates."""
    found = [summary["staleness"] or {} for summary in summaries]
    return [
        Column("run", list(labels), least=4),
        *(Column(name, [count(one.get(name)) for one in found]) for name in ("mean", "variance", "max")),
        Column("gradients", [count(one.get("count")) for one in found]),
        Column("updates", [count(summary.get("updates")) for summary in summaries]),
        *(
            Column(name.replace("_", " "), [count(summary.get(name)) for summary in summaries])
            for name in ("lost_updates", "torn_reads")
            if any(summary.get(name) for summary in summaries)
        ),
    ]


def _names(roles: Sequence[_Role]) -> list[Column]:
    return [
        Column("run", [role.label for role in roles], least=4),
        Column("role", [role.name for role in roles], least=4),
        Column("actors", [str(role.actors or NONE) for role in roles]),
    ]


def _roles(summaries: Sequence[Summary], labels: Sequence[str]) -> Iterator[_Role]:
    for summary, label in zip(summaries, labels, strict=True):
        yield _Role(label, "worker", summary["workers"], summary, "_per_worker")
        for name, figures in (summary.get("roles") or {}).items():
            yield _Role(label, name, figures.get("actors", 0), figures, "")
