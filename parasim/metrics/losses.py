"""The course of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.trace.sinks import Foldable

__all__ = ["LossPoint", "first_and_last_loss", "loss_curve"]


@dataclass(frozen=True, slots=True)
class LossPoint:
    """Mean `loss` of all that was logged for `step`, complete at `seconds`."""

    step: int
    seconds: float
    loss: float


def loss_curve(trace: Foldable) -> list[LossPoint]:
    """Mean loss by step, over workers and micro-batches; empty if nothing was learned."""
    losses = trace.fold().losses
    return [LossPoint(step, losses[step].seconds, losses[step].mean()) for step in sorted(losses)]


def first_and_last_loss(trace: Foldable) -> dict[str, float] | None:
    """Mean over workers of the loss of each one's first and last step; None if nothing was learned."""
    everyone = trace.fold().alike
    pairs = [pair for totals, ranks in everyone if (pair := totals.losses()) is not None for _ in ranks]
    if not pairs:
        return None
    first, last = zip(*pairs, strict=True)
    return {"first": sum(first) / len(pairs), "last": sum(last) / len(pairs)}
