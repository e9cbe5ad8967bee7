"""The process that ranks are forked from: it has imported torch once, so that a rank starts in milliseconds.

``python -m calibration.executor.nursery FD BOUND``: FD is a socket to the launcher; BOUND is 1 if the kernel may end
this process with the thread that started it (the launcher's main thread). It is asked, one thing at a time, to fork a
rank (whose own sockets come along) or to end ranks. It runs one thread and no arithmetic, so that forking is safe; it
ends, and its ranks with it, when the launcher ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys

from calibration.executor.frames import receive_frame, send_frame
from calibration.executor.rank import die_with, rank_main

__all__ = ["main"]

_FIRST = {
    "workload": {"model": {"kind": "mlp", "width": 2, "depth": 2}, "batch_size": 1, "data": {"kind": "digits"}},
    "cluster": {
        "topology": {"kind": "star", "hosts": 2},
        "device": {"flops": "1 GFLOP/s", "memory": "1 GB", "memory_bandwidth": "1 GB/s"},
        "link": {"bandwidth": "1 Gbit/s", "latency": "1 us"},
    },
    "scheme": {"kind": "allreduce"},
    "optimizer": {"kind": "sgd", "lr": 0.1},
    "run": {"steps": 1},
}
"""A scenario of little."""


def main() -> None:
    """Serve the launcher until it is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2] == "1":
        die_with(os.getppid())
    _import_all()
    gc.freeze()
    children: set[int] = set()
    try:
        send_frame(channel, {"ready": True})
        while True:
            request, _ = receive_frame(channel)
            if "fork" in request:
                send_frame(channel, {"pid": _fork(channel, request["fork"], children)})
            elif "import" in request:
                for name in request["import"]:
                    importlib.import_module(name)
                gc.freeze()
                send_frame(channel, {})
            else:
                send_frame(channel, {"statuses": _end(request["end"], children)})
    except (EOFError, OSError):
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _import_all() -> None:
    """What ranks will need."""
    import torch

    torch.set_num_threads(1)
    for name in (
        "parasim.study.simulate",
        "parasim.scenario.load",
        "parasim.learning.learner",
        "parasim.study.build",
    ):
        importlib.import_module(name)
    from parasim.scenario import from_document

    from_document(_FIRST)  # the first one imports every scheme, and prepares how options are checked


def _fork(channel: socket.socket, descriptors: int, children: set[int]) -> int:
    """Fork a rank: its descriptors are the channel to the launcher, a file for errors, and what the rank needs."""
    _, received, _, _ = socket.recv_fds(channel, 1, descriptors)
    own, errors, *needed = received
    parent = os.getpid()
    pid = os.fork()
    if pid:
        for descriptor in received:
            os.close(descriptor)
        children.add(pid)
        return pid
    try:
        die_with(parent)
        channel.close()
        os.dup2(errors, 2)
        rank_main(socket.socket(fileno=own), needed)
    finally:
        os._exit(1)


def _end(pids: list[int], children: set[int]) -> list[int]:
    """Kill ranks that are not dead; exit statuses, negative for a signal."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    children.difference_update(pids)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


if __name__ == "__main__":
    main()
