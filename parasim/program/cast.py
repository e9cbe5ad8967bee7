"""Who plays: the roles of a scheme and their actors, declared before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
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
        self.groups: dict[str, Group] = {}
        self._size = 0
        for role in roles:
            first = self._size
            self._size += role.count
            self.groups[role.name] = Group(role.name, tuple(range(first, self._size)))
        for group in groups:
            outside = [rank for rank in group.ranks if not 0 <= rank < self._size]
            if outside:
                raise ProgramError(f"group {group.name!r} has ranks {outside} outside 0..{self._size - 1}")
            self.groups[group.name] = group

    @cached_property
    def actors(self) -> list[Actor]:
        """By rank."""
        placed = ((role, index) for role in self.roles for index in range(role.count))
        return [Actor(rank, role, index) for rank, (role, index) in enumerate(placed)]

    def seat(self, rank: int) -> Seat:
        """What an actor's context says of its place."""
        first = 0
        for role in self.roles:
            if rank < first + role.count:
                return {"rank": rank, "role": role.name, "index": rank - first, "groups": self.groups}
            first += role.count
        raise IndexError(f"no rank {rank}: there are {self._size}")

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Actor]:
        return iter(self.actors)
