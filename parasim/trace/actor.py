"""What one actor's rows add up to, folded row by row into bounded state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple

from parasim.trace.intervals import Pieces
from parasim.trace.lanes import COMPUTE, MAIN, TRANSFER, LaneTimes
from parasim.trace.rows import Row

__all__ = ["HANDLERS", "MARKED", "ActorTotals", "Histogram", "Mark", "Sums"]

MARKED = ("member ", "ensemble ")
"""What notes begin with that the summary tells (parasim/metrics/members.py)."""
Histogram = dict[int, int]
"""How often each whole number was seen."""


class Sums(NamedTuple):
    """What the messages and computes of a collective add up to, of one actor.

    Attributes
    ----------
    transfers, computes
        In seconds: when messages of its move, and when it computes.
    sent, received
        Payload bytes, and messages.
    flops
        FLOP of the computes, and their number.
    """

    transfers: Pieces
    computes: Pieces
    sent: tuple[int, int]
    received: tuple[int, int]
    flops: tuple[float, int]


class Mark(NamedTuple):
    """How many notes of a label there were; step, value and time (seconds) of the last."""

    number: int
    step: int
    value: float | None
    seconds: float


class ActorTotals:
    """Sums over the rows of one actor, which come in the order of their ends.

    Attributes
    ----------
    rank, role, index
        Who.
    num_rows
        Rows taken.
    end
        Largest end of a row that isn't "closed", in seconds.
    last_step
        When its last iteration finished, in seconds; 0 without one.
    steps, updates
        Iterations finished; updates by gradients of the copy that it changed most (gradients applied at one version
        are one update).
    bytes_sent, messages_sent, bytes_received, messages_received
        Payload, and messages that carry some. Native collectives claim none.
    control_messages, control_bytes
        Header-only messages sent, and their bytes.
    flops, cancelled_seconds
        FLOP of all computes; time of computes that were cancelled.
    peak_bytes, peak_bytes_of
        Largest sum of held memory; the same for each named part.
    staleness
        Histograms of version applied - version read, by (rank whose gradient it was, layer).
    lost_updates, torn_reads
        Of shared memory.
    shares
        Did it write to shared memory? Then its updates are of a copy that others change too.
    sizes
        Where its batches are chosen while it runs: (first step, samples) of each size that it had.
    marks
        Of notes that begin with one of `MARKED`, by label and layer: how many, and the last.
    times
        Where its time goes.
    """

    __slots__ = (
        "_first_loss",
        "_held",
        "_held_of",
        "_last_loss",
        "_updates",
        "bytes_received",
        "bytes_sent",
        "cancelled_seconds",
        "control_bytes",
        "control_messages",
        "end",
        "flops",
        "index",
        "last_step",
        "lost_updates",
        "marks",
        "messages_received",
        "messages_sent",
        "num_rows",
        "peak_bytes",
        "peak_bytes_of",
        "rank",
        "role",
        "shares",
        "sizes",
        "staleness",
        "steps",
        "times",
        "torn_reads",
        "updates",
    )

    def __init__(self, rank: int, role: str, index: int, times: LaneTimes | None = None) -> None:
        self.rank = rank
        self.role = role
        self.index = index
        self.num_rows = 0
        self.end = self.last_step = 0.0
        self.steps = self.updates = 0
        self.marks: dict[tuple[str, str], Mark] = {}
        self.bytes_sent = self.messages_sent = self.bytes_received = self.messages_received = 0
        self.control_messages = self.control_bytes = 0
        self.flops = self.cancelled_seconds = 0.0
        self.peak_bytes = self._held = 0
        self.peak_bytes_of: dict[str, int] = {}
        self._held_of: dict[str, int] = {}
        self.staleness: dict[tuple[int, str], Histogram] = {}
        self._updates: dict[str, tuple[int, int]] = {}  # of a layer: latest version, how many
        self.lost_updates = self.torn_reads = 0
        self.shares = False
        self.sizes: list[tuple[int, int]] = []
        self.times = LaneTimes() if times is None else times
        self._first_loss: tuple[int, float, int] | None = None  # step, sum, how many
        self._last_loss: tuple[int, float, int] | None = None

    def of(self, rank: int) -> ActorTotals:
        """The same sums as those of another actor of the role, whose own gradients are those of rank -1 here."""
        other = copy(self)
        other.rank, other.index = rank, self.index + rank - self.rank
        other.staleness = {(rank if peer < 0 else peer, layer): seen for (peer, layer), seen in self.staleness.items()}
        return other

    @property
    def shared_updates(self) -> dict[str, int]:
        """Updates by layer of a copy that is shared; none of one's own copies."""
        return {layer: count for layer, (_, count) in self._updates.items()} if self.shares else {}

    def losses(self) -> tuple[float, float] | None:
        """Mean loss of the first and of the last step that logged one."""
        if self._first_loss is None or self._last_loss is None:
            return None
        return self._first_loss[1] / self._first_loss[2], self._last_loss[1] / self._last_loss[2]

    # what there is most of: without a row, for who would make one only to count it ---------------------------------
    def computed(self, lane: str, flops: float, cancelled: bool, start: float, end: float) -> None:
        """A compute."""
        self.flops += flops
        if cancelled:
            self.cancelled_seconds += end - start
        if end > start:
            self.times.work(lane, start, end, COMPUTE)
        self._ended(lane, end)

    def sent(self, lane: str, nbytes: int, control_bytes: int, start: float, end: float, messages: int = 1) -> None:
        """A message that leaves, or so many at once."""
        if control_bytes and not nbytes:
            self.control_messages += 1
            self.control_bytes += control_bytes
        else:
            self.messages_sent += messages
            self.bytes_sent += nbytes
        self.times.work(lane, start, end, TRANSFER)
        self._ended(lane, end)

    def received(self, lane: str, nbytes: int, control_bytes: int, start: float, end: float, messages: int = 1) -> None:
        """A message that arrives, or so many at once."""
        if nbytes or not control_bytes:
            self.messages_received += messages
            self.bytes_received += nbytes
        self.times.work(lane, start, end, TRANSFER)
        self._ended(lane, end)

    def summed(self, lane: str, sums: Sums, end: float) -> None:
        """All messages and computes of a collective that ends then."""
        self.bytes_sent += sums.sent[0]
        self.messages_sent += sums.sent[1]
        self.bytes_received += sums.received[0]
        self.messages_received += sums.received[1]
        self.flops += sums.flops[0]
        self.times.works(lane, sums.transfers, TRANSFER)
        self.times.works(lane, sums.computes, COMPUTE)
        self.num_rows += sums.sent[1] + sums.received[1] + sums.flops[1] - 1
        self._ended(lane, end)

    def _ended(self, lane: str, end: float) -> None:
        """A row has been taken."""
        self.num_rows += 1
        self.end = max(self.end, end)
        if lane == MAIN:
            self.times.passed(end)

    def waited(self, lane: str, lanes: Sequence[str], start: float, end: float) -> None:
        """A wait for lanes."""
        self.times.wait(lane, lanes, start, end)
        self._ended(lane, end)

    def noted(
        self, lane: str, label: str, part: str, layer: str, peer: int, step: int, versions: tuple[int, int],
        value: float | None, held: int, end: float,
    ) -> None:  # fmt: skip
        """A note at no cost; `versions` are those read and applied, `held` is the change of held memory of a `part`."""
        if label == "step":
            self.steps += 1
            self.last_step = end
            if value is not None and (not self.sizes or self.sizes[-1][1] != value):
                self.sizes.append((step, int(value)))
        elif label == "applied":
            self._applied(peer, layer, *versions)
        elif label == "loss" and value is not None:
            self._loss(step, value)
        elif label.startswith(MARKED):
            before = self.marks.get((label, layer))
            self.marks[label, layer] = Mark(1 if before is None else before.number + 1, step, value, end)
        if held:
            self._hold(part, held)
        self._ended(lane, end)

    # one method per op ---------------------------------------------------------------------------------------------
    def compute(self, row: Row) -> None:
        """A compute."""
        self.computed(row.lane, row.flops, row.outcome == "cancelled", row.t_start, row.t_end)

    def send(self, row: Row) -> None:
        """A message that leaves."""
        self.sent(row.lane, row.nbytes, row.control_bytes, row.t_start, row.t_end, _messages(row))

    def receive(self, row: Row) -> None:
        """A message that arrives; nothing if the receive ended without one."""
        if row.outcome == "closed":
            end = self.end
            self._ended(row.lane, row.t_end)
            self.end = end
        elif row.outcome == "cancelled" and not row.message:
            self._ended(row.lane, row.t_end)
        else:
            self.received(row.lane, row.nbytes, row.control_bytes, row.t_start, row.t_end, _messages(row))

    def wait(self, row: Row) -> None:
        """A wait for lanes."""
        self.waited(row.lane, row.label.split(","), row.t_post, row.t_end)

    def collective(self, row: Row) -> None:
        """A collective; an expanded or coupled one has rows for its messages."""
        if row.outcome not in {"expanded", "coupled"}:
            self.times.work(row.lane, row.t_start, row.t_end, TRANSFER)
        self._ended(row.lane, row.t_end)

    def shared(self, row: Row) -> None:
        """A read or an update of shared memory."""
        if row.outcome == "torn":
            self.torn_reads += 1
        elif row.outcome == "lost":
            self.lost_updates += 1
        self.shares = self.shares or row.op == "update"
        self.times.shared(row.lane, row.t_start, row.t_end)
        self._ended(row.lane, row.t_end)

    def log(self, row: Row) -> None:
        """A note at no cost."""
        self.noted(
            row.lane, row.label, row.buffer, row.layer, row.peer, row.step, (row.version_read, row.version_applied),
            row.value, row.held_bytes, row.t_end,
        )  # fmt: skip

    def nothing(self, row: Row) -> None:
        """A row that adds to no figure but the end."""
        self._ended(row.lane, row.t_end)

    # notes ---------------------------------------------------------------------------------------------------------
    def _applied(self, peer: int, layer: str, version_read: int, version_applied: int) -> None:
        """A gradient was applied."""
        histogram = self.staleness.setdefault((self.rank if peer < 0 else peer, layer), {})
        staleness = version_applied - version_read
        histogram[staleness] = histogram.get(staleness, 0) + 1
        latest, count = self._updates.get(layer, (-1, 0))
        if version_applied != latest:
            self._updates[layer] = (version_applied, count + 1)
            self.updates = max(self.updates, count + 1)

    def _loss(self, step: int, value: float) -> None:
        """A loss was found; those of one step are summed."""
        first, last = self._first_loss, self._last_loss
        if first is None or step <= first[0]:
            self._first_loss = _with(first, step, value)
        if last is None or step >= last[0]:
            self._last_loss = _with(last, step, value)

    def _hold(self, part: str, nbytes: int) -> None:
        """Memory was taken or given back."""
        self._held += nbytes
        held = self._held_of[part] = self._held_of.get(part, 0) + nbytes
        if nbytes > 0:
            self.peak_bytes = max(self.peak_bytes, self._held)
            self.peak_bytes_of[part] = max(self.peak_bytes_of.get(part, 0), held)


def _with(mean: tuple[int, float, int] | None, step: int, value: float) -> tuple[int, float, int]:
    """The running mean of a step with one value more; a new one if the step differs."""
    return (step, mean[1] + value, mean[2] + 1) if mean is not None and mean[0] == step else (step, value, 1)


def _messages(row: Row) -> int:
    """How many messages a row stands for."""
    return row.messages if row.outcome == "coupled" else 1


HANDLERS: dict[str, Callable[[ActorTotals, Row], None]] = {
    "compute": ActorTotals.compute,
    "send": ActorTotals.send,
    "recv": ActorTotals.receive,
    "wait": ActorTotals.wait,
    "sleep": ActorTotals.nothing,
    "collective": ActorTotals.collective,
    "read": ActorTotals.shared,
    "update": ActorTotals.shared,
    "locked": ActorTotals.nothing,
    "decide": ActorTotals.nothing,
    "choice": ActorTotals.nothing,
    "log": ActorTotals.log,
}
"""What to do with a row, by its op."""
