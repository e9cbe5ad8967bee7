"""Deep gradient compression: top-k of what momentum has piled up (Lin et al. 2018; SCHEMES S44).

Of the gradient g of a worker, one of N::

    g *= min(1, clip / (sqrt(N) norm(g)))       local clipping
    u = momentum u + g;  v = v + u              momentum correction: momentum before what is sent is chosen
    send the k elements of v largest in magnitude
    v = 0 where they are, and u = 0             momentum factor masking (`masking: false`: u stays)

The update has no momentum of its own then: `optimizer: {kind: sgd, momentum: 0}`. Few elements are too few at the
beginning, while the gradient changes fast: a warm-up sends 1/4 of them, then 1/16, 1/64, 1/256, as in the paper.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from parasim.compression.topk import TopK
from parasim.program import Chance, Compressor, Span, Tensor, Tensors, option

__all__ = ["Dgc"]

_STAGES = 4
"""Stages of the warm-up; of each stage a quarter of the elements of the stage before is sent."""


@dataclass(frozen=True, slots=True)
class Dgc(TopK):
    """k values and k int32 places: 8 k bytes in float32, ``k = max(1, round(density W))``.

    Biased; what is not sent stays in v. Cost: three passes, the selection, and a norm if there is clipping. The norm is
    that of the vector that is coded: of a bucket, or of a server's shard.
    """

    name = "dgc"
    aliases = ("deep_gradient_compression",)
    citation = "Lin et al. (2018)"
    error_feedback = False
    keeps_error = True
    density: float = option(0.001, "share of the elements that is sent", gt=0, le=1)
    momentum: float = option(0.9, "momentum of what is piled up before it is sent", ge=0, lt=1)
    clip: float = option(0.0, "norm of the gradient of all workers to which each is clipped (0: no clipping)", ge=0)
    masking: bool = option(True, "momentum factor masking: what is sent loses its momentum, too")
    warmup_steps: int = option(0, "steps of the warm-up, in four stages (the paper: four epochs)", ge=0)

    def at(self, step: int) -> Compressor:
        """The density of the warm-up's stage, never below the last one."""
        for stage in range(1, _STAGES + 1):
            if step < math.ceil(self.warmup_steps * stage / _STAGES):
                return dataclasses.replace(self, density=max(self.density, 0.25**stage), warmup_steps=0)
        return self

    def slots(self, span: Span) -> tuple[tuple[str, int], ...]:
        """The momentum u, and v."""
        return ("momentum", span.elements), ("unsent", span.elements)

    def encode(self, xp: Tensors, vector: Tensor, slots: tuple[Tensor, ...], span: Span, chance: Chance) -> Tensor:
        """Values, then places."""
        momentum, unsent = slots
        if self.clip:
            excess = xp.multiply(xp.norm(vector), math.sqrt(span.members) / self.clip)
            vector = xp.divide(vector, xp.clip(excess, 1.0, math.inf))
        xp.scale_(momentum, self.momentum)
        xp.add_(momentum, vector)
        xp.add_(unsent, momentum)
        values, places = xp.top_k(unsent, self.kept(span))
        zeros = xp.zeros_like(values)
        xp.put_(unsent, places, zeros)
        if self.masking:
            xp.put_(momentum, places, zeros)
        return xp.bytes_of([values, places])
