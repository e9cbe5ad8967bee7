"""Ensembles: independent models whose predictions are averaged (Hansen, Salamon 1990; Breiman 1996; Dietterich 2000).

Members never hear of each other while they train; they differ by initial weights, by the order of samples, or by the
samples themselves (bagging). At the end the first worker averages their predictions for some held-out samples: all
leaders send theirs, which is short, or their models, which saves them the passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    HeldModel,
    Message,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.program.elementwise import add, scale
from parasim.program.predicting import judged, predict_held_out
from parasim.schemes.members import MemberOptions, Members

__all__ = ["Ensemble"]


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions(MemberOptions):
    """Options of ensembles."""

    gather: Literal["predictions", "models", "none"] = option(
        "predictions", "what the first worker is sent at the end, to average predictions"
    )
    evaluated: int = option(256, "held-out samples that are predicted then", ge=1)


class Ensemble(Members):
    """Independent models, each by a worker or by a synchronous group; predictions are averaged at the end."""

    name = "ensemble"
    aliases = ("ensembles", "bagging")
    citation = "Hansen, Salamon (1990); Breiman (1996); Dietterich (2000)"
    taxonomy = Taxonomy("data parallel", "independent", "none", "predictions or models, once", "ensemble")
    staleness = "0: members never meet; inside a group as all-reduce"
    approximates = "several models, whose predictions are averaged"
    Options = EnsembleOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """Train one's own model; then average all predictions."""
        replica, gradient = self.begin(me), me.buffer("gradient")
        for step in me.steps():
            yield from me.gradient(replica.parameters, self.own_batch(me, step), gradient)
            yield from self.descend(me, replica, gradient)
            yield from me.step_done(step)
        if self.options.gather != "none" and me.index in self.leaders():
            yield from self._gather(me, replica.parameters)
        return replica.parameters

    def held_model(self) -> HeldModel:
        """The mean of all models' predictions."""
        return replace(super().held_model(), models="ensemble")

    def _gather(self, me: Context, model: Buffer) -> Program[None]:
        """Of a leader: send what is asked for; the first one averages."""
        first, *others = (me.ranks("worker")[index] for index in self.leaders())
        sends_models = self.options.gather == "models"
        if me.rank != first:
            sent = model if sends_models else (yield from predict_held_out(me, model, self.options.evaluated))
            yield from Send(first, sent, "gather", lent=True)
            return
        total = yield from predict_held_out(me, model, self.options.evaluated)
        yield from judged(me, total, "ensemble first", me.num_steps - 1)
        for message in (yield from Exchange((), tuple(Recv(other, "gather") for other in others))):
            yield from me.math(add, (total,), ((yield from self._predictions(me, message)),))
        yield from me.math(scale, (total,), factor=1 / self.members)
        yield from judged(me, total, "ensemble mean", me.num_steps - 1)

    def _predictions(self, me: Context, message: Message) -> Program[Buffer]:
        """What a leader predicts, or would."""
        assert message.buffer is not None
        if self.options.gather == "predictions":
            return message.buffer
        return (yield from predict_held_out(me, message.buffer, self.options.evaluated))

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + C(m, P) + T_update``, C an all-reduce in groups of m; what is sent once is far from any step."""
        seconds, summed, exact = self.descent(setting)
        return ClosedForm(
            seconds,
            summed.bytes_sent_mean,
            summed.messages_sent_mean,
            0.0,
            "exact" if exact else "estimate",
            note="predictions or models are sent once, at the end" if exact else "pieces of the all-reduce differ",
        )
