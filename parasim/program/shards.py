"""A model that is split inside its layers among the members of a group, as costs.

A `Shard` is what one member computes: a model of its own, whose layers, called *segments*, are the member's slices of
layers, or whole layers that every member repeats. Where one segment ends and the next begins the members cross:

=========  ==================  ===================================================================================
crossing   forward             backward
=========  ==================  ===================================================================================
sum        all-reduce: every   all-reduce: every member found a part of the gradient of the same inputs
           member's outputs
           are a part of a sum
max        all-reduce of the   none: only the fused loss asks for it, whose gradient every member finds by itself
           largest
gather     all-gather: every   scatter (reduce-scatter: the gradient of one's own columns is the sum of all members'
           member's outputs    parts) or own (one has the whole gradient, and takes one's own columns of it)
           are columns
=========  ==================  ===================================================================================

Workloads split networks (parasim/workload/sharding.py); `parasim.program.sharded` passes through shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from parasim.program.model import Model, Part

__all__ = ["WHOLE", "Crossing", "How", "Shard", "Split", "Splitter"]

How = Literal["outputs", "pairs"]
"""By outputs: every layer is split into columns of its outputs. In pairs: the second of two layers by its inputs."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which shard it is: of member `index` of `count`, the layers from number `start` on split `how` (others whole).

    `vocabulary`: token vectors, and an output layer that gives a number for each kind of token, are split along the
    vocabulary, into as many rows for every member, a multiple of this number; 1: into rows without padding; 0: not.
    """

    how: How
    index: int
    count: int
    start: int = 0
    vocabulary: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """What members do between two segments.

    Attributes
    ----------
    forward, backward
        As the table above; "none": nothing.
    columns
        Of what is gathered, scattered or cut: columns that each member has; empty for sums.
    rows
        Rows of so many columns per sample (tokens of a sequence; 1 elsewhere).
    """

    forward: Literal["none", "sum", "max", "gather"] = "none"
    backward: Literal["none", "sum", "scatter", "own"] = "none"
    columns: tuple[int, ...] = ()
    rows: int = 1

    def counts(self, samples: int) -> tuple[int, ...]:
        """Elements that each member has of so many samples."""
        return tuple(samples * self.rows * columns for columns in self.columns)


WHOLE = Crossing()
"""Nothing is exchanged."""


@dataclass(frozen=True, eq=False)
class Shard:
    """What one member of a group holds and computes of a model.

    Attributes
    ----------
    split
        Which shard it is.
    model
        The member's segments, as the layers of a model.
    crossings
        What happens before each segment; before the first one: nothing forward, and backward what its gradient would
        need, if anyone wanted it.
    cuts
        The first segment of every layer of the whole model, and the number of segments.
    """

    split: Split
    model: Model
    crossings: tuple[Crossing, ...]
    cuts: tuple[int, ...]

    def of(self, part: Part) -> Part:
        """The segments of some layers of the whole model."""
        stop = len(self.model.layers) if part.is_last else self.cuts[part.stop]
        return self.model.part(self.cuts[part.start], stop)

    def repeats(self, part: Part) -> bool:
        """Does keeping the inputs of these segments alone save memory? Not of the last ones, whose turn is next."""
        return not part.is_last and part.stored_elements > part.input_elements

    def repeated(self, part: Part, samples: int) -> tuple[tuple[str, int], ...]:
        """Collectives of a forward pass through these segments whose last crossing nobody wants, as `exchanged`."""
        numbers = range(part.start + 1, part.stop)
        ways = [(_COLLECTIVES[self.crossings[number].forward], number) for number in numbers]
        return tuple((kind, self._bytes(number, samples)) for kind, number in ways if kind)

    def exchanged(self, part: Part, samples: int) -> tuple[tuple[str, int], ...]:
        """Collectives of a step through these segments, in order: kind, and bytes of the vector that is exchanged.

        After each forward pass its crossing; backward the crossing before each segment but that of the model's first,
        unless the model counts the gradient of its inputs.
        """
        found: list[tuple[str, int]] = []
        for number in range(part.start + 1, part.stop + 1):
            if number < len(self.crossings) and (kind := _COLLECTIVES[self.crossings[number].forward]):
                found.append((kind, self._bytes(number, samples)))
        for number in reversed(range(part.start, part.stop)):
            if (number or self.model.needs_input_gradient) and (kind := _COLLECTIVES[self.crossings[number].backward]):
                found.append((kind, self._bytes(number, samples)))
        return tuple(found)

    def _bytes(self, number: int, samples: int) -> int:
        """Of the whole vector exchanged before a segment."""
        crossing = self.crossings[number]
        entering = self.model.layers[number].input_elements * samples
        return (sum(crossing.counts(samples)) or entering) * self.model.itemsize


_COLLECTIVES = {
    "none": "",
    "own": "",
    "sum": "all_reduce",
    "max": "all_reduce",
    "gather": "all_gather",
    "scatter": "reduce_scatter",
}

Splitter = Callable[[Split], Shard]
