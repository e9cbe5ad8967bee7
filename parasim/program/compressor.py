"""What a compressor is: a code for vectors of gradients, or of changes of a model (SCHEMES 10).

A compressor is a frozen dataclass of options over the tensor namespace, as an optimiser is. Its state lives in vectors
that others keep for it: one set per worker, vector and range of elements (a bucket, the shard of a server). One file
each in parasim/compression; a scheme knows none of them by name.

Either way of use is enough for some schemes, and most codes have the first only:

* **Messages.** `encode` makes one vector of bytes, `decode` a vector again. Whoever gets the messages of all adds up
  what they decode to.
* **Sums.** A code of which sums can be made is sent in `rounds` all-reduces: `summand` is what goes into the one of a
  given number, `total` makes the sum of all members' vectors of what came out.

What a verb costs is counted from these functions themselves.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from parasim.program.layout import Panel, layout

if TYPE_CHECKING:
    from parasim.program.draws import Draws
    from parasim.program.model import Model
    from parasim.program.tensors import Tensor, Tensors

__all__ = ["Aggregation", "Chance", "Compression", "Compressor", "Span", "span_of"]

Aggregation = Literal["gather", "reduce", "server"]
"""How a sum of coded vectors is made (parasim/program/coded_sums.py)."""

_DTYPES = {2: "float16", 4: "float32", 8: "float64"}


@dataclass(frozen=True, slots=True)
class Span:
    """The range of a model's flat vector that a message is about.

    Attributes
    ----------
    elements, itemsize
        Its elements, and bytes of each when it is not coded.
    panels
        Its matrices and vectors (parasim/program/layout.py), counted from its beginning.
    members
        How many vectors are summed.
    """

    elements: int
    itemsize: int
    panels: tuple[Panel, ...]
    members: int = 1

    @property
    def dtype(self) -> str:
        """Type of the elements when they are not coded."""
        return _DTYPES[self.itemsize]


@functools.lru_cache(maxsize=16384)
def span_of(model: Model, start: int, stop: int, members: int) -> Span:
    """Elements ``[start, stop)`` of the model's parameters. `IndexError` if they do not lie inside."""
    return Span(stop - start, model.itemsize, layout(model, start, stop), members)


class Chance(NamedTuple):
    """What random rounding goes by: this actor's draws for this vector and range, those all actors share, the step.

    On shapes, where only costs are counted, all three are 1.
    """

    own: Draws
    common: Draws
    step: int


class Compressor:
    """Base of all compressors. Subclasses set the class variables and define `encode`, `decode` and `wire_bytes`.

    A code of which sums can be made in one all-reduce defines `summand` and `total` instead of `encode` and `decode`.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str]
    law: ClassVar[str]
    """Bytes of a message of W elements, in a few words."""
    unbiased: ClassVar[bool]
    """Is the expected value of what is decoded that of what was encoded?"""
    error_feedback: ClassVar[bool] = False
    """Does its paper send what was lost with the next vector?"""
    keeps_error: ClassVar[bool] = False
    """Does its own state hold what was not sent? Then nothing else may."""
    rounds: ClassVar[int] = 0
    """All-reduces that make a sum of codes; 0: codes can't be summed."""
    maxima: ClassVar[int] = 0
    """How many of these, from the first on, find the largest of every element instead of the sum."""
    varying: ClassVar[bool] = False
    """Do values decide how long a message is? Then `wire_bytes` is what is expected."""
    aggregation: ClassVar[Aggregation] = "gather"
    """How sums of workers are made in it, unless a scenario says otherwise."""
    votes: ClassVar[bool] = False
    """Of a sum, is it the signs alone that count? Each is then as large as the number of members."""
    for_values: ClassVar[bool] = False
    """May it carry parameters as they are, with no state on either side? (Else: their changes alone.)"""

    def __hash__(self) -> int:
        raise NotImplementedError  # of a frozen dataclass: made from its fields

    def at(self, step: int) -> Compressor:
        """The code in force in this step, where a schedule changes it. Of `step` it may ask comparisons, no more."""
        return self

    def slots(self, span: Span) -> tuple[tuple[str, int], ...]:
        """State kept from step to step, zero at first: name and elements of each vector."""
        return ()

    def wire_bytes(self, span: Span) -> int:
        """Length of a message, in bytes."""
        raise NotImplementedError

    # messages ------------------------------------------------------------------------------------------------------
    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """The message: one uint8 vector. Changes `slots`, leaves `vector` alone."""
        return xp.bytes_of([self.summand(xp, 0, vector, [], slots, span, chance)])

    def decode(self, xp: Tensors, wire: Tensor, span: Span) -> Tensor:
        """The vector that a message stands for, as a new one."""
        raise NotImplementedError

    def add_decoded(self, xp: Tensors, into: Tensor, wire: Tensor, span: Span, scale: float = 1.0) -> None:
        """Add `scale` times what a message decodes to; sparse codes need not go through the whole vector."""
        xp.add_(into, self.decode(xp, wire, span), scale)

    # sums ----------------------------------------------------------------------------------------------------------
    def summand(
        self,
        xp: Tensors,
        number: int,
        vector: Tensor,
        before: list[Tensor],
        slots: tuple[Tensor, ...],
        span: Span,
        chance: Chance,
    ) -> Tensor:
        """What goes into all-reduce `number`, as a new vector of any type; `before` are the sums that came before."""
        raise NotImplementedError

    def total(self, xp: Tensors, before: list[Tensor], slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Sum of all members' vectors, from the sums of all rounds: a new vector. May change `slots`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Compression:
    """How a run compresses what it sends.

    Attributes
    ----------
    compressor
        The code.
    error_feedback
        Is what was lost added to the next vector?
    aggregation
        How sums over workers are made.
    both_ways
        Do servers send parameters in the code, too?
    """

    compressor: Compressor
    error_feedback: bool = False
    aggregation: Aggregation = "gather"
    both_ways: bool = False
