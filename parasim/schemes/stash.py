"""Weight stashing: a backward pass goes through the weights that its forward pass used, whatever was updated since."""

from __future__ import annotations

from collections import Counter

from parasim.program import Buffer, Context, Program, Replica, Setting
from parasim.program.elementwise import copied

__all__ = ["Stash", "stash_kernel_seconds"]


class Stash:
    """The versions of one parameter copy that backward passes still need, each in a buffer of its own.

    Forward passes borrow the newest one (``me.forward(..., lent=True)``); an update copies it first if somebody still
    has it. So a stage holds as many stashed versions as its passes in flight began at, besides the newest.
    """

    def __init__(self, me: Context, replica: Replica) -> None:
        self._me = me
        self._replica = replica
        self._borrowers: Counter[int] = Counter()
        self._stashed: dict[int, Buffer] = {}

    @property
    def version(self) -> int:
        """Of the newest weights."""
        return self._replica.version

    def borrow(self) -> Buffer:
        """The newest weights, for a forward pass."""
        self._borrowers[self._replica.version] += 1
        return self._replica.parameters

    def give_back(self, version: int) -> None:
        """The backward pass of a forward pass at this version is done."""
        self._borrowers[version] -= 1
        if not self._borrowers[version]:
            del self._borrowers[version]
            if version in self._stashed:
                old = self._stashed.pop(version)
                self._me.release("stashed weights", old.nbytes, old)

    def update(self, gradient: Buffer, *, read: int, scale: float = 1.0, layer: str = "") -> Program[None]:
        """As :meth:`Context.update`, of a copy if the newest weights are still needed."""
        yield from self.spare()
        yield from self._me.update(self._replica, gradient, read=read, scale=scale, layer=layer)

    def spare(self) -> Program[Buffer]:
        """Put the newest weights by if somebody still has them; replies with those that may be changed."""
        me, replica = self._me, self._replica
        if self._borrowers[replica.version] and replica.version not in self._stashed:
            newest: Buffer = yield from me.math(copied, (), (replica.parameters,))
            self._stashed[replica.version], replica.parameters = replica.parameters, newest
            me.hold("stashed weights", newest.nbytes, newest)
        return replica.parameters


def stash_kernel_seconds(setting: Setting, share: float, rank: int) -> float:
    """Seconds of copying this share of the parameters before an update, on an actor's device."""
    return setting.place.seconds(setting.math_kernel(copied, 1, share), rank)
