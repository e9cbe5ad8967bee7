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

        Exact for balanced stages of F = B = W or alike, M >= K, and links that take no time. Else a lower bound: all
        that a stage does, or the way to a stage, its passes until the last B with the W between, and the way back.
        """
        stages, micros = self.options.workers, self.options.micro_batches
        t, place = stage_seconds(self, setting, scale=1 / micros), setting.place
        samples = setting.batch_size // micros
        parts = self.parts(setting.model)
        inputs, weights = (
            [place.seconds(half_kernel(part, samples, half), k) for k, part in enumerate(parts)]
            for half in ("inputs", "weights")
        )
        passes = [sum(each) for each in zip(t.forward, inputs, strict=True)]
        own = [micros * (p + w) + u for p, w, u in zip(passes, weights, t.updates, strict=True)]
        last = weights[0] + t.updates[0]  # of stage 0, which begins the next step
        ways = [
            sum(passes[:k])
            + sum(t.up[:k] + t.down[:k])
            + micros * passes[k]
            + max(0, micros - 1 - k) * weights[k]
            + last
            for k in range(stages)
        ]
        f, b, w = t.forward[0], inputs[0], weights[0]
        even = balanced(t.forward) and balanced(inputs) and balanced(weights) and balanced(t.updates)
        simple = even and free(t) and micros >= stages and w <= min(f, b) * (1 + 1e-12)
        exact = simple and not place.noisy
        form = ClosedForm(
            max(own + ways),
            2.0 * sum(t.sizes) * micros / stages,
            2.0 * (stages - 1) * micros / stages,
            0.0,
            "exact" if exact else "lower bound",
            note=""
            if simple
            else "unlike stages or halves, or links that take time, which no gradient of weights hides",
        )
        return self.with_tied(setting, form)
