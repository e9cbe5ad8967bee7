"""What messages and operations cost the cores of a host: CPU seconds, fitted by calibration, and none unless given.

A message goes through these stages, each a job on the cores of the host named, beside its computes::

    sender    post ---+                                       +- finish
                      | announcement     data: the flow       |
    receiver          +-> hear ... match -> start -> =======> +- finish

While data flow, both ends spend CPU on every byte; the message is delivered when the flow and both jobs are done. What
else it costs an end, without keeping the message waiting, is `background`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.fields import check_fields, quantity

__all__ = ["STEPS", "Handling"]

STEPS = ("post", "hear", "start")
"""Costs of every message, whatever its size, that keep it waiting before data flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """CPU seconds per message and operation.

    Attributes
    ----------
    post
        Sender, before the announcement leaves.
    hear
        Receiver, before it knows of the announcement.
    start
        Receiver, when both ends are ready, before data flow.
    finish
        Each end, after the data, before its program goes on.
    background
        Each end, beside: nobody waits for it, but the cores are busy.
    send_byte, receive_byte
        Each byte at its end (seconds/byte), after the first `near_bytes`.
    near_bytes, near_byte
        So much of a message stays in the caches of the cores, and costs less: CPU time of each end per byte.
    operation
        Each compute, before its kernel; of the backend's own collectives: each of them, before its messages.
    wake
        The end of each paced compute, before its program goes on: who waited for it has slept, and wakes up late.
    latency
        Seconds that no core is busy with, for each message with payload, by its receiver.
    credit
        Seconds of its time that an idle link saves at most, and then lets through at once, as shapers do. If a host has
        any, all links are queues (parasim/simulation/queues.py), each with the most that a host has. Collectives in one
        flow: only what finds its narrowest links idle saves it (parasim/simulation/buckets.py).
    bandwidth
        Payload of one actor's messages, in and out together: the one thread that moves them (bytes/s).
    cold, cooling
        A job of a kind that an actor has not done for p seconds takes ``1 + cold (1 - exp(-p / cooling))`` times as
        long: what it needs has left the caches.
    cold_near
        The same for the first `near_bytes` of a message, of an actor that has moved none for p seconds.

    Raises
    ------
    ScenarioError
        If a cost is negative or infinite, or bandwidth or cooling are not above zero.
    """

    post: float = quantity("seconds", "CPU time of the sender before a message is announced", 0.0, ge=0)
    hear: float = quantity("seconds", "CPU time of the receiver before it knows of the announcement", 0.0, ge=0)
    start: float = quantity("seconds", "CPU time of the receiver before data flow", 0.0, ge=0)
    finish: float = quantity("seconds", "CPU time of each end after the data, before its program goes on", 0.0, ge=0)
    background: float = quantity("seconds", "CPU time of each end per message that nobody waits for", 0.0, ge=0)
    send_byte: float = quantity("seconds/byte", "CPU time of the sender per byte", 0.0, ge=0)
    receive_byte: float = quantity("seconds/byte", "CPU time of the receiver per byte", 0.0, ge=0)
    near_bytes: float = quantity("bytes", "start of a message that costs near_byte per byte", 0.0, ge=0)
    near_byte: float = quantity("seconds/byte", "CPU time of each end per byte of that start", 0.0, ge=0)
    operation: float = quantity("seconds", "CPU time of each compute beside its kernel", 0.0, ge=0)
    wake: float = quantity("seconds", "CPU time of who wakes up at the end of a paced compute", 0.0, ge=0)
    latency: float = quantity("seconds", "time of each message that keeps no core busy", 0.0, ge=0)
    credit: float = quantity("seconds", "time of an idle link that a message saves (a shaper's burst)", 0.0, ge=0)
    bandwidth: float = quantity("bytes/s", "payload of one actor's messages, in and out together", math.inf, gt=0)
    cold: float = quantity("", "how much longer handling takes after a long pause: 1 is twice as long", 0.0, ge=0)
    cold_near: float = quantity("", "how much longer the first near_bytes take after a long pause", 0.0, ge=0)
    cooling: float = quantity("seconds", "time constant of that pause", 0.01, gt=0)

    def __post_init__(self) -> None:
        check_fields(self, "handling")

    def warmth(self, pause: float) -> float:
        """How many times as long a job takes when the last of its kind was so many seconds ago."""
        return 1.0 + self.cold * self._lost(pause)

    def sending(self, nbytes: float, pause: float = 0.0) -> float:
        """CPU seconds of a sender for so many bytes, when it moved the last ones so many seconds ago."""
        return self._bytes(nbytes, self.send_byte, pause)

    def receiving(self, nbytes: float, pause: float = 0.0) -> float:
        """CPU seconds of a receiver for so many bytes, when it moved the last ones so many seconds ago."""
        return self._bytes(nbytes, self.receive_byte, pause)

    def _bytes(self, nbytes: float, far: float, pause: float) -> float:
        near = min(nbytes, self.near_bytes)
        return near * self.near_byte * (1.0 + self.cold_near * self._lost(pause)) + (nbytes - near) * far

    def _lost(self, pause: float) -> float:
        """The share of what was in the caches that a pause has cost."""
        return -math.expm1(-pause / self.cooling)
