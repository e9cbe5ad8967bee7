"""Interleaved 1F1B: v chunks of the model on every worker (Narayanan et al. 2021, Megatron; SCHEMES S28).

The bubble is 1/v of that of 1F1B, for v times the messages: chunk c of worker k is part c K + k of the model, so each
micro-batch comes by v times in each direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parasim.program import ClosedForm, Holding, Model, Planning, Setting, Taxonomy, option
from parasim.schedules.interleaved import interleaved
from parasim.schemes.flushing import Flushing, FlushingOptions, Pass, flushed

__all__ = ["Interleaved", "check_interleaving", "chunk_in_flight", "chunks_held"]


@dataclass(frozen=True, kw_only=True)
class InterleavedOptions(FlushingOptions):
    """Options of interleaved 1F1B; `stages` cuts the model into workers x chunks parts."""

    chunks: int = option(2, "chunks of the model per worker", ge=1)


class Interleaved(Flushing):
    """Pipeline parallel, synchronous."""

    name = "interleaved_1f1b"
    aliases = ("interleaved",)
    citation = "Narayanan et al. (2021)"
    taxonomy = Taxonomy("pipeline parallel", "synchronous", "none")
    staleness = "0"
    Options = InterleavedOptions

    @property
    def cuts(self) -> int:
        """K v."""
        return int(self.options.workers * self.options.chunks)

    def rank_of(self, place: int) -> int:
        """Round and round."""
        return int(place % self.options.workers)

    def order(self, index: int) -> Iterator[Pass]:
        """Megatron's order."""
        return interleaved(index, self.options.workers, self.options.micro_batches, self.options.chunks)

    def holding(self, place: int, samples: int) -> Holding:
        """What the order has in flight of this chunk; of all chunks together at most 2(K-1-k) + (v-1)K + 1."""
        chunk, index = divmod(place, self.options.workers)
        return Holding(activations=chunk_in_flight(self.order(index), chunk), samples=samples)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """Chunks do not have their most in flight at one time: what all have together at the most."""
        model, samples = setting.model, setting.batch_size // self.micro_batches()
        stored = [samples * model.itemsize * part.stored_elements for part in self.parts(model)]
        return [
            {**held, "activations": chunks_held(self.order(rank), stored[rank :: self.options.workers])}
            for rank, held in enumerate(super().memory(setting))
        ]

    def check(self, model: Model, batch_size: int) -> None:
        """Groups of K micro-batches; messages between workers."""
        super().check(model, batch_size)
        check_interleaving(self.options.workers, self.options.chunks, self.options.micro_batches)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + (K-1)/v)(F + B)`` when balanced, F and B of all chunks of a stage.

        Exact for balanced chunks and links that take no time.
        """
        return flushed(self, setting, self.options.chunks)


def check_interleaving(stages: int, chunks: int, micros: int) -> None:
    """Groups of K micro-batches; messages between workers. `ValueError` if not."""
    if micros % stages:
        raise ValueError(f"micro_batches {micros} is no multiple of {stages} stages: interleaving needs that")
    if stages == 1 and chunks > 1:
        raise ValueError("one worker has nobody to interleave chunks with: use chunks: 1, or more workers")


def chunks_held(order: Iterable[Pass], sizes: Sequence[int]) -> int:
    """The most that an order holds at once if a micro-batch in flight of each chunk takes so much."""
    held = most = 0
    for way, chunk, _ in order:
        held += sizes[chunk] * (1 if way == "forward" else -1)
        most = max(most, held)
    return most


def chunk_in_flight(order: Iterable[Pass], chunk: int) -> int:
    """The most micro-batches that an order has in flight of a chunk."""
    flying = most = 0
    for way, at, _ in order:
        flying += (at == chunk) * (1 if way == "forward" else -1)
        most = max(most, flying)
    return most
