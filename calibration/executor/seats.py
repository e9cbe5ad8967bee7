"""Where a rank runs on this machine: in which network namespace, and with which of its addresses."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from parasim.errors import ExecutionError

__all__ = ["Seat", "enter", "take_seat"]

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Seat:
    """Descriptor of a network namespace, and the name of the interface that gloo binds to there."""

    namespace: int
    interface: str


def enter(namespace: int) -> None:
    """Move the calling thread, and the threads that it will start, into a network namespace.

    Sockets that are open stay where they were made.

    Raises
    ------
    ExecutionError
        If the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise ExecutionError(f"entering a network namespace: {reason}; run as root, or on network: loopback")


def take_seat(seat: Seat) -> None:
    """Go to one's seat; raises as :func:`enter` does."""
    enter(seat.namespace)
    os.close(seat.namespace)
    os.environ["GLOO_SOCKET_IFNAME"] = seat.interface
