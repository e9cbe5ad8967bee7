"""Features replay (Huo, Gu, Huang 2018; SCHEMES S31).

As DDG, but of a forward pass a module keeps its input alone. When the error gradient of that mini-batch has come, it
repeats ("replays") the forward pass with its current weights and takes the backward pass through the replay: inputs are
old, weights are not. The last module's error gradient comes at once, so it goes backward through its first pass.
"""

from __future__ import annotations

from parasim.program import Activation, Buffer, ClosedForm, Context, Holding, Program, Setting, Taxonomy
from parasim.schemes.ddg import Ddg
from parasim.schemes.staged import StageSeconds
from parasim.schemes.stash import Stash
from parasim.theory.staleness import decoupled_backward

__all__ = ["FeaturesReplay"]


class FeaturesReplay(Ddg):
    """Pipeline parallel, with inputs that are old by fixed delays: backward passes wait for nobody."""

    name = "fr"
    aliases = ("features_replay",)
    citation = "Huo, Gu, Huang (2018)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "0 of the weights; inputs of module k are K - 1 - k iterations old"
    approximates = "old inputs replayed, late error gradients"

    def keep(self, me: Context, stash: Stash, activation: Activation, inputs: Buffer | None) -> Activation:
        """The input (the first module reads its batch again); of the last module all, which it needs at once."""
        if activation.part.is_last:
            return activation
        stash.give_back(stash.version)
        if inputs is not None:
            me.hold("inputs", inputs.nbytes, inputs)
        return me.keep_input(activation, inputs)

    def recall(self, me: Context, stash: Stash, kept: Activation, version: int) -> Program[tuple[Activation, int]]:
        """Replay the forward pass with the current weights."""
        if kept.part.is_last:
            return kept, version
        inputs: Buffer | None = kept.saved
        replay = yield from me.forward(kept.part, stash.borrow(), kept.batch, inputs, lent=True)
        if inputs is not None:
            me.release("inputs", inputs.nbytes, inputs)
        return replay, stash.version

    def holding(self, place: int, samples: int) -> Holding:
        """K - k inputs, and all of one mini-batch."""
        return Holding(inputs=0 if place == self.cuts - 1 else self.cuts - place, samples=samples)

    def in_flight(self, place: int) -> int:
        """K - k, as of DDG."""
        return decoupled_backward(self.cuts, place) + 1

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``sum_k F_k + max_k (F_k + B_k)``, with updates and transfers; the last module does not replay.

        (SCHEMES S31.5.) Started early, a module between two others may send both ways at once, which takes longer.
        """
        return super().closed_form(setting)

    def after_the_start(self, setting: Setting, t: StageSeconds) -> tuple[list[float], list[float]]:
        """With the replay; weights are not stashed."""
        replays = [*t.forward[:-1], 0.0]
        return [replay + backward for replay, backward in zip(replays, t.backward, strict=True)], t.updates

    def mean_staleness(self) -> float:
        """Of the weights."""
        return 0.0
