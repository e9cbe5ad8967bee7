"""Shared memory of one machine: vectors and locks in files that all processes of a run map.

A vector's file holds a version per part (8 bytes each); its values are in a file of their own. Versions and atomic
additions are guarded by record locks on the byte of the part; plain stores race, which is their point. `Locked` takes a
whole-file lock. The kernel gives back the locks of a process that dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from pathlib import Path
from typing import Any

from parasim.errors import ProgramError
from parasim.program.context import Context
from parasim.program.shared import Shared

__all__ = ["Memory", "Vector"]

_WORD = 8


class Vector:
    """A `parasim.runtime.shared.SharedVector` in mapped files; carries values if the context does."""

    def __init__(self, shared: Shared, directory: Path, context: Context) -> None:
        import torch

        self.shared = shared
        self._tensors = context.tensors
        self._file = os.open(directory / f"{shared.name}.versions", os.O_RDWR)
        self._map = mmap.mmap(self._file, _WORD * shared.parts)
        self._versions = memoryview(self._map).cast("q")
        self._mutex = threading.Lock()  # record locks keep processes apart, not the threads of one
        self._values: Any = None
        if self._tensors is not None:
            empty = self._tensors.zeros(0)
            dtype, self._device = empty.dtype, empty.device
            name = str(directory / f"{shared.name}.values")
            self._values = torch.from_file(name, shared=True, size=shared.elements, dtype=dtype)

    @staticmethod
    def create(shared: Shared, directory: Path, context: Context) -> None:
        """Make the files, with the vector's initial values."""
        (directory / f"{shared.name}.versions").write_bytes(bytes(_WORD * shared.parts))
        (directory / f"{shared.name}.lock").touch()
        if context.tensors is not None:
            context.shared_values(shared).cpu().numpy().tofile(directory / f"{shared.name}.values")

    def version(self, part: int) -> int:
        """Updates written to a part so far."""
        return self._versions[part]

    def claim(self, part: int, rank: int) -> bool:
        """Who wrote a part last is felt, not asked."""
        return False

    def load(self, start: int, stop: int) -> Any:
        """A private copy of elements ``[start, stop)``, where the context's values live."""
        return None if self._tensors is None else self._values[start:stop].to(self._device, copy=True)

    def store(self, part: int, start: int, values: Any) -> int:
        """Overwrite from element `start`, without a lock; counts and replies with the part's version."""
        if self._tensors is not None:
            self._tensors.copy_(self._values[start : start + len(values)], values)
        return self._count(part)

    def add(self, part: int, start: int, values: Any) -> int:
        """Add atomically from element `start`; counts and replies with the part's version."""
        with self._mutex:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, part)
            try:
                if self._tensors is not None:
                    self._tensors.add_(self._values[start : start + len(values)], values.to("cpu"))
                self._versions[part] += 1
                return self._versions[part]
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, part)

    def _count(self, part: int) -> int:
        with self._mutex:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, part)
            try:
                self._versions[part] += 1
                return self._versions[part]
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, part)


class Memory:
    """The shared vectors of a run, as one rank sees them; `directory` is None where ranks sit on several machines."""

    def __init__(self, vectors: tuple[Shared, ...], directory: Path | None, context: Context) -> None:
        self._declared = {shared.name: shared for shared in vectors}
        self._directory = directory
        self._context = context
        self._open: dict[str, Vector] = {}
        self._locks: dict[str, int] = {}

    def create(self) -> None:
        """Make all files: by one rank, before any other rank goes on."""
        if self._declared:
            directory = self._place(next(iter(self._declared)))
            for shared in self._declared.values():
                Vector.create(shared, directory, self._context)

    def vector(self, shared: Shared) -> Vector:
        """The memory of a declared vector."""
        if shared.name not in self._open:
            self._open[shared.name] = Vector(shared, self._place(shared.name), self._context)
        return self._open[shared.name]

    def lock(self, shared: Shared) -> None:
        """Wait for the lock of a vector."""
        if shared.name not in self._locks:
            self._locks[shared.name] = os.open(self._place(shared.name) / f"{shared.name}.lock", os.O_RDWR)
        fcntl.flock(self._locks[shared.name], fcntl.LOCK_EX)

    def unlock(self, shared: Shared) -> None:
        """Give it back."""
        fcntl.flock(self._locks[shared.name], fcntl.LOCK_UN)

    def _place(self, name: str) -> Path:
        if name not in self._declared:
            raise ProgramError(f"shared vector {name!r} was not declared; list it in the scheme's `shared`")
        if self._directory is None:
            raise ProgramError(f"shared vector {name!r} needs all ranks on one machine; run them on one")
        return self._directory
