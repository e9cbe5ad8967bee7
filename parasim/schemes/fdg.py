"""FDG: fully decoupled training with delayed gradients, and gradient shrinking (Zhuang et al. 2021; SCHEMES S33).

Module k holds consecutive layers. In every iteration all modules compute at once: the forward pass of the newest
mini-batch that has arrived, then the backward pass, with an update, of the one that went forward 2 (K - 1 - k)
iterations before; then neighbours exchange outputs and error gradients. Before its backward pass each module but the
last multiplies the error gradient that has come by a factor, so that staler modules take shorter steps. A backward pass
uses the weights and activations of its own forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from parasim.program import (
    Activation,
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    Holding,
    Message,
    Program,
    Setting,
    Taxonomy,
    option,
)
from parasim.program.elementwise import scale
from parasim.schedules.ddg import IDLE
from parasim.schedules.fdg import fdg
from parasim.schemes.decoupled import payload, stash_seconds, trade
from parasim.schemes.staged import Staged, StagedOptions, StageSeconds, stage_seconds, taken, waits
from parasim.schemes.stash import Stash
from parasim.theory.staleness import decoupled_forward_and_backward

__all__ = ["Fdg", "FdgOptions"]


@dataclass(frozen=True, kw_only=True)
class FdgOptions(StagedOptions):
    """Options of FDG; `workers` is the number of modules."""

    shrink: float = option(1.0, "factor of the error gradient that a module but the last gets (beta)", gt=0, le=1)


class Fdg(Staged):
    """Pipeline parallel, asynchronous by fixed delays: no module waits within an iteration."""

    name = "fdg"
    aliases = ("fully_decoupled", "delayed_gradients")
    citation = "Zhuang, Wang, Liu, Lin (2021)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "2 (K - 1 - k) of module k (fewer at the start)"
    approximates = "stale gradients at old weights, shrunk"
    Options = FdgOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """A module: forward of a new mini-batch, backward of an older one, exchange with both neighbours."""
        pipeline, module = divmod(me.index, self.cuts)
        part = self.parts(me.model)[module]
        replica = me.replica(part)
        stash = Stash(me, replica)
        gradient = me.buffer("gradient", part.parameters)
        stored: dict[int, tuple[Activation, int]] = {}
        inputs = error = None
        iterations = [IDLE, *fdg(self.cuts, module, me.num_steps), IDLE]
        for (ahead, behind), (next_ahead, next_behind) in pairwise(iterations):
            outputs = downstream = None
            taken(me, inputs)
            if ahead is not None:
                batch, version = me.batch(ahead, share=pipeline, shares=self.pipelines()), stash.version
                activation = yield from me.forward(part, stash.borrow(), batch, inputs, lent=True)
                yield from me.log_loss(activation)
                stored[ahead] = activation, version
                outputs = activation.outputs
            if behind is not None:
                activation, version = stored.pop(behind)
                taken(me, error)
                if error is not None and self.options.shrink < 1:
                    yield from me.math(scale, (error,), factor=self.options.shrink)
                downstream = yield from me.backward(activation, error, gradient)
                stash.give_back(version)
            above, below = next_behind is not None and not part.is_last, next_ahead is not None and not part.is_first
            exchange = trade(me, outputs, downstream, above, below)
            waits(me, outputs, downstream)
            if behind is None:
                arrived = yield from exchange
            else:
                arrived = yield from self.step(me, stash, gradient, version, exchange)
                yield from me.step_done(behind)
            inputs, error = payload(arrived, "outputs"), payload(arrived, "errors")
            waits(me, inputs, error)
            taken(me, outputs, downstream)
        return replica.parameters

    def step(
        self, me: Context, stash: Stash, gradient: Buffer, version: int, exchange: Exchange
    ) -> Program[tuple[Message, ...]]:
        """Update, then the exchange."""
        part = self.parts(me.model)[me.index % self.cuts]
        yield from stash.update(gradient, read=version, layer=part.name)
        arrived = yield from exchange
        return arrived

    def holding(self, place: int, samples: int) -> Holding:
        """2 (K - 1 - k) + 1 mini-batches are in flight, at as many versions."""
        delay = decoupled_forward_and_backward(self.cuts, place)
        return Holding(versions=delay, activations=delay + 1, samples=samples)

    def waiting(self, place: int) -> tuple[int, int]:
        """One leaves and one arrives, on both sides."""
        return 2, 2

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max_k (F_k + B_k)``, with updates, and the exchange of outputs and error gradients (SCHEMES S33.5).

        Exact for modules that exchange at the same time, as of any two neighbours one is among the slowest, with
        outputs equally long; or for two. Otherwise two neighbours take at least as long as the slower one and their
        transfer.
        """
        t = stage_seconds(self, setting)
        together = self.computing(setting, t)
        alone, crowded, alike = self.exchanged(setting, t, together)
        exact = (alike or self.cuts <= 2) and not setting.place.noisy
        return ClosedForm(
            crowded if alike else alone,
            2.0 * sum(t.sizes) / self.cuts,
            2.0 * len(t.sizes) / self.cuts,
            self.mean_staleness(),
            "exact" if exact else "lower bound",
            at_most=None if exact or setting.place.noisy else crowded,
            note="" if exact else "modules that differ exchange at different times",
        )

    def mean_staleness(self) -> float:
        """Of all modules, far from the start."""
        return sum(decoupled_forward_and_backward(self.cuts, k) for k in range(self.cuts)) / self.cuts

    def computing(self, setting: Setting, t: StageSeconds) -> list[float]:
        """Seconds of each module's passes and update."""
        copies, shrinking = stash_seconds(self, setting), self._shrinking(setting)
        return [sum(own) for own in zip(t.forward, t.backward, t.updates, copies, shrinking, strict=True)]

    def exchanged(self, setting: Setting, t: StageSeconds, together: list[float]) -> tuple[float, float, bool]:
        """An iteration with the exchange: at least, if all exchange at the same time, and whether they do."""
        pairs = list(pairwise(range(self.cuts)))
        links = [max(up, down) for up, down in zip(t.up, t.down, strict=True)]
        slower = [max(together[below], together[above]) for below, above in pairs]
        alone = max([*together, *(seconds + link for seconds, link in zip(slower, links, strict=True))])
        if not pairs:
            return alone, alone, True
        route = setting.place.together([*pairs, *((above, below) for below, above in pairs)])
        transfer = route.alpha + max(t.sizes) * route.beta
        alike = min(slower) >= (1 - 1e-12) * max(together) and len(set(t.sizes)) == 1
        return alone, max(together) + transfer, alike

    def _shrinking(self, setting: Setting) -> list[float]:
        """Seconds of scaling each module's error gradient."""
        parts, factor = self.parts(setting.model), self.options.shrink
        if factor == 1:
            return [0.0] * len(parts)
        whole = max(1, setting.model.whole.parameters)
        sizes = [part.output_elements * setting.batch_size for part in parts[:-1]]
        kernels = [setting.math_kernel(scale, 1, size / whole, factor=factor) for size in sizes]
        return [*(setting.place.seconds(kernel, k) for k, kernel in enumerate(kernels)), 0.0]
