"""Pipelines: how long a mini-batch takes, and how much of that is bubble.

K stages, M micro-batches per mini-batch; F and B are seconds of one micro-batch's forward and backward pass on a stage
(B with the forward pass that is repeated, where activations are recomputed).

References
----------
Huang et al. (2019), GPipe, section 2.3; Narayanan et al. (2021), Efficient large-scale language model training on GPU
clusters using Megatron-LM; SCHEMES 0.3, S25 to S33.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parasim.errors import ProgramError

__all__ = [
    "Pipeline",
    "asynchronous_seconds",
    "decoupled_backward_seconds",
    "decoupled_forward_and_backward_seconds",
    "features_replay_seconds",
    "flow_line_seconds",
    "flush",
    "in_flight",
]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One mini-batch of a synchronous pipeline.

    Attributes
    ----------
    seconds
        From the first forward pass to the last backward pass.
    ideal_seconds
        What a stage computes: M (F + B).
    bubble
        Fraction of `seconds` in which a stage computes nothing.
    bubble_over_ideal
        The same over `ideal_seconds`.
    """

    seconds: float
    ideal_seconds: float

    @property
    def bubble(self) -> float:
        """1 - ideal / seconds."""
        return 1.0 - self.ideal_seconds / self.seconds

    @property
    def bubble_over_ideal(self) -> float:
        """Seconds / ideal - 1."""
        return self.seconds / self.ideal_seconds - 1.0


def flush(
    stages: int, micro_batches: int, forward: float, backward: float, *, chunks: int = 1, link: float = 0.0
) -> Pipeline:
    """Balanced stages with a flush after every mini-batch: GPipe, 1F1B with flush, and interleaved 1F1B.

    ``(M + (K-1)/v) (F + B) + 2 (K-1) link``: the bubble is (K-1)/(M+K-1) of the time and (K-1)/(v M) of the ideal.
    Exact without communication; the links' part is that of the first and the last micro-batch, for transfers that are
    shorter than the passes beside them (GPipe).

    Parameters
    ----------
    stages, micro_batches
        K and M.
    forward, backward
        F and B of one micro-batch on one stage (all of its chunks), in seconds.
    chunks
        v: model chunks per stage (interleaved 1F1B), which needs M to be a multiple of K. Crossings between chunks are
        not counted.
    link
        Seconds of a micro-batch's transfer to the next stage, alpha + bytes beta.

    Raises
    ------
    ProgramError
        If a count is below 1, or chunks are interleaved with M no multiple of K.
    """
    if min(stages, micro_batches, chunks) < 1:
        raise ProgramError(f"{stages} stages, {micro_batches} micro-batches, {chunks} chunks: each must be 1 or more")
    if chunks > 1 and micro_batches % stages:
        raise ProgramError(f"interleaved 1F1B: {micro_batches} micro-batches are no multiple of {stages} stages")
    both = forward + backward
    return Pipeline((micro_batches + (stages - 1) / chunks) * both + 2 * (stages - 1) * link, micro_batches * both)


def flow_line_seconds(stations: Sequence[float], jobs: int) -> float:
    """Time of equal jobs through stations in series: the sum, and the slowest once more for each further job.

    Exact with room for all jobs between stations. Stages and links of a pipeline are stations: a link is busy for
    alpha + bytes beta.
    """
    return sum(stations) + (jobs - 1) * max(stations, default=0.0)


def asynchronous_seconds(computing: Sequence[float], links: Sequence[float] = ()) -> float:
    """Steady state of a pipeline without flush: the slowest stage or link (SCHEMES S25, S27, S28, S33).

    `computing` has F_k + B_k of each stage for a mini-batch, `links` the seconds of a mini-batch's transfer in one
    direction over each boundary. Exact as the time between mini-batches far from start and end.
    """
    return max([*computing, *links])


def decoupled_backward_seconds(forward: Sequence[float], backward: Sequence[float]) -> float:
    """DDG: forward passes one after the other, backward passes beside each other (SCHEMES S30)."""
    return sum(forward) + max(backward)


def features_replay_seconds(forward: Sequence[float], backward: Sequence[float]) -> float:
    """Features replay: as DDG, with the forward pass repeated before the backward pass (SCHEMES S31)."""
    return sum(forward) + max(f + b for f, b in zip(forward, backward, strict=True))


def decoupled_forward_and_backward_seconds(
    forward: Sequence[float], backward: Sequence[float], exchange: float = 0.0
) -> float:
    """FDG: all modules at once, then all exchange (SCHEMES S33)."""
    return max(f + b for f, b in zip(forward, backward, strict=True)) + exchange


def in_flight(schedule: str, stages: int, stage: int, micro_batches: int, chunks: int = 1) -> int:
    """Most micro-batches whose activations a stage holds at once; of interleaved 1F1B, most chunks of them.

    M for "gpipe", min(K - k, M) for "1f1b", 2 (K-1-k) + (v-1) K + 1 for "interleaved" (at most M v; all of them if M is
    K, when all forward passes come first).

    Raises
    ------
    ProgramError
        If the schedule or the stage does not exist.
    """
    if not 0 <= stage < stages:
        raise ProgramError(f"no stage {stage} of {stages}: choose 0 to {stages - 1}")
    if schedule == "gpipe":
        return micro_batches
    if schedule == "1f1b":
        return min(stages - stage, micro_batches)
    if schedule == "interleaved":
        warmup = 2 * (stages - 1 - stage) + (chunks - 1) * stages
        return micro_batches * chunks if micro_batches == stages else min(warmup + 1, micro_batches * chunks)
    raise ProgramError(f"no pipeline schedule {schedule!r}: choose gpipe, 1f1b or interleaved")
