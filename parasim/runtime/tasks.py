"""What the interpreter keeps of a running program."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from parasim.program.ops import Handle, Op, Program
from parasim.runtime.mailbox import Envelope, Receipt

__all__ = ["NESTED", "PENDING", "Frame", "Lane", "Pending", "Task"]

PENDING = object()
"""What a handler replies when the operation is not done yet."""
NESTED = object()
"""What a handler replies when it pushed a program that stands for the operation."""


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
    """A program on a lane."""

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


@dataclass(slots=True, eq=False)
class Pending:
    """An operation that waits for something. Parts done are counted down in `remaining`.

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


@dataclass(slots=True, eq=False)
class Lane:
    """First-in first-out stream of one actor's programs."""

    name: str
    current: Task | None = None
    queue: deque[Task] = field(default_factory=deque)
    count: int = 0
