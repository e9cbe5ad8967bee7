"""Features replay (Huo, Gu, Huang 2018; SCHEMES S31).

As DDG, but of a forward pass a module keeps its input alone. When the error gradient of that mini-batch has come, it
repeats ("replays") the forward pass with its current weights and takes the backward pass through the replay: inputs are
old, weights are not. The last module's error gradient comes at once, so it goes backward through its first pass.
"""

from __future__ import annotations

from parasim.program import Activation, Buffer, ClosedForm, Context, Program, Replica, Setting, Taxonomy
from parasim.schemes.ddg import Ddg
from parasim.schemes.decoupled import Costs

__all__ = ["FeaturesReplay"]


class FeaturesReplay(Ddg):
    """Pipeline parallel, with inputs that are old by fixed delays: backward passes wait for nobody."""

    name = "fr"
    aliases = ("features_replay",)
    citation = "Huo, Gu, Huang (2018)"
    taxonomy = Taxonomy("pipeline parallel", "stale by a fixed delay", "none")
    staleness = "0 of the weights; inputs of module k are K - 1 - k iterations old"

    def keep(self, me: Context, activation: Activation, inputs: Buffer | None) -> Activation:
        """The input (the first module reads its batch again); of the last module all, which it needs at once."""
        if activation.part.is_last:
            return activation
        me.hold("inputs", inputs.nbytes if inputs else 0)
        return me.keep_input(activation, inputs)

    def recall(
        self, me: Context, replica: Replica, activation: Activation, version: int
    ) -> Program[tuple[Activation, int]]:
        """Replay the forward pass with the current weights."""
        part, inputs = activation.part, activation.saved
        if part.is_last:
            return activation, version
        replay = yield from me.forward(part, replica.parameters, activation.batch, inputs)
        me.release("inputs", inputs.nbytes if inputs else 0)
        return replay, replica.version

    def again(self, costs: Costs) -> list[float]:
        """The replay."""
        return [*costs.forward[:-1], 0.0]

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``sum_k F_k + max_k (F_k + B_k)``, with updates and transfers; the last module does not replay.

        (SCHEMES S31.5.) Started early, a module between two others may send both ways at once, which takes longer.
        """
        return super().closed_form(setting)

    def mean_staleness(self) -> float:
        """Of the weights."""
        return 0.0
