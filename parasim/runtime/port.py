"""What the interpreter asks of a runtime: a clock, and to make operations happen.

A runtime calls back: `Actor.computed`, `Actor.sent`, `Actor.received`, `Actor.slept`, `Actor.reduced`, `Actor.coupled`,
`Actor.granted`, always from the one thread that steps the actor's programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from parasim.program.ops import Collective, Locked
    from parasim.program.shared import Shared
    from parasim.runtime.actor import Actor
    from parasim.runtime.shared import SharedVector
    from parasim.runtime.tasks import Envelope, Pending, Receipt, Task

__all__ = ["Port"]


class Port(Protocol):
    """One side of the language: virtual time, or real processes."""

    def now(self) -> float:
        """Seconds on the run's clock."""

    def compute(self, actor: Actor, pending: Pending) -> None:
        """Occupy the device for the pending `Compute`, run its work, then call `actor.computed`."""

    def announce(self, actor: Actor, envelope: Envelope) -> None:
        """Make the message known to the receiver: its interpreter calls `mailbox.offer`; later call `actor.sent`."""

    def transfer(self, actor: Actor, envelope: Envelope, receipt: Receipt) -> None:
        """Both ends are ready: move the payload to the receiving `actor`, then call its `received`."""

    def sleep(self, actor: Actor, pending: Pending, seconds: float) -> None:
        """Call `actor.slept` after so many seconds."""

    def native(self, actor: Actor, pending: Pending, op: Collective) -> None:
        """Run the backend's own collective, then call `actor.reduced`."""

    def whole(self, actor: Actor, pending: Pending, op: Collective) -> bool:
        """Do a named collective as a whole, then call `actor.coupled`; False if it is to be expanded into messages."""

    def interrupt(self, actor: Actor, pending: Pending) -> None:
        """The program that waits for this collective is to be stopped: what it waits for may be one of its messages."""

    def acquire(self, actor: Actor, pending: Pending, op: Locked[object]) -> None:
        """Call `actor.granted` when the actor holds the lock of `op.shared`."""

    def release(self, actor: Actor, shared: Shared) -> None:
        """Give the lock back."""

    def vector(self, shared: Shared) -> SharedVector:
        """The memory behind a shared vector."""

    def wake(self, actor: Actor) -> None:
        """`actor.run()` has something to do: call it soon, not from within this call."""

    def finished(self, actor: Actor, task: Task) -> None:
        """A program of the actor ended."""
