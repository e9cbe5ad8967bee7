"""What ranks say to each other before their run's clock starts.

The first message between two ranks costs several times what later ones do: code that has never run, threads that are
not there yet, connections that have carried nothing. It was measured to take 1.2 ms on two cores, the next ones 0.3. An
asynchronous run that begins so may keep the distance that its workers have got by it for hundreds of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from calibration.executor.bare import bare_context
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.model import Layer, Model
from parasim.program.ops import Exchange, Program, Recv, Send
from parasim.runtime.actor import Actor

if TYPE_CHECKING:
    from calibration.executor.runtime import Runtime
    from parasim.trace.rows import Row

__all__ = ["rehearse"]

_ROUNDS = 4
_BYTES = 256
_MODEL = Model("nothing", (Layer("nothing", 1, 0.0, 0.0, 0.0, 1, 1, 1),))


class _Nowhere:
    """A sink that keeps nothing."""

    def add(self, row: Row) -> None:
        """Drop it."""


def rehearse(runtime: Callable[[list[bool]], Runtime], rank: int, size: int) -> None:
    """Every pair of ranks exchanges a few small messages, with and without payload.

    Parameters
    ----------
    runtime
        Makes one by the `mains` of its ranks; it is run to its end.
    rank, size
        Of this rank; of the run.
    """
    if size == 1:
        return
    cast = Cast((Role("rank", size, _greet),))
    context = bare_context(cast, rank, _MODEL)
    own = runtime([True] * size)
    actor = Actor(context, own, _Nowhere())
    actor.post(_greet(context), "main", False)
    own.run(actor)


def _greet(me: Context) -> Program[None]:
    """To the next, from the one before; then to the next but one; and so on."""
    size = me.count("rank")
    out, into = Buffer("greeting", _BYTES, 1), Buffer("greeted", _BYTES, 1)
    for _ in range(_ROUNDS):
        for away in range(1, size):
            after, before = (me.index + away) % size, (me.index - away) % size
            yield Exchange((Send(after, out, "greeting", lent=True),), (Recv(before, "greeting", into),))
            yield Exchange((Send(after, None, "word"),), (Recv(before, "word"),))
