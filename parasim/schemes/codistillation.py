"""Codistillation: models that learn from each other's predictions while they train (Anil et al. 2018, algorithm 1).

Every member trains a model of its own. After the burn-in its loss is ``phi(y, F(own)) + weight psi(mean of F(others),
F(own))``, psi the cross-entropy against the others' mean probabilities (of numbers, half the squared error). The others
are copies of their weights, exchanged every `period` steps, so predictions are stale; each costs a forward pass.

All exchange at once, or as they come (the paper: members write checkpoints and read those of others when they like): a
member sends a copy of its model to all others and goes on, and learns from whatever has arrived. With groups each
worker exchanges with those of the other members that have its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from parasim.program import (
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Event,
    Exchange,
    Handle,
    Log,
    Message,
    Post,
    Program,
    Recv,
    Replica,
    Send,
    Setting,
    Taxonomy,
    Wait,
    number,
    option,
)
from parasim.program.elementwise import add, copied, scale
from parasim.program.kernels import counted_of
from parasim.program.ops import Kernel
from parasim.program.predicting import distil, predict, prediction_kernel, soften
from parasim.schemes.members import MemberOptions, Members

__all__ = ["Codistillation"]


@dataclass(frozen=True, kw_only=True)
class CodistillationOptions(MemberOptions):
    """Options of codistillation."""

    period: int = option(50, "steps between two exchanges of models (the paper: 50 lose nothing)", ge=1)
    burn_in: int = option(3000, "steps before members learn from each other (the paper: 3000 on ImageNet)", ge=0)
    weight: float = option(1.0, "of the loss against the others' predictions", ge=0)
    exchange: Literal["asynchronous", "synchronous"] = option("asynchronous", "as they come, or all at once")


@dataclass(slots=True)
class Teachers:
    """The others' models by rank, as they came last; sends of one's own that may be under way."""

    ranks: tuple[int, ...]
    models: dict[int, Buffer] = field(default_factory=dict)
    sending: list[Handle] = field(default_factory=list)

    def take(self, me: Context, message: Message) -> Program[None]:
        """A model takes the place of the one that came before."""
        assert message.buffer is not None
        if (old := self.models.get(message.source)) is not None:
            me.release("teachers", old.nbytes, old)
        me.hold("teachers", message.buffer.nbytes, message.buffer)
        self.models[message.source] = message.buffer
        yield from Log(Event("note", "teacher", peer=message.source, version_read=number(message.header, "version")))


class Codistillation(Members):
    """Independent models drawn to the others' stale predictions; models are exchanged every `period` steps."""

    name = "codistillation"
    aliases = ("online_distillation",)
    citation = "Anil, Pereyra, Passos, Ormandi, Dahl, Hinton (2018)"
    taxonomy = Taxonomy("data parallel", "independent", "decentralised", "models to all others", "distillation")
    staleness = "0 with respect to the worker's own model; teachers are up to `period` steps old, and their way"
    approximates = "stale predictions of others beside labels"
    Options = CodistillationOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """Own gradients, of labels and of the teachers' predictions; now and then models are exchanged."""
        replica, gradient = self.begin(me), me.buffer("gradient")
        peers = range(me.index % self.options.group_size, self.options.workers, self.options.group_size)
        teachers = Teachers(tuple(me.ranks("worker")[index] for index in peers if index != me.index))
        if self.options.exchange == "asynchronous":
            for rank in teachers.ranks:
                yield from Post(self._listen(me, teachers, rank), f"from {rank}", daemon=True)
        for step in me.steps():
            since = step - self.options.burn_in
            if since >= 0 and since % self.options.period == 0:
                yield from self._exchange(me, replica, teachers)
            yield from self._gradient(me, replica.parameters, teachers, step, gradient)
            yield from self.descend(me, replica, gradient)
            yield from me.step_done(step)
        yield from Wait(teachers.sending)
        return replica.parameters

    def _exchange(self, me: Context, replica: Replica, teachers: Teachers) -> Program[None]:
        """Send one's own model to all others; synchronous, get theirs."""
        header = {"version": replica.version}
        if self.options.exchange == "synchronous":
            sends = [Send(rank, replica.parameters, "model", header, lent=True) for rank in teachers.ranks]
            for message in (yield from Exchange(tuple(sends), tuple(Recv(rank, "model") for rank in teachers.ranks))):
                yield from teachers.take(me, message)
            return
        yield from Wait(teachers.sending)  # the last copy is out long ago, unless the network is slow
        teachers.sending.clear()
        if teachers.ranks:
            model = yield from me.copy(replica.parameters)
            for rank in teachers.ranks:
                send = Send(rank, model, "model", header, lent=True)
                teachers.sending.append((yield from Post(send, f"to {rank}")))

    def _listen(self, me: Context, teachers: Teachers, rank: int) -> Program[None]:
        """Take what a member sends, whenever it comes."""
        try:
            while True:
                yield from teachers.take(me, (yield from Recv(rank, "model")))
        except Closed:
            return

    def _gradient(self, me: Context, model: Buffer, teachers: Teachers, step: int, into: Buffer) -> Program[None]:
        """Of the labels' loss, and of that against the mean prediction of the teachers that there are."""
        batch, soft = self.own_batch(me, step), None
        for teacher in [teachers.models[rank] for rank in teachers.ranks if rank in teachers.models]:
            predictions = yield from predict(me, teacher, batch)
            if soft is None:
                soft = predictions
            else:
                yield from me.math(add, (soft,), (predictions,))
        if soft is not None and len(teachers.models) > 1:
            yield from me.math(scale, (soft,), factor=1 / len(teachers.models))
        activation = yield from me.forward(me.model.whole, model, batch)
        yield from me.log_loss(activation)
        if soft is not None:
            yield from distil(me, activation, soft, self.options.weight)
        yield from me.backward(activation, None, into)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + (n - 1) T_forward + C(m, P) + T_update + (alpha + (n - 1) P beta) / period``, after the burn-in.

        For n members, each a group of m; a prediction costs a forward pass. As they come, exchanges hide behind steps
        unless these are shorter.
        """
        others, options, place = self.members - 1, self.options, setting.place
        seconds, summed, exact = self.descent(setting, self._lessons(setting))
        nbytes, size = setting.model.whole.nbytes, options.group_size
        sent = summed.bytes_sent_mean + others * nbytes / options.period
        messages = summed.messages_sent_mean + others / options.period
        if options.exchange == "asynchronous":
            copy = place.seconds(setting.math_kernel(copied)) if others else 0.0
            note = "before the burn-in is over steps are shorter; after it, where the network is too slow, longer"
            return ClosedForm(seconds + copy / options.period, sent, messages, 0.0, "lower bound", note=note)
        workers = range(options.workers)
        pairs = [(i, j) for i in workers for j in workers if i != j and i % size == j % size]
        route = setting.together(pairs)
        exchanged = (route.alpha + nbytes * route.beta) / options.period
        meaning: Literal["exact", "estimate"] = "exact" if exact else "estimate"
        note = "" if exact else "pieces of the all-reduce differ in size"
        return ClosedForm(seconds + exchanged, sent, messages, 0.0, meaning, note=note)

    def _lessons(self, setting: Setting) -> list[Kernel]:
        """What a step has beside a gradient and an update: predictions, their mean, and the loss against it."""
        others, model, batch = self.members - 1, setting.model, setting.batch_size
        if not others:
            return []
        sizes = ((batch * model.whole.output_elements, model.itemsize),)
        sums = [counted_of(add, sizes * 2, (), ())] * (others - 1)
        means = [counted_of(scale, sizes, (("factor", 1 / others),), ())] * (others > 1)
        loss = counted_of(soften, sizes * 3, (("weight", self.options.weight),), ("share",))
        return [
            *[prediction_kernel(model.whole, batch)] * others,
            *(counted.kernel("lesson") for counted in [*sums, *means, loss]),
        ]
