"""A collective that went without messages goes on message by message, from where its messages are now.

The recurrence tells when each message began and ended, up to now. Each member's program (expand.py) is stepped through
the exchanges and reductions that are over, and stops at the first that is not. What is left of this one is put where
the runtime would have it: messages that move are flows with the rest of their bytes, an announced one is in its
receiver's mailbox, a posted receive in one's own, a reduction has the rest of its seconds to do. Nobody can tell then
that the messages before were not sent. It applies to programs without values, whose course depends on nothing that they
receive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from parasim.program.buffers import Buffer
from parasim.program.ops import Collective, Compute, Exchange, Message, Op
from parasim.runtime.handlers import expanded
from parasim.runtime.tasks import Envelope, Frame, Pending, Receipt
from parasim.simulation.alarm import due
from parasim.simulation.fast.recurrence import Passage, pass_through

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.runtime.actor import Actor
    from parasim.simulation.fast.collectives import Member
    from parasim.simulation.fast.run import Run
    from parasim.simulation.fast.timetable import TimedBlock, Timetable

__all__ = ["restore"]

Pair = tuple[int, int]
Delivered = Callable[[float], None]
Watch = Callable[[Envelope, Delivered], Delivered]
_CLOSE = 1e-12


def restore(
    run: Run,
    watch: Watch,
    op: Collective,
    timetable: Timetable,
    begun: float,
    arrivals: NDArray[Any],
    members: Mapping[int, Member],
) -> None:
    """Put the members of a collective, and its messages, where they are now.

    Parameters
    ----------
    run, watch
        The run; called with each message that goes on, and what to call at its delivery, replies with what to call.
    op, timetable
        The collective.
    begun, arrivals
        When the first member came; when each did after that, infinite for those that have not (seconds).
    members
        Those that have come and are not through, by index in the group.
    """
    course = _Course(run, watch, op, timetable, begun, arrivals)
    for index in sorted(members):
        course.follow(index, members[index])
    course.move()


class _Course:
    """What has become of the members and their messages until now."""

    def __init__(
        self, run: Run, watch: Watch, op: Collective, timetable: Timetable, begun: float, arrivals: NDArray[Any]
    ) -> None:
        self._run = run
        self._watch = watch
        self._op = op
        self._noisy = timetable.noisy
        self._index = {rank: index for index, rank in enumerate(op.group.ranks)}
        self._begun = begun
        self._latest = due(run.now) - begun
        self._passages: list[Passage] = []
        self._numbers: dict[int, dict[Pair, int]] = {}  # of a block: (sender, receiver) -> number of the message
        for passage in _passages(timetable, arrivals, run.now - begun, self._latest):
            self._passages.append(passage)
            if not (passage.through <= self._latest).any():
                break
        self._sent: dict[tuple[int, Pair], Envelope] = {}  # messages under way: their two ends
        self._awaited: dict[tuple[int, Pair], Receipt] = {}

    def follow(self, index: int, member: Member) -> None:
        """Step a member's program to what it does now."""
        actor, task, entered = member.actor, member.pending.task, member.entered
        program = expanded(actor, task, member.pending.op)
        task.stack.append(Frame(program, member.pending.op, entered))
        at, reached, over = -1, entered - self._begun, 0.0
        op: Op[Any] = program.send(None)
        while True:
            pending = Pending(task, op, self._begun + reached)
            if isinstance(op, Exchange):
                at = self._round_of(index, at)
                self._exchange(at, actor, pending)
                if pending.remaining:
                    break
                passage = self._passages[at]
                actor.rows.messages(pending)
                reached = float(passage.through[index])
                over = reached if passage.adding is None else reached + float(passage.adding[index])
                op = program.send(tuple(pending.replies))
            else:
                assert isinstance(op, Compute)
                seconds = 0.0 if self._noisy else self._run.paces[actor.rank].steady(op.kernel)
                end = reached + seconds
                self._run.paces[actor.rank].passed_over(op.kernel.label, 1)
                if end > self._latest or (over > self._latest and over - end <= _CLOSE * over):
                    self._compute(actor, pending, end)
                    break
                actor.rows.computed(pending, pending.t_post, self._begun + end)
                reached = end
                op = program.send(None)
        task.pending = pending

    def _round_of(self, index: int, before: int) -> int:
        """The next round in which a member has messages."""
        at = before + 1
        while not any(index in pair for pair in self._messages(self._passages[at].block)):
            at += 1
        return at

    def _messages(self, block: TimedBlock) -> dict[Pair, int]:
        numbers = self._numbers.get(id(block.senders))
        if numbers is None:
            pairs = zip(block.senders.tolist(), block.receivers.tolist(), strict=True)
            numbers = self._numbers[id(block.senders)] = {pair: number for number, pair in enumerate(pairs)}
        return numbers

    def _exchange(self, at: int, actor: Actor, pending: Pending) -> None:
        """An exchange: what is over, what is under way, and what waits for its other end."""
        op, own = pending.op, self._index[actor.rank]
        pending.remaining, pending.replies = 0, [None] * len(op.receives)
        for slot, send in enumerate(op.sends):
            pair = own, self._index[send.peer]
            actor.messages += 1
            envelope = self._envelope(at, pair, pending, slot, f"{actor.rank}:{actor.messages}", send.buffer)
            if self._over(at, pair, pending, envelope, sent=True):
                continue
            if self._under_way(at, pair):
                self._sent[at, pair] = envelope
            else:
                self._run.actors[send.peer].mailbox.offer(envelope)
        for slot, recv in enumerate(op.receives):
            pair = self._index[recv.source], own
            receipt = Receipt(recv.source, recv.tag, recv.into, pending.t_post, pending, slot)
            envelope = self._envelope(at, pair, pending, 0, "", None)
            if self._over(at, pair, pending, envelope, sent=False):
                pending.replies[slot] = Message(recv.source, recv.tag, {}, receipt.accept(envelope))
                continue
            pending.receipts.append(receipt)
            if self._under_way(at, pair):
                self._awaited[at, pair] = receipt
            else:
                actor.mailbox.post(receipt)

    def _envelope(
        self, at: int, pair: Pair, pending: Pending, slot: int, message: str, buffer: Buffer | None
    ) -> Envelope:
        """A message of a round, as its sender announces it."""
        passage, whole = self._passages[at], self._op.buffer
        assert whole is not None
        source, destination = (self._op.group.ranks[member] for member in pair)
        elements = int(passage.block.elements[passage.number][self._number(at, pair)])
        tag = (*pending.op.sends, *pending.op.receives)[0].tag
        return Envelope(
            source, destination, tag, {}, whole.name, elements, whole.itemsize, True, message, pending.t_post, buffer,
            pending, slot, True,
        )  # fmt: skip

    def _number(self, at: int, pair: Pair) -> int:
        return self._messages(self._passages[at].block)[pair]

    def _under_way(self, at: int, pair: Pair) -> bool:
        return bool(self._passages[at].begun[self._number(at, pair)] <= self._latest)

    def _over(self, at: int, pair: Pair, pending: Pending, envelope: Envelope, *, sent: bool) -> bool:
        """Has the message been delivered? It is noted then; else there is one more to wait for."""
        number = self._number(at, pair)
        ended = float(self._passages[at].ended[number])
        if ended > self._latest:
            pending.remaining += 1
            return False
        start, end = self._begun + float(self._passages[at].begun[number]), self._begun + ended
        pending.messages.append((start, end, envelope, sent, pending.task.cancelled))
        pending.end = max(pending.end, end)
        return True

    def move(self) -> None:
        """Let the messages under way go on, in the order in which they began."""
        run, now = self._run, self._run.now - self._begun

        def order(key: tuple[int, Pair]) -> float:
            return float(self._passages[key[0]].begun[self._number(*key)])

        for at, pair in sorted(self._sent, key=order):
            passage, number = self._passages[at], self._number(at, pair)
            envelope, receipt = self._sent[at, pair], self._awaited[at, pair]
            begun, left = float(passage.begun[number]), passage.left(number, now)
            flows = begun + float(passage.block.latencies[passage.number][number])
            delivered = partial(run.delivered, run.actors[envelope.destination], envelope, receipt)
            done = self._watch(envelope, partial(_from, delivered, self._begun + begun))
            run.move(envelope, left * envelope.nbytes, max(0.0, flows - now), done)

    def _compute(self, actor: Actor, pending: Pending, end: float) -> None:
        """A reduction has the rest of its seconds to do."""
        actor.guard.run(pending)
        self._run.compute(actor, pending, pending.t_post, max(0.0, self._begun + end - self._run.now))


def _passages(timetable: Timetable, arrivals: NDArray[Any], now: float, latest: float) -> Iterator[Passage]:
    """The rounds of a collective, with what has become of its messages until now."""
    if timetable.crossing is None:
        return pass_through(timetable, arrivals)
    return timetable.crossing.passages(arrivals, now, latest, timetable.blocks())


def _from(delivered: Delivered, begun: float, _: float) -> None:
    """The delivery of a message that began before it was last started."""
    delivered(begun)
