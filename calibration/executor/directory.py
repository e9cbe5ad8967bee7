"""A directory in memory for the files of one run, which goes when the run or its launcher does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["run_directory"]

_PREFIX = f"parasim-{os.getuid()}-"
_FRESH_SECONDS = 60.0
"""A directory may be younger than its lock by less than this."""


def _place() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - where shared memory is, on Linux
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """A new directory, locked while it is in use; removed at the end. Those of dead launchers are removed too."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_place()))
    try:
        with open(directory / "alive", "w") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sweep() -> None:
    """Remove the directories that nobody holds the lock of."""
    for directory in _place().glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime < _FRESH_SECONDS:
                continue
            with open(directory / "alive", "a") as alive:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
