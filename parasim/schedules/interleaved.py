"""Interleaved 1F1B (Narayanan et al. 2021, Megatron): a stage has v chunks of the model, so the pipeline fills sooner.

Chunk c of stage k is part c K + k of the model. K micro-batches go through a chunk before the next chunk's turn. With
K = 2, v = 2 and M = 4 (f, b: of chunk 1; all passes take a unit)::

    stage 0   F0 F1 f0 f1 F2 b0 F3 b1 f2 B0 f3 B1 .  b2 .  b3 B2 B3
    stage 1   .  F0 F1 f0 b0 f1 b1 F2 B0 F3 B1 f2 b2 f3 b3 B2 B3
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

__all__ = ["interleaved"]


def interleaved(
    stage: int, stages: int, micros: int, chunks: int
) -> Iterator[tuple[Literal["forward", "backward"], int, int]]:
    """The order of a stage: way, chunk, micro-batch.

    Raises
    ------
    ValueError
        If `micros` is no multiple of `stages`.
    """
    if micros % stages:
        raise ValueError(f"interleaved 1F1B: {micros} micro-batches are no multiple of {stages} stages")
    total = micros * chunks
    warmup = min(total, 2 * (stages - 1 - stage) + (chunks - 1) * stages) if micros > stages else total

    def chunk_and_micro(number: int) -> tuple[int, int]:
        group, place = divmod(number, stages * chunks)
        return place // stages, group * stages + place % stages

    for number in range(total + warmup):
        if number < total:
            yield ("forward", *chunk_and_micro(number))
        if number >= warmup:
            chunk, micro = chunk_and_micro(number - warmup)
            yield "backward", chunks - 1 - chunk, micro
