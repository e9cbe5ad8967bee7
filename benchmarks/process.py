"""Programs run as processes of their own: how long, how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ran", "run_process"]

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process: wall-clock and CPU seconds, its largest memory, what it wrote to standard output."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run_process(command: Sequence[str], limit: float) -> Ran | None:
    """Run a program in the repository to its end; None if it was stopped after `limit` wall-clock seconds.

    Raises
    ------
    RuntimeError
        If it fails, with the end of what it wrote to standard error.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, cwd=_ROOT)
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            process.kill()

        alarm = threading.Timer(limit, stop)
        alarm.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            alarm.cancel()
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if stopped.is_set():
            return None
        if process.returncode:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}:\n{tail}")
        output.seek(0)
        return Ran(
            seconds,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            output.read().decode(),
        )
