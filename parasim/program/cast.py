"""Who plays: the roles of a scheme and their actors, declared before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from parasim.errors import ProgramError
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.ops import Program

__all__ = ["Actor", "Cast", "Role", "Seat"]


class Seat(TypedDict):
    """The part of a context's arguments that the cast decides: ``Context(**cast.seat(rank), ...)``."""

    rank: int
    role: str
    index: int
    groups: dict[str, Group]


@dataclass(frozen=True, slots=True)
class Role:
    """`count` actors that run `program(me)`. A daemon role ends with the last program that is no daemon."""

    name: str
    count: int
    program: Callable[[Context], Program[Any]]
    daemon: bool = False


@dataclass(frozen=True, slots=True)
class Actor:
    """One process: global `rank`, its role and its `index` in the role."""

    rank: int
    role: Role
    index: int


class Cast:
    """All actors of a scheme: ranks are given role by role, in the order of `roles`.

    `groups` are named sets of ranks; every role is a group of its own name unless `groups` says otherwise.
    """

    def __init__(self, roles: tuple[Role, ...], groups: tuple[Group, ...] = ()) -> None:
        self.roles = roles
        self.actors: list[Actor] = []
        self.groups: dict[str, Group] = {}
        for role in roles:
            first = len(self.actors)
            self.actors += [Actor(first + i, role, i) for i in range(role.count)]
            self.groups[role.name] = Group(role.name, tuple(range(first, first + role.count)))
        for group in groups:
            outside = [rank for rank in group.ranks if not 0 <= rank < len(self.actors)]
            if outside:
                raise ProgramError(f"group {group.name!r} has ranks {outside} outside 0..{len(self.actors) - 1}")
            self.groups[group.name] = group

    def seat(self, rank: int) -> Seat:
        """What an actor's context says of its place."""
        actor = self.actors[rank]
        return {"rank": rank, "role": actor.role.name, "index": actor.index, "groups": self.groups}

    def __len__(self) -> int:
        return len(self.actors)

    def __iter__(self) -> Iterator[Actor]:
        return iter(self.actors)
