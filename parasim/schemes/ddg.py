"""DDG: decoupled parallel back-propagation with delayed gradients (Huo, Gu, Yang, Huang 2018; SCHEMES S30).

Module k holds consecutive layers. In every iteration a mini-batch goes forward through the modules, in turn; then all
modules compute backward passes at once, module k that of the mini-batch K - 1 - k iterations before, with the
error gradient that module k + 1 computed an iteration ago, at the weights and activations of that mini-batch's forward
pass. So only the forward passes wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from parasim.program import (
    Activation,
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Holding,
    Post,
    Program,
    Recv,
    Setting,
    Taxonomy,
    option,
)
from parasim.schedules.ddg import IDLE, ddg
from parasim.schemes.decoupled import stash_seconds
from parasim.schemes.staged import Staged, StagedOptions, StageSeconds, received, sent, stage_seconds, taken
from parasim.schemes.stash import Stash
from parasim.theory.staleness import decoupled_backward

__all__ = ["Ddg", "DdgOptions"]


@dataclass(frozen=True, kw_only=True)
class DdgOptions(StagedOptions):
    """Options of DDG and of features replay; `workers` is the number of modules."""

    start: Literal["together", "early"] = option(
        "together",
        "backward passes start when the forward pass is through all modules (the paper), "
        "or in each module when its own is (the authors' code)",
    )


class Ddg(Staged):
    """Pipeline parallel, asynchronous by fixed delays: backward passes wait for nobody, forward passes do."""

    name = "ddg"
    aliases = ("decoupled_backward",)
    citation = "Huo, Gu, Yang, Huang (2018)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "K - 1 - k of module k (fewer at the start)"
    approximates = "stale gradients, at stored old weights"
    Options = DdgOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """A module: forward in its turn, then the backward pass of an older mini-batch."""
        part = self.parts(me.model)[me.index]
        replica = me.replica(part)
        stash = Stash(me, replica)
        gradient = me.buffer("gradient", part.parameters)
        stored: dict[int, tuple[Activation, int]] = {}
        error = None
        iterations = [*ddg(self.cuts, me.index, me.num_steps), IDLE]
        for (ahead, behind), (_, next_behind) in pairwise(iterations):
            if ahead is not None:
                inputs = None if part.is_first else (yield from Recv(me.rank - 1, "outputs")).buffer
                batch, version = me.batch(ahead, share=0, shares=1), replica.version
                activation = yield from me.forward(part, stash.borrow(), batch, inputs, lent=True)
                yield from me.log_loss(activation)
                if activation.outputs is not None:
                    yield from Post(sent(me, me.rank + 1, activation.outputs, "outputs"), "send outputs")
                stored[ahead] = self.keep(me, stash, activation, inputs), version
                if self.options.start == "together":
                    yield from Collective("barrier", me.group("worker"))
            if behind is not None:
                activation, version = yield from self.recall(me, stash, *stored.pop(behind))
                taken(me, error)
                downstream = yield from me.backward(activation, error, gradient)
                if downstream is not None:
                    yield from Post(sent(me, me.rank - 1, downstream, "errors"), "send errors")
                stash.give_back(version)
                yield from stash.update(gradient, read=version, layer=part.name)
                yield from me.step_done(behind)
            if next_behind is not None and not part.is_last:
                error = yield from received(me, me.rank + 1, "errors")
        return replica.parameters

    def keep(self, me: Context, stash: Stash, activation: Activation, inputs: Buffer | None) -> Activation:
        """What a module keeps of a forward pass: all that it stored."""
        return activation

    def recall(self, me: Context, stash: Stash, kept: Activation, version: int) -> Program[tuple[Activation, int]]:
        """What the backward pass goes through, and the version of its weights: what was kept."""
        yield from ()
        return kept, version

    def holding(self, place: int, samples: int) -> Holding:
        """K - k mini-batches are in flight, at as many versions."""
        delay = decoupled_backward(self.cuts, place)
        return Holding(versions=delay, activations=delay + 1, samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``sum_k F_k + max_k B_k``, with updates and transfers; started early ``max_k (F_k + F_k+1 + B_k+1)``.

        (SCHEMES S30.5.) Started early, a module between two others may send both ways at once, which takes longer.
        """
        count = self.cuts
        t = stage_seconds(self, setting)
        sent, updates = self.after_the_start(setting, t)
        seconds = _together(t, sent, updates) if self.options.start == "together" else _early(t, sent, updates)
        exact = not setting.place.noisy and (self.options.start == "together" or count <= 2)
        return ClosedForm(
            seconds,
            2.0 * sum(t.sizes) / count,
            2.0 * (count - 1) / count,
            self.mean_staleness(),
            "exact" if exact else "lower bound",
            note="" if exact else "outputs and error gradients may share a link",
        )

    def after_the_start(self, setting: Setting, t: StageSeconds) -> tuple[list[float], list[float]]:
        """Seconds of each module from the start of the backward passes until its error gradient is there; and then."""
        copies = stash_seconds(self, setting)
        return t.backward, [copy + update for copy, update in zip(copies, t.updates, strict=True)]

    def mean_staleness(self) -> float:
        """Of all modules, far from the start."""
        return sum(decoupled_backward(self.cuts, module) for module in range(self.cuts)) / self.cuts


def _together(t: StageSeconds, sent: Sequence[float], updates: Sequence[float]) -> float:
    """An iteration whose backward passes start at once; their errors are `sent` so many seconds later.

    A module is ready for the next forward pass when it has made its update and got the error gradient.
    """
    ended = 0.0
    for k, forward in enumerate(t.forward):
        ready = sent[k] + updates[k]
        if k + 1 < len(sent):
            ready = max(ready, sent[k + 1]) + t.down[k]
        ended = max(ended, ready) + (t.up[k - 1] if k else 0.0) + forward
    return ended


def _early(t: StageSeconds, sent: Sequence[float], updates: Sequence[float]) -> float:
    """The slowest circle of waiting: a module for itself, or for the error gradient of the one after it."""
    circles = []
    for k, forward in enumerate(t.forward):
        before = t.up[k - 1] if k else 0.0
        back = t.down[k] if k + 1 < len(sent) else 0.0
        circles.append(before + forward + sent[k] + updates[k] + back)
        if k + 1 < len(sent):
            circles.append(before + forward + t.up[k] + t.forward[k + 1] + sent[k + 1] + back)
    return max(circles)
