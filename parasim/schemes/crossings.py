"""What schemes share that split layers among the members of groups: what exchanges and passes cost, what is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Holding,
    Kernel,
    Model,
    Options,
    Part,
    Planning,
    Route,
    Setting,
    Shard,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.program.compressor import Compressor
from parasim.theory.collectives import cost

__all__ = [
    "Exchanged",
    "SplitOptions",
    "crossing_cost",
    "held",
    "passes_seconds",
    "ring_route",
    "rings",
    "uncoded_copies",
]


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """How layers are split among the members of a group."""

    split: Literal["outputs", "pairs"] = option("outputs", "each layer by outputs, or pairs by outputs, then inputs")
    vocabulary_multiple: int = option(
        1,
        "in pairs, a worker has rows of the vocabulary, of vectors and logits, a multiple of this (Megatron-LM: 128); "
        "0: all vectors, and all logits are gathered",
        ge=0,
    )

    def shard(self, model: Model, index: int, count: int) -> Shard:
        """What member `index` of `count` holds; raises as :meth:`Model.split`."""
        rows = self.vocabulary_multiple if self.split == "pairs" else 0
        return model.split(self.split, index, count, vocabulary=rows)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Collectives of a step: their seconds, and payload that a member sends, on the mean; `exact` as a `Cost` is."""

    seconds: float
    bytes_sent: float
    messages_sent: float
    exact: bool

    def __add__(self, other: Exchanged) -> Exchanged:
        return Exchanged(
            self.seconds + other.seconds,
            self.bytes_sent + other.bytes_sent,
            self.messages_sent + other.messages_sent,
            self.exact and other.exact,
        )


def ring_route(setting: Setting, groups: Iterable[Sequence[int]]) -> Route:
    """The slowest message of a round of the rings of all these groups of ranks, which are on their way at once."""
    pairs = [
        (rank, group[(place + 1) % len(group)])
        for group in groups
        if len(group) > 1
        for place, rank in enumerate(group)
    ]
    return setting.together(pairs)


def rings(setting: Setting, route: Route, size: int, collectives: Iterable[tuple[str, int]]) -> Exchanged:
    """Ring collectives, each of a kind and so many bytes, one after the other in groups of `size`."""
    found = Exchanged(0.0, 0.0, 0.0, size == 1 or setting.place.seconds(Kernel("reduce", "reduce")) == 0)
    for kind, nbytes in collectives:
        one = cost(kind, "ring", size, nbytes, *route, setting.gamma())
        even = nbytes % (size * setting.model.itemsize) == 0
        found += Exchanged(one.seconds, one.bytes_sent_mean, one.messages_sent_mean, even)
    return found


def crossing_cost(
    setting: Setting, shards: Sequence[Shard], part: Part, samples: int, groups: Iterable[Sequence[int]]
) -> Exchanged:
    """All exchanges of a step through the segments `part` of shards, in groups that do the same at once."""
    return rings(setting, ring_route(setting, groups), len(shards), shards[0].exchanged(part, samples))


def passes_seconds(setting: Setting, shards: Sequence[Shard], scale: float = 1.0) -> tuple[float, bool]:
    """A step's passes through the slowest shard, and its update; are all shards equal?"""
    found = []
    for shard in shards:
        whole = shard.model.whole
        kernels = [forward_kernel(segment, setting.batch_size) for segment in shard.model.each()]
        kernels += [backward_kernel(segment, setting.batch_size) for segment in shard.model.each()]
        kernels.append(setting.update_kernel(whole.parameters / max(1, setting.model.whole.parameters), scale=scale))
        found.append(setting.place.longest(kernels))
    return max(found), len({shard.model.layers for shard in shards}) == 1


def held(setting: Planning, shards: Sequence[Shard]) -> list[Mapping[str, int]]:
    """What the members of a group hold at their peak: their shards, and what all samples leave there."""
    holding = Holding(samples=setting.batch_size).with_state(len(setting.optimizer.slots))
    return [holding.bytes_of(shard.model.whole) for shard in shards]


def uncoded_copies(shards: Sequence[Shard], model: Model, code: Compressor) -> str:
    """Why gradients of these shards can't be sent in code; "" if they can.

    Members that hold copies of a parameter (of a normalisation, a bias that is added after a sum) compute the same
    gradient of it. So they must get the same of it back, which codes that look at other elements too do not promise.
    """
    if code.for_values or sum(shard.model.whole.parameters for shard in shards) == model.whole.parameters:
        return ""
    return f"members hold copies of some parameters, and {code.name} makes different ones of them: use fp16 or bf16"
