"""ZB-H1: a pipeline with a flush whose backward pass comes in two halves (Qi et al. 2024; SCHEMES S28).

Only gradients of a stage's inputs are waited for; those of its weights fill the bubbles of 1F1B, of which a third is
left. At most K micro-batches are in flight at each stage, as at stage 0 of 1F1B.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program import ClosedForm, Holding, NoClosedForm, Setting, Taxonomy, half_kernel
from parasim.schedules.zero_bubble import zb_h1
from parasim.schemes.flushing import Flushing, Pass, balanced, free
from parasim.schemes.staged import stage_seconds

__all__ = ["ZeroBubble"]


class ZeroBubble(Flushing):
    """Pipeline parallel, synchronous."""

    name = "zb_h1"
    aliases = ("zero_bubble",)
    citation = "Qi, Wan, Huang, Lin (2024)"
    taxonomy = Taxonomy("pipeline parallel", "synchronous", "none")
    staleness = "0"

    def order(self, index: int) -> Iterator[Pass]:
        """1F1B, gradients of weights later."""
        passes = zb_h1(index, self.options.workers, self.options.micro_batches)
        return ((way, 0, micro) for way, micro in passes)

    def holding(self, place: int, samples: int) -> Holding:
        """K micro-batches; of those between the halves, k + 1, the gradients of all outputs."""
        stages, micros = self.options.workers, self.options.micro_batches
        return Holding(activations=min(stages, micros), halves=min(place + 1, micros), samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``M (F + B + W) + (K-1)(F + B - W)`` when balanced, B of inputs and W of weights.

        Exact for balanced stages of F = B = W or alike, M >= K, and links that take no time.
        """
        stages, micros = self.options.workers, self.options.micro_batches
        t, place = stage_seconds(self, setting, scale=1 / micros), setting.place
        samples = setting.batch_size // micros
        parts = self.parts(setting.model)
        inputs, weights = (
            [place.seconds(half_kernel(part, samples, half), k) for k, part in enumerate(parts)]
            for half in ("inputs", "weights")
        )
        worst = max(range(stages), key=lambda k: t.forward[k] + inputs[k] + weights[k])
        f, b, w = t.forward[worst], inputs[worst], weights[worst]
        seconds = micros * (f + b + w) + t.updates[worst]
        even = balanced(t.forward) and balanced(inputs) and balanced(weights) and balanced(t.updates)
        simple = even and free(t) and micros >= stages and w <= min(f, b) * (1 + 1e-12)
        if simple:
            seconds += (stages - 1) * (f + b - w)
        exact = simple and not place.noisy
        return ClosedForm(
            seconds,
            2.0 * sum(t.sizes) * micros / stages,
            2.0 * (stages - 1) * micros / stages,
            0.0,
            "exact" if exact else "lower bound",
            note="" if simple else "unlike stages, halves or links: the bubble is left out",
        )
