"""The journal of a calibration: what its probes found, on disk as soon as they have, so that a kill loses one turn.

A file of JSON lines beside the profile. The first says what is measured, on which machine; each other one holds a turn:
one probe in one round. A last line that a kill has torn is dropped; anything else that is wrong is an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from calibration.probes.record import Observation, from_json, to_json
from parasim.errors import CalibrationError, ScenarioError

__all__ = ["Journal", "Turn", "observations_of", "read_journal", "read_journals", "suffixed"]

FORMAT = 2
_FIRST = b'{"parasim_journal"'
_AGAIN = "delete it and calibrate again"
_OWN = frozenset({"rounds", "budget", "seed"})
"""What journals that are fitted together may differ in."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One probe in one round.

    Attributes
    ----------
    probe, round
        Which.
    observations
        What it found; nothing where it was skipped.
    skipped
        Why it was; empty if it was not.
    seconds
        How long it took.
    busy, stolen, load
        Share of the processors' time that others took just before, and that the hypervisor gave away meanwhile; load
        average before. None where the system does not tell.
    """

    probe: str
    round: int
    observations: tuple[Observation, ...] = ()
    skipped: str = ""
    seconds: float = 0.0
    busy: float | None = None
    stolen: float | None = None
    load: float | None = None

    def later(self, rounds: int) -> Turn:
        """The same after so many rounds."""
        observations = tuple(replace(one, round=one.round + rounds) for one in self.observations)
        return replace(self, round=self.round + rounds, observations=observations)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; :meth:`of` is its inverse."""
        return {
            "probe": self.probe,
            "round": self.round,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "busy": self.busy,
            "stolen": self.stolen,
            "load": self.load,
            "observations": [to_json(observation) for observation in self.observations],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Turn:
        """From JSON; `CalibrationError` if it is anything else."""
        try:
            return cls(**{**data, "observations": tuple(from_json(values) for values in data["observations"])})
        except (KeyError, TypeError) as error:
            raise CalibrationError(f"no turn of a probe: {error}") from None


@dataclass(slots=True)
class Journal:
    """A journal that is being written; use it in a `with` statement. No two processes have one at a time.

    Parameters
    ----------
    path
        Of the file.
    about
        What is measured, on which machine: a journal about the same is continued, another one is begun anew.

    Attributes
    ----------
    turns
        Those done, in this process or before.
    continued, dropped
        How many were there already; and why those of a journal about something else are not ("" if there was none).

    Raises
    ------
    ScenarioError
        If the file can't be written to, is corrupt, or another process is writing it.
    """

    path: Path
    about: Mapping[str, Any]
    turns: list[Turn] = field(default_factory=list, init=False)
    continued: int = field(default=0, init=False)
    dropped: str = field(default="", init=False)
    _file: IO[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Journal:
        try:
            file = self._file = self.path.open("a+b")
        except OSError as error:
            raise ScenarioError(
                f"{self.path}: can't be written: {error.strerror or error}: choose another --out"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise ScenarioError(f"{self.path}: another calibration writes it: wait, or choose another --out") from None
        try:
            self._continue(file)
        except BaseException:
            file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, turn: Turn) -> None:
        """Write a turn down; it is on the disk when this returns."""
        self.turns.append(turn)
        self._write(turn.as_dict())

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()

    def _continue(self, file: IO[bytes]) -> None:
        file.seek(0)
        raw = file.read()
        whole = raw.rfind(b"\n") + 1
        about, turns = _parsed(str(self.path), raw[:whole]) if whole else (None, [])
        if about == _plain(self.about):
            file.truncate(whole)
            self.turns, self.continued = turns, len(turns)
            return
        if about is not None:
            changed = sorted(key for key in {*about, *self.about} if about.get(key) != _plain(self.about).get(key))
            self.dropped = f"{len(turns)} turns of another calibration (changed: {', '.join(changed)})"
        file.truncate(0)
        self._write({"parasim_journal": FORMAT, "about": self.about})

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: str | Path) -> tuple[dict[str, Any], list[Turn]]:
    """What a journal is about, and its turns.

    Raises
    ------
    ScenarioError
        If it can't be read, or is no journal: ``file:line: what is wrong, what to do``.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}: can't be read: {error.strerror or error}: name a journal of calibrate") from None
    if not raw.startswith(_FIRST):
        raise ScenarioError(f"{path}:1: is no journal: name the FILE.part that calibrate --keep-journal left")
    about, turns = _parsed(str(path), raw[: raw.rfind(b"\n") + 1])
    if about is None:
        raise ScenarioError(f"{path}: holds no whole line: {_AGAIN}")
    return about, turns


def read_journals(paths: Sequence[str | Path]) -> tuple[dict[str, Any], list[Turn]]:
    """Journals of one machine, made at several times, as one: rounds of later ones are counted on.

    Raises
    ------
    ScenarioError
        As :func:`read_journal` does; or if one is of another machine, or of other probes, than the first.
    """
    first, turns = read_journal(paths[0])
    for path in paths[1:]:
        about, others = read_journal(path)
        if changed := sorted(key for key in {*first, *about} - _OWN if about.get(key) != first.get(key)):
            raise ScenarioError(
                f"{path}: can't be fitted together with {paths[0]}, which differs in {', '.join(changed)}: fit it alone"
            )
        after = 1 + max((turn.round for turn in turns), default=-1)
        turns += [turn.later(after) for turn in others]
        first = {**first, "rounds": first["rounds"] + about["rounds"]}
    return first, turns


def suffixed(path: str | Path) -> Path:
    """The journal beside a profile."""
    return Path(f"{path}.part")


def _parsed(source: str, raw: bytes) -> tuple[dict[str, Any] | None, list[Turn]]:
    about: dict[str, Any] | None = None
    turns: list[Turn] = []
    for number, data in _lines(source, raw):
        if about is None:
            if data.get("parasim_journal") != FORMAT or not isinstance(data.get("about"), dict):
                raise ScenarioError(f"{source}:1: is no journal of this version: {_AGAIN}")
            about = data["about"]
            continue
        with _blamed(f"{source}:{number}"):
            turns.append(Turn.of(data))
    return about, turns


def _lines(source: str, raw: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            data = json.loads(line)
        except ValueError:
            raise ScenarioError(f"{source}:{number}: is no JSON: {_AGAIN}") from None
        if not isinstance(data, dict):
            raise ScenarioError(f"{source}:{number}: is no mapping: {_AGAIN}")
        yield number, data


@contextlib.contextmanager
def _blamed(place: str) -> Iterator[None]:
    try:
        yield
    except CalibrationError as error:
        raise ScenarioError(f"{place}: {error}: {_AGAIN}") from None


def _plain(about: Mapping[str, Any]) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(about))


def observations_of(turns: Sequence[Turn]) -> list[Observation]:
    """All observations of some turns."""
    return [observation for turn in turns for observation in turn.observations]
