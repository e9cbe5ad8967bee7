"""The rows of one actor, from its operations.

Where only sums are kept, computes, messages, waits and notes, of which there are most, are added up without their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from parasim.program.ops import Collective, Event, Exchange
from parasim.runtime.tasks import Envelope, Part, Pending, Task
from parasim.trace.actor import Sums
from parasim.trace.aggregate import Aggregates
from parasim.trace.rows import Row, Sink

__all__ = ["HEADER_BYTES", "Writer"]

HEADER_BYTES = 64
"""What a header-only message counts in the column of its own."""
_START = itemgetter(0)


class Writer:
    """Writes rows.

    Parameters
    ----------
    who
        Rank, role and index in the role.
    sink
        Takes the rows.
    now
        Seconds on the run's clock.
    """

    __slots__ = ("_now", "_sink", "_sums", "_totals", "_who")

    def __init__(self, who: tuple[int, str, int], sink: Sink, now: Callable[[], float]) -> None:
        self._who = who
        self._sink = sink
        self._now = now
        self._sums = sink if isinstance(sink, Aggregates) else None
        self._totals = None if self._sums is None else self._sums.totals(*who)

    def computed(self, pending: Pending, t_start: float, t_end: float) -> None:
        """A compute; none if it belongs to what stands for a native collective."""
        task, kernel = pending.task, pending.op.kernel
        if task.quiet:
            return
        if self._totals is not None:
            self._totals.computed(task.lane, kernel.flops, task.cancelled, t_start, t_end)
            return
        self._sink.add(
            Row._make((
                *self._who, task.lane, task.id, "compute", kernel.label, kernel.layer, -1, "", "", "", "", 0, 0,
                kernel.flops, kernel.step, kernel.micro, -1, -1, "cancelled" if task.cancelled else "", None, 0,
                pending.t_post, t_start, t_end, 0,
            ))
        )  # fmt: skip

    def messages(self, pending: Pending) -> None:
        """The messages of an operation that is done, in the order of their starts."""
        messages = pending.messages
        if len(messages) > 1:
            messages.sort(key=_START)
        for t_start, t_end, envelope, sent, cancelled in messages:
            self.message(pending, envelope, sent, t_start, t_end, cancelled)

    def message(
        self, pending: Pending, envelope: Envelope, sent: bool, t_start: float, t_end: float, cancelled: bool
    ) -> None:
        """A message, at one of its ends."""
        task, totals = pending.task, self._totals
        nbytes, control = envelope.elements * envelope.itemsize, 0 if envelope.has_buffer else HEADER_BYTES
        if totals is not None:
            (totals.sent if sent else totals.received)(task.lane, nbytes, control, t_start, t_end)
            return
        label, group = "exchange" if type(pending.op) is Exchange else "", ""
        inside = task.stack[-1].op
        if isinstance(inside, Collective):
            label, group = inside.kind, inside.group.name
        op, peer = ("send", envelope.destination) if sent else ("recv", envelope.source)
        self._sink.add(
            Row._make((
                *self._who, task.lane, task.id, op, label, "", peer, group, envelope.tag, envelope.message,
                envelope.name, nbytes, control, 0.0, -1, -1, -1, -1, "cancelled" if cancelled else "", None, 0,
                pending.t_post, t_start, t_end, 0,
            ))
        )  # fmt: skip

    def coupled(self, pending: Pending, part: Part, t_start: float, t_end: float) -> None:
        """A collective done as a whole: all it sent, all it received, then its reductions, as one row each."""
        task, op = pending.task, pending.op
        through = max(t_start, t_end - part.computing)
        start = max(t_start, through - part.moving * (t_end - t_start))
        if self._totals is not None:
            if part.sent[1]:
                self._totals.sent(task.lane, part.sent[0], 0, start, through, part.sent[1])
            if part.received[1]:
                self._totals.received(task.lane, part.received[0], 0, start, through, part.received[1])
            if part.computing:
                self._totals.computed(task.lane, part.flops, False, through, t_end)
        else:
            common: dict[str, Any] = {"group": op.group.name, "buffer": op.buffer.name, "outcome": "coupled"}
            for name, (nbytes, messages) in (("send", part.sent), ("recv", part.received)):
                if messages:
                    self.write(
                        pending, name, op.kind, t_start=start, t_end=through, nbytes=nbytes, messages=messages, **common
                    )
            if part.computing:
                self.write(pending, "compute", "reduce", t_start=through, t_end=t_end, flops=part.flops, **common)
        self.write(
            pending, "collective", op.kind, t_start=t_start, t_end=t_end, nbytes=op.buffer.nbytes,
            group=op.group.name, buffer=op.buffer.name, outcome="coupled",
        )  # fmt: skip

    def summed(self, pending: Pending, sums: Sums, end: float) -> None:
        """The messages and computes of an expanded collective that ends then, where only sums are kept."""
        assert self._totals is not None
        self._totals.summed(pending.task.lane, sums, end)
        self.expanded(pending, end)

    def expanded(self, pending: Pending, end: float) -> None:
        """A collective that was expanded into its program."""
        op = pending.op
        self.write(
            pending, "collective", op.kind, t_start=pending.t_post, t_end=end, outcome="expanded",
            group=op.group.name, buffer=op.buffer.name, nbytes=op.buffer.nbytes,
        )  # fmt: skip

    def waited(self, pending: Pending, lanes: Sequence[str], end: float) -> None:
        """A wait for lanes."""
        if self._totals is not None:
            self._totals.waited(pending.task.lane, lanes, pending.t_post, end)
        else:
            self.write(pending, "wait", ",".join(lanes), t_start=end, t_end=end)

    def write(
        self, pending: Pending, op: str, label: str, *, t_start: float, t_end: float | None = None, **values: Any
    ) -> None:
        """One row for another operation that was waited for; it ends now, if not said otherwise."""
        task = pending.task
        end = self._now() if t_end is None else t_end
        self._sink.add(
            Row(
                *self._who, lane=task.lane, program=task.id, op=op, label=label, t_post=pending.t_post,
                t_start=t_start, t_end=end, **values,
            )
        )  # fmt: skip

    def note(self, task: Task, event: Event) -> None:
        """The row of an event: it takes place when what its program waited for was over."""
        now = task.since
        held = event.nbytes if event.kind == "hold" else -event.nbytes if event.kind == "release" else 0
        label = event.label if event.kind == "note" else event.kind
        if self._totals is not None:
            self._totals.noted(
                task.lane, label, event.label, event.layer, event.peer, event.step,
                (event.version_read, event.version_applied), event.value, held, now,
            )  # fmt: skip
            if self._sums is not None and label == "loss" and event.value is not None:
                self._sums.loss(event.step, event.value, now)
            return
        self._sink.add(
            Row._make((
                *self._who, task.lane, task.id, "log", label, event.layer, event.peer, "", "", "",
                event.label, 0, 0, 0.0, event.step, event.micro, event.version_read, event.version_applied, "",
                event.value, held, now, now, now, 0,
            ))
        )  # fmt: skip
