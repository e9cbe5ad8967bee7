"""Numbers and ranks of which a program may know no more than where they come from.

When it applies: a server's versions, the numbers that headers tell, and the ranks of a server's clients, while tapes
are recorded. A program may add whole numbers to a number, keep it, note it and send it. Whatever else it tries with
one, or with a rank, shows that it may do something else for another: then there is no tape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.likeness import Likeness, UnknownState
from parasim.simulation.chorus.voice import loops

__all__ = ["Clients", "Likenesses", "Number", "Origin", "Someone"]


class Origin:
    """Where a number comes from: a counter read at some point (`counter`), or what a header tells (-1).

    `register` is where a tape keeps it, once somebody needs it.
    """

    __slots__ = ("counter", "register")

    def __init__(self, counter: int = -1, register: int = -1) -> None:
        self.counter = counter
        self.register = register


def _refuse(*_: Any) -> Any:
    raise Distinguished("a program looks at a number, or a rank, that others have otherwise")


class _Opaque:
    """Something that can't be looked at."""

    __slots__ = ()
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __hash__ = __int__ = __float__ = __index__ = __repr__ = __str__ = _refuse


class Number(_Opaque):
    """What was at its origin, and `added`."""

    __slots__ = ("added", "origin")

    def __init__(self, origin: Origin, added: int = 0) -> None:
        self.origin = origin
        self.added = added

    def __add__(self, other: int) -> Number:
        if type(other) is not int:
            _refuse()
        return Number(self.origin, self.added + other)

    __radd__ = __add__

    def __sub__(self, other: int) -> Number:
        if type(other) is not int:
            _refuse()
        return Number(self.origin, self.added - other)


class Someone(_Opaque):
    """The rank of a client: the `number`-th that was met."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __format__(self, _: str) -> str:
        return f"<client {self.number}>"


class Clients:
    """The ranks of all clients of a server. A loop over them meets three at most; `before` is called before each."""

    def __init__(self, count: int, before: Callable[[int], None]) -> None:
        self._count = count
        self._before = before

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Someone]:
        if not loops(sys._getframe(1)):
            raise Distinguished("clients are gone through in no plain loop")
        return _Met(min(self._count, 3), self._before)

    def __getattr__(self, name: str) -> Any:
        raise Distinguished(f"a program asks its clients for {name}")

    def __getitem__(self, _: Any) -> Any:
        raise Distinguished("a program asks for one client")

    __contains__ = index = count = __getitem__


class _Met:
    """The iterator of a loop over clients."""

    def __init__(self, count: int, before: Callable[[int], None]) -> None:
        self._count = count
        self._before = before
        self._next = 0

    def __iter__(self) -> _Met:
        return self

    def __next__(self) -> Someone:
        self._before(self._next)
        if self._next == self._count:
            raise StopIteration
        self._next += 1
        return Someone(self._next - 1)


class Likenesses(Likeness):
    """The likeness of a state in which there are numbers and ranks of nobody in particular.

    Counters that are read anew before anybody goes on are alike, whatever they are: their origins are `current`. Any
    other number in the state would tell somebody something. Without `current`, numbers are told apart by where they
    come from.
    """

    def __init__(
        self, constants: Iterable[object], modules: Iterable[str], current: Sequence[Origin] | None = None
    ) -> None:
        super().__init__(constants, modules)
        self._current = current

    def take(self, thing: Any) -> None:
        """Look at one more thing."""
        kind = type(thing)
        if kind is Number:
            if self._current is None:
                self._kept.append(thing.origin)
                self.words.append(("number", id(thing.origin), thing.added))
            elif thing.added or not any(thing.origin is origin for origin in self._current):
                raise UnknownState("a number is kept")
            else:
                self.words.append(("counter", thing.origin.counter))
        elif kind is Someone:
            self.words.append(Someone)
            number = self._met.get(id(thing))
            if number is None:
                number = self._met[id(thing)] = len(self._met)
                self._kept.append(thing)
            self.words.append(number)
        else:
            super().take(thing)
