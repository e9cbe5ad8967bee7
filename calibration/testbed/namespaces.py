"""Network namespaces without names: held by a descriptor, so the kernel removes them with whoever made them.

A namespace lives as long as a process is in it or a descriptor of it is open. Nothing is written to the file system, so
there is nothing to sweep: when the launcher ends, however it ends, its descriptors close, and namespaces, cables and
queues go with them.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from calibration.executor.seats import enter
from parasim.errors import ExecutionError

__all__ = ["Namespace"]

_CLONE_NEWNET = 0x40000000
_REMEDY = "run as root, or write execute: {network: loopback}"


class Namespace:
    """A new network namespace, in which nothing is up yet.

    Raises
    ------
    ExecutionError
        Without the right to make one (root, or CAP_SYS_ADMIN).

    Attributes
    ----------
    descriptor
        Keeps it alive; not inherited by programs that this process starts.
    """

    def __init__(self) -> None:
        self.descriptor = -1
        _in_thread(self._unshare)

    def _unshare(self) -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise ExecutionError(f"network: shaped: making a network namespace: {reason}; {_REMEDY}")
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def path(self) -> str:
        """A path by which other processes find it while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        """Give it up; it goes when no process is in it any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def run(self, function: Callable[[], None]) -> None:
        """Call a function inside, in a thread of its own; raises what it raises."""

        def inside() -> None:
            enter(self.descriptor)
            function()

        _in_thread(inside)

    def configure(self, settings: Mapping[str, str], ip: Sequence[str], tc: Sequence[str] = ()) -> None:
        """Write kernel settings (paths below /proc/sys/net), then run lines of `ip -batch` and of `tc -batch`.

        Raises
        ------
        ExecutionError
            If a setting or a line is refused; it says which.
        """

        def inside() -> None:
            for name, value in settings.items():
                try:
                    Path("/proc/sys/net", name).write_text(value)
                except OSError as error:
                    raise ExecutionError(f"network: shaped: /proc/sys/net/{name} = {value}: {error.strerror}") from None
            _batch("ip", ip)
            _batch("tc", tc)

        self.run(inside)


def _batch(program: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    text = "\n".join(lines) + "\n"
    done = subprocess.run([program, "-batch", "-"], input=text, capture_output=True, text=True, check=False)  # noqa: S603 - iproute2
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise ExecutionError(
            f"network: shaped: {program} failed: {said[:300]}; the kernel needs veth, and the queues tbf and htb with"
            " the filter u32: load them (modprobe), or write execute: {network: loopback}"
        )


def _in_thread(function: Callable[[], None]) -> None:
    """Run it in a thread that then ends: namespaces are a thread's own."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
