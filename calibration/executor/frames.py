"""Frames between the launcher and its processes: a JSON object and byte strings, each with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["pack_frame", "receive_frame", "send_frame", "unpack_frame"]

_LENGTH = struct.Struct("!I")
_CHUNK = 1 << 20


def send_frame(channel: socket.socket, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Send one frame.

    Raises
    ------
    OSError
        If the other end is gone.
    """
    channel.sendall(pack_frame(message, blobs))


def pack_frame(message: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """A frame as bytes."""
    head = json.dumps([message, [len(blob) for blob in blobs]], separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *blobs])


def unpack_frame(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What `pack_frame` packed."""
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    message, sizes = json.loads(data[_LENGTH.size : start])
    blobs = []
    for size in sizes:
        blobs.append(data[start : start + size])
        start += size
    return message, blobs


def receive_frame(channel: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """Wait for one frame.

    Raises
    ------
    EOFError
        If the other end is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    message, sizes = json.loads(_exactly(channel, length))
    return message, [bytes(_exactly(channel, size)) for size in sizes]


def _exactly(channel: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    done = 0
    while done < count:
        try:
            got = channel.recv_into(view[done:], min(count - done, _CHUNK))
        except ConnectionError:
            got = 0
        if not got:
            raise EOFError(f"{done} of {count} bytes came before the other end was gone")
        done += got
    return data
