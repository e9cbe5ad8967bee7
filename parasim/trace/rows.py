"""The row of a trace, and what takes rows.

`t_post..t_start` is waiting for the other side (or the device, or a lane); `t_start..t_end` is work or transfer. An
`Exchange` leaves one row per message, all with its `t_post`, one after the other. A collective that was expanded into
its program leaves the rows of its messages and reductions, and one row of its own with outcome "expanded" that no
figure counts as time. One that was simulated as a whole (outcome "coupled") leaves a row for all it sent, one for all
it received and one for its reductions, besides its own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["COLUMNS", "Row", "Sink"]


class Row(NamedTuple):
    """One operation of one actor. Times in seconds; -1 and "" where a column does not apply.

    Attributes
    ----------
    rank, role, index
        Who: global rank, role, index in the role.
    lane, program
        Which stream of the actor ("main" or a posted lane), and which program on it ("main#0", "push#3").
    op
        "compute", "send", "recv", "wait", "sleep", "collective", "read", "update", "locked", "decide", "choice" (the
        answer of a Poll or Probe) or "log".
    label, layer
        Kernel label, kind of collective that a message is of ("exchange": of none), kind of event ("step", "applied",
        "loss", "hold", "release", "note"), or the lanes waited for (joined with ","); the layer or part it belongs to.
    peer, group, tag, message
        Other rank (of "applied": whose gradient it was, -1 for one's own); group of a collective; tag; id of the
        message, the same at both ends ("3:17": 17th from rank 3).
    buffer, nbytes, control_bytes
        Name and payload bytes of what travels (of "hold" and "release": name of what is held); bytes of a header-only
        message (then nbytes is 0).
    flops
        FLOP of a compute.
    step, micro
        Iteration and micro-batch.
    version_read, version_applied
        Of an "applied" event.
    outcome
        "", "cancelled", "closed", "expanded", "coupled", "native", "torn", "lost" or "injected": a message of a real
        run whose data the executor held up by the latency of its route (`execute: {network: shaped}`).
    value
        Loss, reply of a decision; of memory held or released, the bytes of its tensors where values are carried.
    held_bytes
        Change of held memory by an event (negative: released).
    messages
        Of a send or receive with outcome "coupled": how many messages it stands for; else 0.
    """

    rank: int
    role: str
    index: int  # type: ignore[assignment]  # it hides tuple.index, which no one asks a row
    lane: str
    program: str
    op: str
    label: str = ""
    layer: str = ""
    peer: int = -1
    group: str = ""
    tag: str = ""
    message: str = ""
    buffer: str = ""
    nbytes: int = 0
    control_bytes: int = 0
    flops: float = 0.0
    step: int = -1
    micro: int = -1
    version_read: int = -1
    version_applied: int = -1
    outcome: str = ""
    value: float | None = None
    held_bytes: int = 0
    t_post: float = 0.0
    t_start: float = 0.0
    t_end: float = 0.0
    messages: int = 0


COLUMNS = Row._fields


class Sink(Protocol):
    """Takes the rows of a run, each actor's in the order of their ends."""

    def add(self, row: Row) -> None:
        """Take one row."""
