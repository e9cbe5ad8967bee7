"""What the trace adds up that is known before anything is played: it follows from a tape alone.

Why it is exact: what is added for each operation is what parasim/trace/actor.py adds for its row.
"""

from __future__ import annotations

from typing import Any

from parasim.program.ops import Event
from parasim.runtime.writer import HEADER_BYTES
from parasim.simulation.chorus.counts import Distinguished

__all__ = ["Totals"]

SUMS = (
    "num_rows", "steps", "bytes_sent", "messages_sent", "bytes_received", "messages_received", "control_messages",
    "control_bytes", "flops",
)  # fmt: skip


class Totals:
    """Sums over the rows of a tape; memory held, now and at most, by part ("" is all)."""

    def __init__(self) -> None:
        self.sums: dict[str, Any] = dict.fromkeys(SUMS, 0)
        self.sums["flops"] = 0.0
        self.held: dict[str, int] = {"": 0}
        self.peaks: dict[str, int] = {"": 0}

    def row(self, **more: float) -> None:
        """A row that adds so much."""
        self.sums["num_rows"] += 1
        for name, amount in more.items():
            self.sums[name] += amount

    def sent(self, nbytes: int | None) -> None:
        """A message that leaves; None: a header alone."""
        if nbytes is None:
            self.row(control_messages=1, control_bytes=HEADER_BYTES)
        else:
            self.row(messages_sent=1, bytes_sent=nbytes)

    def received(self, nbytes: int | None) -> None:
        """A message that arrives."""
        if nbytes is None:
            self.row()
        else:
            self.row(messages_received=1, bytes_received=nbytes)

    def noted(self, event: Event) -> None:
        """A note of a step, or of memory.

        Raises
        ------
        Distinguished
            If it is another.
        """
        if event.kind == "step":
            self.row(steps=1)
        elif event.kind in ("hold", "release"):
            nbytes = event.nbytes if event.kind == "hold" else -event.nbytes
            self.row()
            if nbytes:
                self._hold(event.label, nbytes)
        else:
            raise Distinguished(f"a note of kind {event.kind}")

    def _hold(self, part: str, nbytes: int) -> None:
        for name in {"", part}:
            held = self.held[name] = self.held.get(name, 0) + nbytes
            if nbytes > 0:
                self.peaks[name] = max(self.peaks.get(name, 0), held)

    def add(self, other: Totals, times: int) -> None:
        """The sums of another, so many times; it holds no memory."""
        for name, amount in other.sums.items():
            self.sums[name] += amount * times
