"""What schemes share that search hyper-parameters: members with rates of their own, that are scored and compared.

A member's score is its mean loss on held-out samples. Without learning nobody knows it: then it is drawn from the seed,
uniform in (0, 1); and whoever wants certain decisions gives scores. The notes of the trace tell which it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parasim.program import Context, Event, Exchange, HeldModel, Log, Model, Program, Recv, Send, option
from parasim.program.buffers import Buffer
from parasim.program.ops import Header
from parasim.program.predicting import evaluated
from parasim.program.state import Replica
from parasim.schemes.members import MemberOptions, Members

__all__ = ["Hyper", "Population", "PopulationOptions", "Scored", "scored_in", "state_of"]

WORST = 1e30
"""The score of a model that has diverged."""


@dataclass(frozen=True, kw_only=True)
class PopulationOptions(MemberOptions):
    """Options of schemes that search hyper-parameters."""

    lrs: tuple[float, ...] = option(
        (), "learning rates of the members, taken in turn; none: drawn, log-uniform from lr_from to lr_to", gt=0
    )
    lr_from: float = option(0.001, "smallest learning rate that is drawn", gt=0)
    lr_to: float = option(1.0, "largest learning rate that is drawn", gt=0)
    evaluated: int = option(256, "held-out samples on which a member is scored, by a forward pass", ge=1)
    scores: tuple[float, ...] = option((), "scores given for the members, in turn, in place of their losses")


class Hyper(NamedTuple):
    """What is searched."""

    lr: float
    momentum: float


class Scored(NamedTuple):
    """A member as the others see it."""

    loss: float
    hyper: Hyper


class Population(Members):
    """Base of schemes that search hyper-parameters."""

    def held_model(self) -> HeldModel:
        """The best model, by its loss on held-out samples."""
        size = self.options.group_size
        return HeldModel(models="best", members=size, own=self.options.start == "own")

    def check(self, model: Model, batch_size: int) -> None:
        """Groups are equally large, and the range of rates is one."""
        super().check(model, batch_size)
        if self.options.lr_from > self.options.lr_to:
            raise ValueError(f"lr_from {self.options.lr_from:g} is above lr_to {self.options.lr_to:g}: exchange them")

    def first_hyper(self, me: Context, member: int) -> Hyper:
        """What a member begins with."""
        lrs = self.options.lrs
        lr = lrs[member % len(lrs)] if lrs else self.drawn_lr(me, 0, member)
        return Hyper(lr, float(me.optimizer.momentum))

    def drawn_lr(self, me: Context, step: int, member: int) -> float:
        """Log-uniform from `lr_from` to `lr_to`."""
        low, high = self.options.lr_from, self.options.lr_to
        return float(low * (high / low) ** me.common.uniform("lr", step, member))

    def tune(self, me: Context, hyper: Hyper, member: int, step: int) -> Program[None]:
        """Go on with these; they are noted."""
        me.optimizer = me.optimizer.tuned(*hyper)
        yield from self.note(me, "lr", member, step, hyper.lr)

    def note(self, me: Context, what: str, member: int, step: int, value: float | None = None, peer: int = -1) -> Log:
        """A note of what happened to a member: the summary of the run has them (parasim/metrics/members.py)."""
        return Log(Event("note", f"member {what}", step, layer=f"member {member}", value=value, peer=peer))

    def score(self, me: Context, replica: Replica, member: int, step: int) -> Program[float]:
        """Loss of one's own model, the same on all workers of a member; noted."""
        scores, drawn = self.options.scores, me.common.uniform("score", step, member)
        loss = yield from evaluated(me, replica.parameters, self.options.evaluated, step, drawn)
        loss = scores[member % len(scores)] if scores else loss if loss < WORST else WORST
        how = ", given" if scores else "" if me.tensors is not None else ", drawn"
        yield from self.note(me, f"score{how}", member, step, loss)
        return loss

    def compare(
        self, me: Context, own: Scored, member: int, team: Sequence[int], leaders: Mapping[int, int]
    ) -> Program[dict[int, Scored]]:
        """Scores of all members with a leader (worker by index), which these tell all who are not in the team.

        `team` are the workers that train `member`, whose score is one's `own`; headers alone are sent.
        """
        ranks = me.ranks("worker")
        others = [other for other in leaders if other != member]
        sends: list[Send] = []
        if leaders.get(member) == me.index:
            header = {"loss": own.loss, **own.hyper._asdict()}
            sends = [Send(rank, None, "score", header) for index, rank in enumerate(ranks) if index not in team]
        if not sends and not others:
            return {member: own}
        receives = tuple(Recv(ranks[leaders[other]], "score") for other in others)
        told = yield from Exchange(tuple(sends), receives)
        found = {other: scored_in(message.header) for other, message in zip(others, told, strict=True)}
        return {**({member: own} if member in leaders else {}), **found}


def scored_in(header: Header) -> Scored:
    """What a header tells of a member."""
    return Scored(float(header["loss"]), Hyper(float(header["lr"]), float(header["momentum"])))


def state_of(replica: Replica) -> tuple[Buffer, ...]:
    """All that a checkpoint has."""
    return (replica.parameters, *replica.slots)
