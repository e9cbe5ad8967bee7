"""Messages over a process group: announcements in fixed-size packets, payloads on wire tags of their own.

Facts about gloo that decide how (measured, torch 2.13): a send is rendezvous at every size; a message longer than the
buffer posted for it aborts the process; point-to-point works can't be polled; a pending any-source receive can't be
taken back; a tensor changed while it is sent changes what arrives.

So a message is announced first: a packet of `PACKET_BYTES` on one tag, which one thread per rank always waits for. It
names size, type and wire tag of the payload, whose receive is posted when the program's own receive has matched, never
ahead: that keeps the rendezvous. A message without payload sends one byte there. Texts that don't fit go after the
packet. A send of gloo's is over when the kernel has taken the bytes, which may be long before they arrive; so the
receiver says with a byte when all has landed. Every rank's last packet to rank 0, and rank 0's to every rank, says so:
then the thread ends.

A pair of ranks has one connection in a group, and what is sent there waits for what was sent before, gloo's own notices
of posted receives too: two ranks that send each other much at once would take turns, the notice of one behind the data
of the other. So announcements have a group of their own, payloads to higher ranks another, and those to lower ranks a
third, all served by one thread of gloo's.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from calibration.executor.backend import Group
from parasim.errors import ProgramError
from parasim.runtime.tasks import Envelope

__all__ = ["LAST", "MESSAGE", "ORDER", "REPORT", "Courier", "LostPeer", "Parcel", "plain_header"]

PACKET_BYTES = 512
_PACKET_TAG, _MORE_TAG, _FIRST_WIRE_TAG = 1, 2, 16
_WIRE_TAGS = 1 << 24
_LANDED_TAG = 1 << 25  # above all wire tags
_LENGTH_BYTES = 4
_MAX_LOOSE = 64

MESSAGE, ORDER, REPORT, LAST = "message", "order", "report", "last"
"""Kinds of packets: a program's message is announced; rank 0 orders; a rank reports to rank 0; a rank's last packet."""


class LostPeer(Exception):
    """A transfer broke: another process is gone, and its error is the one to look at."""


@dataclass(slots=True, eq=False)
class Parcel:
    """Works under way, and the tensors that must live as long."""

    works: tuple[Any, ...]
    tensors: tuple[torch.Tensor, ...]

    def wait(self) -> None:
        """Return when all has gone, or come."""
        try:
            for work in self.works:
                work.wait()
        except RuntimeError as error:
            raise LostPeer(f"a transfer broke: {error}") from None


class Courier:
    """The message side of one rank.

    Parameters
    ----------
    group, up, down
        All ranks of the run, three times: for announcements, and for payloads to higher and to lower ranks.
    deliver
        Called by the receiving thread with the content of each packet, and with (None, error) if it failed.
    """

    def __init__(
        self, group: Group, up: Group, down: Group, deliver: Callable[[list[Any] | None, BaseException | None], None]
    ) -> None:
        self._group = group
        self._up = up
        self._down = down
        self._deliver = deliver
        self._wire = itertools.count()
        self._loose: deque[Parcel] = deque()  # nobody waits for them, but they must live
        self._lasts = group.size - 1 if group.index == 0 else 1
        self._thread = threading.Thread(target=self._listen, name="receiver", daemon=True)

    def start(self) -> None:
        """Begin to receive packets."""
        if self._group.size > 1:
            self._thread.start()

    def finish(self) -> None:
        """After the last packets have been sent: wait until all have come."""
        if self._group.size > 1:
            self._thread.join()
        while self._loose:
            self._loose.popleft().wait()

    # sending ---------------------------------------------------------------------------------------------------------
    def tell(self, peer: int, content: list[Any]) -> None:
        """Send a packet that is no program's message."""
        self._keep(self._packet(peer, content))

    def _packet(self, peer: int, content: list[Any]) -> Parcel:
        text = json.dumps(content, separators=(",", ":")).encode()
        packet = torch.zeros(PACKET_BYTES, dtype=torch.uint8)
        data = memoryview(packet.numpy())  # type: ignore[arg-type]
        data[:_LENGTH_BYTES] = len(text).to_bytes(_LENGTH_BYTES, "little")
        room = PACKET_BYTES - _LENGTH_BYTES
        data[_LENGTH_BYTES : _LENGTH_BYTES + min(room, len(text))] = text[:room]
        work = self._group.send(packet, peer, _PACKET_TAG)
        if len(text) <= room:
            return Parcel((work,), (packet,))
        more = torch.frombuffer(bytearray(text[room:]), dtype=torch.uint8)
        return Parcel((work, self._group.send(more, peer, _MORE_TAG)), (packet, more))

    def send(self, peer: int, content: list[Any], payload: torch.Tensor | None) -> Parcel:
        """Announce a message and start to send its payload (None: a byte); appends the wire tag to `content`."""
        tag = _FIRST_WIRE_TAG + next(self._wire) % _WIRE_TAGS
        packet = self._packet(peer, [*content, tag])
        if payload is None:
            nothing = torch.zeros(1, dtype=torch.uint8)
            return Parcel((self._group.send(nothing, peer, tag), *packet.works), (nothing, *packet.tensors))
        word = torch.empty(1, dtype=torch.uint8)
        landed = self._group.receive(word, peer, _LANDED_TAG + tag)
        way = self._up if peer > self._group.index else self._down
        work = way.send(payload, peer, tag)
        return Parcel((landed, work, *packet.works), (word, payload, *packet.tensors))

    # receiving -------------------------------------------------------------------------------------------------------
    def receive(self, peer: int, tag: int, payload: torch.Tensor) -> Parcel:
        """Start to receive a payload."""
        way = self._up if peer < self._group.index else self._down
        return Parcel((way.receive(payload, peer, tag),), (payload,))

    def landed(self, peer: int, tag: int) -> None:
        """Tell the sender that all of a payload is here; may be called by any thread."""
        word = torch.zeros(1, dtype=torch.uint8)
        self._keep(Parcel((self._group.send(word, peer, _LANDED_TAG + tag),), (word,)))

    def receive_nothing(self, peer: int, tag: int) -> Parcel:
        """Start to receive the byte of a message without payload."""
        byte = torch.empty(1, dtype=torch.uint8)
        return Parcel((self._group.receive(byte, peer, tag),), (byte,))

    def acknowledge(self, peer: int, tag: int) -> None:
        """Take the byte of a message without payload; it has been sent already, so nobody need wait for it now."""
        self._keep(self.receive_nothing(peer, tag))

    def _keep(self, parcel: Parcel) -> None:
        """Keep what will soon be over without anyone's doing."""
        self._loose.append(parcel)
        if len(self._loose) > _MAX_LOOSE:
            self._loose.popleft().wait()

    def _listen(self) -> None:
        packet = torch.empty(PACKET_BYTES, dtype=torch.uint8)
        data = packet.numpy()
        lasts = 0
        try:
            while lasts < self._lasts:
                work = self._group.receive_any(packet, _PACKET_TAG)
                work.wait()
                length = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
                text = data[_LENGTH_BYTES : _LENGTH_BYTES + length].tobytes()
                if length > len(text):
                    more = torch.empty(length - len(text), dtype=torch.uint8)
                    self._group.receive(more, work._source_rank(), _MORE_TAG).wait()
                    text += more.numpy().tobytes()
                content = json.loads(text)
                if content[0] == LAST:
                    lasts += 1
                else:
                    self._deliver(content, None)
        except RuntimeError as error:
            self._deliver(None, LostPeer(f"the connection to another rank broke: {error}"))


def plain_header(envelope: Envelope) -> dict[str, int | float | str | bool]:
    """The header of a message, if it can travel; `ProgramError` if it can't."""
    header = dict(envelope.header)
    for key, value in header.items():
        if type(value) not in (int, float, str, bool):
            raise ProgramError(
                f"rank {envelope.source}: header {key}={value!r} (tag {envelope.tag!r}) is a {type(value).__name__}; "
                "headers hold int, float, str and bool"
            )
    return header
