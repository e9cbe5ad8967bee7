"""Is all that a program and its run know the same as some steps before, but for counts and times?

When it applies: to what programs are made of: plain values, lists, tuples and dicts of them, buffers, handles, counts,
functions, and objects of the scheme's module and of parasim. Of anything else (a set, an iterator, an array) nobody can
tell, and nothing is skipped.

Why it is exact: two states of equal likeness are the same graph of objects with equal values. Counts are taken relative
to the first of their family and modulo what the program has asked for; times are compared by who asks (periods.py).
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from parasim.simulation.chorus.counts import Count, Family
from parasim.simulation.chorus.promise import Promise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Likeness", "UnknownState"]

_PLAIN = frozenset((type(None), bool, int, float, str, bytes, complex))


class UnknownState(Exception):
    """There is something whose state can't be told."""


class Likeness:
    """What a state is like.

    Parameters
    ----------
    constants
        Objects that do not change.
    modules
        Of whose classes objects may be, beside parasim's own.

    Attributes
    ----------
    words
        The state without counts and times: two are alike if these are equal.
    raws
        Of each family of counts: the first number that was met.
    times
        Seconds, in the order in which they were met.
    """

    def __init__(self, constants: Iterable[object], modules: Iterable[str]) -> None:
        self.words: list[Any] = []
        self.raws: dict[Family, int] = {}
        self.times: list[NDArray[Any]] = []
        self._families: dict[Family, int] = {}
        self._met: dict[int, int] = {id(constant): ~number for number, constant in enumerate(constants)}
        self._kept: list[object] = []
        self._modules = tuple(modules)

    def take(self, thing: Any) -> None:
        """Look at one more thing.

        Raises
        ------
        UnknownState
            If its state can't be told.
        """
        words, kind = self.words, type(thing)
        words.append(kind)
        if kind in _PLAIN:
            words.append(thing)
            return
        if kind is Count:
            self._count(thing)
            return
        number = self._met.get(id(thing))
        if number is not None:
            words.append(number)
            return
        self._met[id(thing)] = len(self._met)
        self._kept.append(thing)
        if kind in (list, tuple):
            words.append(len(thing))
            self._take_all(thing)
        elif kind is dict:
            words.append(len(thing))
            self._take_all(thing)
            self._take_all(thing.values())
        elif kind is range:
            words += [thing.start, thing.stop, thing.step]
        elif kind is Promise:
            self.take(thing.lane)
            self.times.append(thing.over)
        elif kind is types.FunctionType:
            words.append(id(thing.__code__))
            self.take([cell.cell_contents for cell in thing.__closure__ or ()])
            self.take(thing.__defaults__)
        elif kind is types.MethodType:
            self.take(thing.__func__)
            self.take(thing.__self__)
        elif isinstance(thing, type | types.ModuleType | types.BuiltinFunctionType):
            words.append(id(thing))
        else:
            self._object(thing)

    def _take_all(self, things: Iterable[Any]) -> None:
        """Look at several things; most are plain."""
        for thing in things:
            if type(thing) in _PLAIN:
                self.words += (type(thing), thing)
            else:
                self.take(thing)

    def _count(self, count: Count) -> None:
        family = count.family
        number = self._families.setdefault(family, len(self._families))
        if family not in self.raws:
            self.raws[family] = count.raw
            self.words += [(modulus, count.value % modulus) for modulus in sorted(family.moduli)]
        self.words += [number, count.raw - self.raws[family]]

    def _object(self, thing: Any) -> None:
        kind = type(thing)
        if not kind.__module__.startswith(("parasim.", *self._modules)):
            raise UnknownState(kind.__qualname__)
        for owner in kind.__mro__:
            self._take_all([getattr(thing, name, None) for name in owner.__dict__.get("__slots__", ())])
        self.take(getattr(thing, "__dict__", None))
