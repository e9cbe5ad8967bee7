"""Real runs in a file: `measured.json` of a folder, written anew after every run, so that a kill loses one at most.

A trace of each case lies beside it, as Parquet. One process at a time has the folder; what a killed one left half
written is removed by the next.
"""

from __future__ import annotations

import fcntl
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from calibration.checking.cases import CheckCase
from calibration.checking.figures import RunFigures
from calibration.checking.machine import this_machine
from calibration.checking.traces import save_trace
from parasim.errors import CalibrationError
from parasim.metrics.result import Result
from parasim.trace.files import write_atomic
from parasim.trace.table import Trace

__all__ = ["Measurements", "Recording", "missing", "read_measurements", "trace_path"]

_FORMAT = "parasim measurements 1"
_FILE, _TRACES, _LOCK = "measured.json", "traces", ".lock"
_HALF_WRITTEN = (f".{_FILE}.*", ".crosscheck.*.*", f"{_TRACES}/.*.parquet.*")


@dataclass(slots=True)
class Measurements:
    """Real runs of cases.

    Attributes
    ----------
    machine
        Where they were made.
    identities
        Of the run of each case, by its name.
    runs
        The figures of its runs, in the order in which they were made.
    failures
        Why a case could not be run.
    """

    machine: Mapping[str, Any]
    identities: dict[str, str] = field(default_factory=dict)
    runs: dict[str, list[RunFigures]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def of(self, case: CheckCase) -> list[RunFigures]:
        """The runs of a case; none if it was not run.

        Raises
        ------
        CalibrationError
            If those under its name are of another scenario.
        """
        if self.identities.get(case.name, case.identity) != case.identity:
            raise CalibrationError(
                f"case {case.name}: the recorded runs are of another scenario (it has changed since): measure it again "
                "in a new --out"
            )
        return self.runs.get(case.name, [])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": _FORMAT,
            "machine": dict(self.machine),
            "cases": {
                name: {
                    "identity": identity,
                    "failure": self.failures.get(name),
                    "runs": [run.as_dict() for run in self.runs.get(name, [])],
                }
                for name, identity in self.identities.items()
            },
        }


def read_measurements(path: str | Path) -> Measurements:
    """Read such a file, or that of such a folder.

    Raises
    ------
    CalibrationError
        If it can't be read, or is something else.
    """
    place = Path(path)
    place = place / _FILE if place.is_dir() else place
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalibrationError(
            f"{place}: can't be read as measurements ({error}): name what --out has written"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CalibrationError(f"{place}: is no file of measurements: name the measured.json that --out has written")
    if not isinstance(content.get("machine"), dict):
        raise CalibrationError(f"{place}: machine: is no mapping, but what measured them: measure again")
    try:
        found = Measurements(content["machine"])
        for name, entry in content["cases"].items():
            found.identities[name] = entry["identity"]
            found.runs[name] = [RunFigures.from_dict(run) for run in entry["runs"]]
            if entry["failure"]:
                found.failures[name] = entry["failure"]
    except (KeyError, TypeError, AttributeError, CalibrationError) as error:
        raise CalibrationError(f"{place}: is not as it was written ({error}): measure again") from None
    return found


def trace_path(folder: str | Path, case: str, clock: str) -> Path:
    """The trace of a case, "real" or "simulated"."""
    stem = re.sub(r"[^A-Za-z0-9_.=-]+", "_", case)[:80]
    return Path(folder, _TRACES, f"{stem}-{zlib.crc32(case.encode()):08x}-{clock}.parquet")


class Recording:
    """Takes runs as they end; to be used in a `with` statement.

    Parameters
    ----------
    folder
        Where they are kept, and found by the next call; None: nowhere.

    Raises
    ------
    CalibrationError
        If another process has the folder, it can't be used, or holds runs of another machine.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.measurements = Measurements(this_machine())
        self._folder = None if folder is None else Path(folder)
        self._lock: IO[bytes] | None = None
        self._traces: dict[str, Trace] = {}
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self._folder / _LOCK, "ab")  # noqa: SIM115 - held until the end
        except OSError as error:
            raise CalibrationError(f"{folder}: can't be written to ({error.strerror}): choose another --out") from None
        try:
            self._open(self._folder)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, folder: Path) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CalibrationError(
                f"{folder}: another cross-check is writing here: wait for it, or choose another --out"
            ) from None
        for pattern in _HALF_WRITTEN:  # by a process that was killed
            for left in folder.glob(pattern):
                left.unlink(missing_ok=True)
        if (folder / _FILE).exists():
            before = read_measurements(folder)
            if before.machine != self.measurements.machine:
                raise CalibrationError(
                    f"{folder / _FILE}: holds runs of another machine ({_named(before.machine)}): choose another --out"
                )
            self.measurements = before

    def add(self, case: CheckCase, figures: RunFigures, result: Result) -> None:
        """Keep a run; it is on the disk when this returns. The trace of a case's first run is kept too."""
        found = self.measurements
        found.of(case)
        found.identities[case.name] = case.identity
        found.failures.pop(case.name, None)
        if isinstance(result.trace, Trace) and not found.runs.get(case.name):
            self._traces[case.name] = result.trace
            if self._folder is not None:
                save_trace(result.trace, trace_path(self._folder, case.name, "real"))
        found.runs.setdefault(case.name, []).append(figures)
        self._write()

    def failed(self, case: CheckCase, reason: str) -> None:
        """A case could not be run."""
        self.measurements.identities[case.name] = case.identity
        self.measurements.failures[case.name] = reason
        self._write()

    def _write(self) -> None:
        if self._folder is not None:
            text = json.dumps(self.measurements.as_dict(), ensure_ascii=False)
            write_atomic(self._folder / _FILE, text.encode("utf-8", "surrogatepass"))

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()


def _named(machine: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for value in machine.values())


def missing(measurements: Measurements, cases: Sequence[CheckCase]) -> list[str]:
    """Names of the cases without runs that did not fail either."""
    return [case.name for case in cases if not measurements.of(case) and case.name not in measurements.failures]
