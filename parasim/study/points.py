"""The finished points of a sweep, in a file that a kill can't spoil: a line each, written as they finish.

The first line says what the sweep is of. A point is found again by its identity, so a grid may grow or shrink between
two calls; but the file, the overrides and the simulator must be the same. A last line that a kill has torn is cut off,
and its point is run again. One process at a time has the file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from parasim.errors import ScenarioError
from parasim.metrics.outcome import Outcome

__all__ = ["Points"]

_NAME = "points.jsonl"
_AGAIN = {
    "file": "the scenario file has changed since",
    "overrides": "it had other overrides",
    "simulator": "it was made by another version of parasim",
}


class Points:
    """The points that a folder holds; to be used in a `with` statement.

    Parameters
    ----------
    folder
        Where; it is made.
    of
        What the sweep is of: plain values by the keys "file", "overrides" and "simulator".

    Raises
    ------
    ScenarioError
        If the folder holds the points of another sweep, another process is writing there, or it can't be used.
    """

    def __init__(self, folder: str | Path, of: Mapping[str, Any]) -> None:
        self.path = Path(folder, _NAME)
        self.finished: dict[str, Outcome] = {}
        """Outcomes that were there already, by identity; `Outcome.label` and `Outcome.values` are not kept."""
        self.torn = False
        """Was the last line cut off?"""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise ScenarioError(f"{self.path}: can't be written to: {error.strerror or error}") from None
        try:
            self._lock()
            self._read(dict(of))
        except BaseException:
            self._file.close()
            raise

    def add(self, identity: str, outcome: Outcome) -> None:
        """Write a point down; it is on the disk when this returns."""
        self._write(
            {
                "point": identity,
                "label": outcome.label,
                "scheme": outcome.scheme,
                "summary": outcome.summary,
                "error": outcome.error,
                "error_kind": outcome.error_kind,
            }
        )

    def __enter__(self) -> Points:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:  # what a full disk did not take is tried once more here
            if error is None:
                raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ScenarioError(
                f"{self.path}: another sweep is writing here: wait for it, or choose another --out"
            ) from None

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:  # of a full disk it names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _read(self, of: dict[str, Any]) -> None:
        self._file.seek(0)
        raw = self._file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self.torn = len(whole) < len(raw)
        if self.torn:
            self._file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self._write({"sweep": of})
            return
        first = self._entry(lines[0], 1).get("sweep")
        if not isinstance(first, dict):
            raise self._foreign(1)
        for key, what in _AGAIN.items():
            if first.get(key) != of[key]:
                raise ScenarioError(
                    f"{self.path}: holds {len(lines) - 1} points of another sweep ({what}): choose another --out, or "
                    "remove the file"
                )
        for number, line in enumerate(lines[1:], 2):
            entry = self._entry(line, number)
            try:
                self.finished[entry["point"]] = Outcome(
                    "", entry["scheme"], {}, entry["summary"], entry["error"], entry["error_kind"]
                )
            except KeyError:
                raise self._foreign(number) from None

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError:
            raise self._foreign(number) from None
        if not isinstance(entry, dict):
            raise self._foreign(number)
        return entry

    def _foreign(self, number: int) -> ScenarioError:
        return ScenarioError(f"{self.path}:{number}: is no point of a sweep: choose another --out, or remove the file")
