"""Values that several buffers have: each vector is kept once, and each change of it computed once.

When it applies: in simulated runs that learn, to buffers that a context makes and to what is sent and received as a
whole. Such a buffer has a `Content`, which others may have too. Who wants to change it gets a copy if somebody else has
it; so nobody ever changes what another one sees. Functions of the tensor namespace are pure: if one was applied to
operands of the same contents before, and what came of it is still there, the buffer gets that. A buffer that is asked
for its `values` has a vector of its own from then on, for good, so what knows nothing of contents needs not.

Why it is exact: a pure function of equal operands gives equal results, to the last bit.

So replicas that do not differ are one, in memory and in work, however many workers there are.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from parasim.program.elementwise import add

if TYPE_CHECKING:
    from parasim.program.buffers import Buffer
    from parasim.program.learner import Learner
    from parasim.program.tensors import Tensor, Tensors

__all__ = ["Content", "Contents", "Promise", "holders", "is_shared"]

_numbers = itertools.count()


class Promise(Protocol):
    """A vector that is made when somebody looks at it; if only its sum with others is wanted, never."""

    def make(self) -> Tensor:
        """The vector; nobody else has it."""

    def total(self, promises: Sequence[Promise]) -> Tensor | None:
        """Sum of these vectors, a new one, equal to rounding; None if they have to be made."""


class Content:
    """A vector that nobody changes while more than one has it.

    Attributes
    ----------
    tensors
        The namespace that the vector is of.
    promise
        What makes the vector, if that has not been done.
    number
        Its own: no other content ever has it.
    shares
        What passes of all workers at these parameters found (parasim/program/gradients.py), by mini-batch.
    """

    __slots__ = ("__weakref__", "_tensor", "number", "promise", "shares", "tensors")

    def __init__(self, tensor: Tensor | None, tensors: Tensors, promise: Promise | None = None) -> None:
        self._tensor = tensor
        self.tensors = tensors
        self.promise = promise
        self.number = next(_numbers)
        self.shares: dict[Hashable, Any] = {}

    @property
    def tensor(self) -> Tensor:
        """The vector."""
        if self.promise is not None:
            self._tensor, self.promise = self.promise.make(), None
        assert self._tensor is not None
        return self._tensor

    def changed(self, *, shared: bool) -> Content:
        """What takes its place when it is about to change: on a copy, if others have it."""
        return Content(self.tensors.copy(self.tensor) if shared else self.tensor, self.tensors)


class _Sum:
    """The sum of promised vectors. It has them, so who changes one changes a copy."""

    def __init__(self, summands: Sequence[Content], tensors: Tensors) -> None:
        self.summands = summands
        self._tensors = tensors

    def make(self) -> Tensor:
        """The sum: at once if no summand was made, else one after the other."""
        promises = [content.promise for content in self.summands if content.promise is not None]
        total = promises[0].total(promises) if len(promises) == len(self.summands) else None
        if total is None:
            total = self._tensors.copy(self.summands[0].tensor)
            for content in self.summands[1:]:
                self._tensors.add_(total, content.tensor)
        return total

    def total(self, promises: Sequence[Promise]) -> None:
        """Sums have to be made."""


class _Root:
    """Has a content, as the root of a buffer has."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: Any = object()


_root = _Root()
_ALONE = sys.getrefcount(_root._values)
"""References that are counted of what one attribute refers to."""


def holders(content: Content) -> int:
    """How many others have it than two names: the caller's and the one here."""
    return sys.getrefcount(content) - _ALONE - 1


def is_shared(root: Buffer) -> bool:
    """Has anybody else what this buffer, which is no view, has? (Who counts one too many makes a copy too many.)"""
    return sys.getrefcount(root._values) > _ALONE


class Contents:
    """The contents of a run.

    Parameters
    ----------
    learner
        What makes values.
    batched
        Are gradients of many workers at equal parameters computed together?
    """

    def __init__(self, learner: Learner, *, batched: bool = False) -> None:
        self.tensors = learner.tensors
        self.batched = batched
        self._blocks = learner.blocks
        self._known: WeakValueDictionary[Hashable, Content] = WeakValueDictionary()

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Content:
        """What was made for this key, if somebody has it still; else it is made."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Content(make(), self.tensors)
        return found

    def apply(
        self,
        function: Callable[..., Any],
        touches: Sequence[Buffer],
        reads: Sequence[Buffer],
        constants: Mapping[str, Any],
        varying: Mapping[str, Any],
    ) -> Any:
        """``function(xp, *touches, *reads, **constants, **varying)``, or what came of it before.

        The function changes `touches` only. What it replies is nobody else's: a copy, if it is (of) an operand.
        """
        held = [buffer.content for buffer in (*touches, *reads)]
        key: Hashable = None
        if touches and None not in held:
            numbers = tuple([content.number for content in held if content is not None])
            key = function, numbers, len(touches), tuple(constants.items()), tuple(varying.items())
            found = [self._known.get((key, place)) for place in range(len(touches))]
            if None not in found:
                for buffer, content in zip(touches, found, strict=True):
                    buffer.replace(content, self.tensors)
                return None
            del found
            if function is add and not constants and not varying and self._promise_sum(touches[0], held, key):
                return None
        held.clear()  # they would count as somebody who has them
        changed = [buffer.change() for buffer in touches]
        result = function(self.tensors, *changed, *[buffer.look() for buffer in reads], **constants, **varying)
        if result is not None:
            return self._own(result, (*touches, *reads))
        if key is not None:
            for place, buffer in enumerate(touches):
                content = buffer.content
                assert content is not None
                self._known[key, place] = content
        return None

    def _promise_sum(self, into: Buffer, held: Sequence[Content | None], key: Hashable) -> bool:
        """Promise the sum of two vectors that nobody has looked at; was that done?"""
        summands: list[Content] = []
        for content in held:
            if content is None or content.promise is None:
                return False
            summands += content.promise.summands if isinstance(content.promise, _Sum) else [content]
        total = Content(None, self.tensors, _Sum(summands, self.tensors))
        into.replace(total, self.tensors)
        self._known[key, 0] = total
        return True

    def _own(self, result: Any, operands: Sequence[Buffer]) -> Any:
        if isinstance(result, tuple | list):
            return tuple([self._own(part, operands) for part in result])
        held = [buffer.freeze() for buffer in operands]
        theirs = self._blocks([frozen[0] for frozen in held if frozen is not None])
        return result if theirs.keys().isdisjoint(self._blocks(result)) else self.tensors.copy(result)
