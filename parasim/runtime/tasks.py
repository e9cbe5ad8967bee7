"""What the interpreter keeps of a running program, and of its messages under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.ops import Handle, Header, Op, Program

__all__ = ["NESTED", "NOTHING", "PENDING", "Envelope", "Frame", "Lane", "Part", "Pending", "Receipt", "Task"]

PENDING = object()
"""What a handler replies when the operation is not done yet."""
NESTED = object()
"""What a handler replies when it pushed a program that stands for the operation."""

NOTHING: list[Any] = []
"""The replies, messages and receipts of an operation that has none."""


@dataclass(slots=True)
class Frame:
    """A generator on a task's stack; `op` is the operation that was expanded into it (None: the program itself)."""

    program: Program[Any]
    op: Op[Any] | None = None
    t_post: float = 0.0
    quiet: bool = False
    t_first: float = -1.0


@dataclass(slots=True, eq=False)
class Task:
    """A program on a lane. What it waited for last was over at `since`: it may hear of that later, not before."""

    id: str
    lane: str
    stack: list[Frame]
    handle: Handle
    daemon: bool
    cancelled: bool = False
    closings: int = 0
    pending: Pending | None = None
    frozen: bool = False
    quiet: int = 0
    since: float = 0.0


@dataclass(slots=True, eq=False)
class Pending:
    """An operation that waits for something. Parts done are counted down in `remaining`; `end` is that of the last.

    `messages` are those of a Send, Recv or Exchange that are through: start, end, envelope, sent (else received), and
    whether the task was cancelled then.
    """

    task: Task
    op: Any
    t_post: float
    remaining: int = 1
    replies: list[Any] = field(default_factory=list)
    messages: list[tuple[float, float, Envelope, bool, bool]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    over: bool = False
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A member's part in a collective that was done as a whole.

    Attributes
    ----------
    computing, flops
        Seconds and FLOP of its reductions.
    moving
        Fraction of the whole in which messages of its move.
    sent, received
        Payload bytes, and messages.
    """

    computing: float
    flops: float
    moving: float
    sent: tuple[int, int]
    received: tuple[int, int]


@dataclass(slots=True, eq=False)
class Lane:
    """First-in first-out stream of one actor's programs."""

    name: str
    current: Task | None = None
    queue: deque[Task] = field(default_factory=deque)
    count: int = 0


@dataclass(slots=True, eq=False)
class Envelope:
    """An announced message. `pending` and `slot` (the send it belongs to) exist on the sender's side only."""

    source: int
    destination: int
    tag: str
    header: Header
    name: str
    elements: int
    itemsize: int
    has_buffer: bool
    message: str
    t_post: float
    buffer: Buffer | None = None
    pending: Pending | None = None
    slot: int = 0
    lent: bool = False
    wire: int = 0

    @property
    def nbytes(self) -> int:
        """Payload bytes."""
        return self.elements * self.itemsize


@dataclass(slots=True, eq=False)
class Receipt:
    """A posted receive: what it accepts, where the payload goes, whose it is."""

    source: int
    tag: str
    into: Buffer | None
    t_post: float
    pending: Pending
    slot: int

    def accept(self, envelope: Envelope) -> Buffer | None:
        """The buffer that the message will be: `into`, or a new one without values; None for a header alone.

        Raises
        ------
        ProgramError
            If `into` has another size than what comes.
        """
        if not envelope.has_buffer:
            return None
        if self.into is None:
            return Buffer(envelope.name, envelope.elements, envelope.itemsize)
        if self.into.nbytes != envelope.nbytes:
            raise ProgramError(
                f"rank {envelope.destination}: {envelope.nbytes} bytes from rank {envelope.source} (tag {self.tag!r}) "
                f"do not fit into {self.into!r} of {self.into.nbytes} bytes"
            )
        return self.into
