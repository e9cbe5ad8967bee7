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
    Options,
    Post,
    Program,
    Recv,
    Replica,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.schedules.ddg import IDLE, ddg
from parasim.schemes.decoupled import Costs, Decoupled, costs_of
from parasim.theory.staleness import decoupled_backward

__all__ = ["Ddg", "DdgOptions"]


@dataclass(frozen=True, kw_only=True)
class DdgOptions(Options):
    """Options of DDG and of features replay; `workers` is the number of modules."""

    start: Literal["together", "early"] = option(
        "together",
        "backward passes start when the forward pass is through all modules (the paper), "
        "or in each module when its own is (the authors' code)",
    )


class Ddg(Decoupled):
    """Pipeline parallel, asynchronous by fixed delays: backward passes wait for nobody, forward passes do."""

    name = "ddg"
    aliases = ("decoupled_backward",)
    citation = "Huo, Gu, Yang, Huang (2018)"
    taxonomy = Taxonomy("pipeline parallel", "stale by a fixed delay", "none")
    staleness = "K - 1 - k of module k (fewer at the start)"
    Options = DdgOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """A module: forward in its turn, then the backward pass of an older mini-batch."""
        modules = self.modules(me.model)
        part = modules[me.index]
        replica = me.replica(part)
        gradient = me.buffer("gradient", part.parameters)
        stored: dict[int, tuple[Activation, int]] = {}
        error = None
        iterations = [*ddg(len(modules), me.index, me.num_steps), IDLE]
        for (ahead, behind), (_, next_behind) in pairwise(iterations):
            if ahead is not None:
                inputs = None if part.is_first else (yield from Recv(me.rank - 1, "outputs")).buffer
                activation = yield from me.forward(part, replica.parameters, me.batch(ahead, share=0, shares=1), inputs)
                yield from me.log_loss(activation)
                if not part.is_last:
                    yield from Post(Send(me.rank + 1, activation.outputs, "outputs", lent=True), "send outputs")
                stored[ahead] = self.keep(me, activation, inputs), replica.version
                if self.options.start == "together":
                    yield from Collective("barrier", me.group("worker"))
            if behind is not None:
                activation, version = yield from self.recall(me, replica, *stored.pop(behind))
                downstream = yield from me.backward(activation, error, gradient)
                if not part.is_first:
                    yield from Post(Send(me.rank - 1, downstream, "errors", lent=True), "send errors")
                yield from me.update(replica, gradient, read=version, layer=part.name)
                yield from me.step_done(behind)
            if next_behind is not None and not part.is_last:
                error = (yield from Recv(me.rank + 1, "errors")).buffer
        return replica.parameters

    def keep(self, me: Context, activation: Activation, inputs: Buffer | None) -> Activation:
        """What a module keeps of a forward pass: all that it stored."""
        return activation

    def recall(
        self, me: Context, replica: Replica, activation: Activation, version: int
    ) -> Program[tuple[Activation, int]]:
        """What the backward pass goes through, and the version of the weights that computed it: what was kept."""
        yield from ()
        return activation, version

    def again(self, costs: Costs) -> list[float]:
        """Seconds that each module computes before its backward pass."""
        return [0.0] * len(costs.forward)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``sum_k F_k + max_k B_k``, with updates and transfers; started early ``max_k (F_k + F_k+1 + B_k+1)``.

        (SCHEMES S30.5.) Started early, a module between two others may send both ways at once, which takes longer.
        """
        modules = self.modules(setting.model)
        costs = costs_of(setting, modules)
        sent = [a + b for a, b in zip(self.again(costs), costs.backward, strict=True)]
        seconds = _together(costs, sent) if self.options.start == "together" else _early(costs, sent)
        count = len(modules)
        exact = not setting.place.noisy and (self.options.start == "together" or count <= 2)
        return ClosedForm(
            seconds,
            2.0 * sum(costs.sizes) / count,
            2.0 * (count - 1) / count,
            self.mean_staleness(),
            "exact" if exact else "lower bound",
            note="" if exact else "outputs and error gradients may share a link",
        )

    def mean_staleness(self) -> float:
        """Of all modules, far from the start."""
        count = int(self.options.workers)
        return sum(decoupled_backward(count, module) for module in range(count)) / count


def _together(costs: Costs, sent: Sequence[float]) -> float:
    """An iteration whose backward passes start at once; their errors are `sent` so many seconds later.

    A module is ready for the next forward pass when it has made its update and got the error gradient.
    """
    ended = 0.0
    for k, forward in enumerate(costs.forward):
        ready = sent[k] + costs.update[k]
        if k + 1 < len(sent):
            ready = max(ready, sent[k + 1]) + costs.down[k]
        ended = max(ended, ready) + (costs.up[k - 1] if k else 0.0) + forward
    return ended


def _early(costs: Costs, sent: Sequence[float]) -> float:
    """The slowest circle of waiting: a module for itself, or for the error gradient of the one after it."""
    circles = []
    for k, forward in enumerate(costs.forward):
        before = costs.up[k - 1] if k else 0.0
        back = costs.down[k] if k + 1 < len(sent) else 0.0
        circles.append(before + forward + sent[k] + costs.update[k] + back)
        if k + 1 < len(sent):
            circles.append(before + forward + costs.up[k] + costs.forward[k + 1] + sent[k + 1] + back)
    return max(circles)
