"""Vectors to messages and back, as computes of an actor: what its compressor does, with the state that it keeps.

State (the error of error feedback first, then the compressor's own) is kept by vector, under a name that the scheme
gives it ("gradient"), and range of elements. So every bucket and every shard has a state of its own.

Error feedback (Seide et al. 2014; Karimireddy et al. 2019) is the same around every code: ``a = g + e``, send C(a),
``e = a - decode(C(a))``. What was decoded and what is left add up to what was put in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from parasim.program.buffers import Buffer
from parasim.program.compressor import Chance, Compressor, Span, span_of
from parasim.program.context import Context
from parasim.program.model import Model
from parasim.program.ops import Decide, Program
from parasim.program.tensors import Tensor, Tensors

__all__ = ["Coded", "decoded", "decoder", "encode", "encoder"]


class Coded:
    """A range of a vector that is sent in code.

    Parameters
    ----------
    me
        Whose it is.
    what
        Name of the vector; with its range it names the state.
    start, stop
        The range, in elements of the whole model.
    step
        Number of the step, by which schedules and random rounding go.
    members
        How many such vectors are summed.
    values
        Are they parameters, of which no error is kept?
    model
        Whose elements they are: a shard's, where layers are split; by default the whole model's.
    """

    __slots__ = ("code", "feedback", "key", "me", "span", "step")

    def __init__(
        self, me: Context, what: str, start: int, stop: int, step: int, members: int = 1, *, values: bool = False,
        model: Model | None = None,
    ) -> None:  # fmt: skip
        assert me.compression is not None
        self.me = me
        self.feedback = me.compression.error_feedback and not values
        self.span = span_of(model or me.model, start, stop, members)
        self.code = me.compression.compressor.at(step)
        self.key = f"{what} {start}:{stop}"
        self.step = step

    def state(self) -> tuple[Buffer, ...]:
        """The error, if it is kept, and the compressor's own vectors."""
        named = list(self.code.slots(self.span))
        if self.feedback:
            named.insert(0, ("error", self.span.elements))
        return tuple([self._kept(name, elements) for name, elements in named])

    def _kept(self, name: str, elements: int) -> Buffer:
        return self.me.kept((name, self.key), lambda: self.me.buffer(name, elements))

    def chances(self) -> dict[str, Any]:
        """The arguments that become a `Chance`; no draws where there are no values."""
        if self.me.tensors is None:
            return {"own": None, "common": None, "step": self.step}
        me = self.me
        return {"own": me.draws.branch(self.key), "common": me.common.branch(self.key), "step": self.step}


def encode(coded: Coded, vector: Buffer) -> Program[Buffer]:
    """The message of a vector, in bytes. The vector stays as it is; the error is added and what is left kept."""
    function = encoder(coded.code, coded.span, coded.feedback)
    wire: Buffer = yield from coded.me.math(function, coded.state(), (vector,), varying=coded.chances())
    if not coded.code.varying:
        return wire
    values = wire.values
    length = yield from Decide(lambda: len(values), wire.elements, "message bytes")
    return Buffer(wire.name, int(length), 1, values)


def decoded(coded: Coded, wire: Buffer) -> Program[Buffer]:
    """The vector that a message stands for."""
    result: Buffer = yield from coded.me.math(decoder(coded.code, coded.span), (), (wire,))
    return result


@functools.lru_cache(maxsize=4096)
def encoder(code: Compressor, span: Span, feedback: bool) -> Callable[..., Tensor]:
    """A function of flat operands, state and vector, that makes the message."""

    def encode(xp: Tensors, *operands: Tensor, own: Any, common: Any, step: int) -> Tensor:
        *state, vector = operands
        chance = Chance(own, common, step)
        if not feedback:
            return code.encode(xp, vector, tuple(state), span, chance)
        error, *slots = state
        xp.add_(error, vector)
        wire = code.encode(xp, error, tuple(slots), span, chance)
        code.add_decoded(xp, error, wire, span, -1.0)
        return wire

    return encode


@functools.lru_cache(maxsize=4096)
def decoder(code: Compressor, span: Span) -> Callable[..., Tensor]:
    """A function of a message that makes the vector."""

    def decode(xp: Tensors, wire: Tensor) -> Tensor:
        return code.decode(xp, wire, span)

    return decode
