"""A forked process: one rank of one run of the pool."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from calibration.executor.backend import local_store, own_client
from calibration.executor.courier import LostPeer
from calibration.executor.frames import receive_frame, send_frame
from calibration.executor.member import Place, take_part
from calibration.executor.runtime import Stuck
from calibration.executor.seats import Seat, take_seat
from calibration.executor.setup import make_setup
from parasim.errors import ParasimError

__all__ = ["die_with", "rank_main"]

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux); end now if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def rank_main(channel: socket.socket, needed: list[int]) -> None:
    """Take the order, run, reply, and live until killed: a rank that ends early would break others' connections.

    `needed` are descriptors: the rank's network namespace if the order names an interface, rank 0's listening socket.
    """
    order, _ = receive_frame(channel)
    threading.Thread(target=_watch, args=(channel,), name="watch", daemon=True).start()
    message, blobs = _outcome(order, needed)
    sys.stdout.flush()
    send_frame(channel, message, blobs)
    signal.pause()


def _watch(channel: socket.socket) -> None:
    """End this process when the launcher has ended."""
    try:
        channel.recv(1)
    finally:
        os._exit(1)


def _outcome(order: dict[str, Any], needed: list[int]) -> tuple[dict[str, Any], list[bytes]]:
    try:
        sys.path[:] = order["path"]
        os.chdir(order["folder"])
        rank, size = order["rank"], order["size"]
        setup = make_setup(order["factory"], order["arguments"])
        namespace = needed.pop(0) if order["interface"] else None
        store = local_store(order["port"], rank, size, needed[0] if needed else None)
        place = Place(rank, size, rank, store, partial(own_client, store), Path(order["directory"]))
        if namespace is not None:
            outside = ThreadPoolExecutor(1)
            outside.submit(int).result()  # its thread is there, and stays in the launcher's network
            place = replace(place, client=lambda: outside.submit(own_client, store).result())
            take_seat(Seat(namespace, order["interface"]))
        return take_part(setup, place)
    except Stuck as stuck:
        return {"stuck": stuck.rows, "now": stuck.now}, []
    except BaseException as error:
        failure: dict[str, Any] = {"at": time.monotonic(), "lost": isinstance(error, LostPeer)}
        if isinstance(error, ParasimError):
            failure["error"] = type(error).__name__
            failure["text"] = "\n".join([str(error), *getattr(error, "__notes__", ())])
        else:
            failure["error"] = ""
            failure["text"] = ", ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
            failure["traceback"] = "".join(traceback.format_exception(error)).rstrip()
        return failure, []
