"""The record of a real run: every choice that is not determined, so that a simulated run can take the same ones.

A record has one list of entries per rank, in the order in which they happened. An entry is a JSON list:

=============================  =====================================================================
``[task, "resume"]``           this program of the rank was resumed next
``[task, "source", rank]``     its ``Recv(ANY)`` took a message of that rank (-1: none came before it was closed)
``[task, "any", task]``        its ``WaitAny`` was answered with the handle of that task
``[task, "poll", bool]``       answer of a ``Poll``
``[task, "probe", bool]``      answer of a ``Probe``
``[task, "decide", scalar]``   answer of a ``Decide``
=============================  =====================================================================

A task is a program on a lane, by its name in the trace ("main#0", "push#3").
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parasim.errors import ProgramError, ScenarioError
from parasim.program.ops import Scalar
from parasim.trace.files import write_atomic

__all__ = ["ChoiceKind", "Entry", "Record", "Recorder", "Script"]

Entry = list[Any]
ChoiceKind = Literal["source", "any", "poll", "probe", "decide"]

_FORMAT = "parasim-record"
_VERSION = 1
_VALUES: dict[str, tuple[type, ...]] = {
    "source": (int,),
    "any": (str,),
    "poll": (bool,),
    "probe": (bool,),
    "decide": (int, float, str, bool),
}


class Recorder:
    """Takes down the choices of one rank while it runs; `entries` is what it has."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def resume(self, task: str) -> None:
        """`task` is resumed next."""
        self.entries.append([task, "resume"])

    def choice(self, task: str, kind: ChoiceKind, value: Scalar) -> None:
        """An operation of `task` was answered with `value`."""
        self.entries.append([task, kind, value])


@dataclass(frozen=True, slots=True)
class Record:
    """What a real run chose.

    Attributes
    ----------
    ranks
        Entries of each rank.
    meta
        What run it was: hash of the scenario, seed, scheme, workers; JSON values.
    """

    ranks: list[list[Entry]]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON, compressed if the name ends in ".gz"; the file is there whole or not at all."""
        document = {"format": _FORMAT, "version": _VERSION, "meta": dict(self.meta), "ranks": self.ranks}
        data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        return write_atomic(path, gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read a record.

        Raises
        ------
        ScenarioError
            If the file can't be read or is no record; names the file, the rank and the entry.
        """
        try:
            data = Path(path).read_bytes()
            document = json.loads(gzip.decompress(data) if str(path).endswith(".gz") else data)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ScenarioError(f"{path}: can't be read as a record ({error}); record the run again") from None
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise ScenarioError(f"{path}: not a record of a run; give a file that 'parasim execute' recorded")
        if document.get("version") != _VERSION:
            version = document.get("version")
            raise ScenarioError(f"{path}: record version {version!r}, this parasim reads {_VERSION}; record again")
        ranks, meta = document.get("ranks"), document.get("meta")
        if not isinstance(meta, dict) or not isinstance(ranks, list):
            raise ScenarioError(f"{path}: a record needs 'meta' (an object) and 'ranks' (a list); record again")
        for rank, entries in enumerate(ranks):
            if not isinstance(entries, list):
                raise ScenarioError(f"{path}: rank {rank}: {entries!r} is not a list of entries; record again")
            for place, entry in enumerate(entries):
                if not _is_entry(entry):
                    raise ScenarioError(f"{path}: rank {rank}, entry {place}: {entry!r} is no entry; record again")
        return cls(ranks, meta)

    def script(self, rank: int) -> Script:
        """The choices of one rank, to be followed.

        Raises
        ------
        ProgramError
            If the record has no such rank.
        """
        if not 0 <= rank < len(self.ranks):
            raise ProgramError(f"the record has ranks 0..{len(self.ranks) - 1}, not {rank}; replay the same scenario")
        return Script(rank, self.ranks[rank])


class Script:
    """Follows the entries of one rank: which task is resumed next, and what each task's operations are answered.

    A runtime asks :meth:`next_resume` which task's turn it is, holds all others back, and tells :meth:`resumed` when
    that task goes on. Answers are taken per task, in order, with :meth:`choice`.
    """

    def __init__(self, rank: int, entries: Iterable[Entry]) -> None:
        self.rank = rank
        self._resumes: deque[str] = deque()
        self._choices: dict[str, deque[tuple[str, Scalar]]] = {}
        for task, kind, *value in entries:
            if kind == "resume":
                self._resumes.append(task)
            else:
                self._choices.setdefault(task, deque()).append((kind, value[0]))
        self._taken: dict[str, int] = {}
        self._turn = 0

    def next_resume(self) -> str | None:
        """The task whose turn it is, or None after the last entry. Asking again gives the same answer."""
        return self._resumes[0] if self._resumes else None

    def resumed(self, task: str) -> None:
        """`task` goes on: the turn passes to the next.

        Raises
        ------
        ProgramError
            If it was not its turn.
        """
        if self.next_resume() != task:
            turn = f"{self._resumes[0]!r}" if self._resumes else "nobody (the record has ended)"
            raise self._departure(f"resume {self._turn}", f"{task!r} was resumed", f"the turn of {turn}")
        self._resumes.popleft()
        self._turn += 1

    def choice(self, task: str, kind: ChoiceKind) -> Scalar:
        """The recorded answer to the next operation of `task` that had a choice: a rank, a task, a bool or a scalar.

        Raises
        ------
        ProgramError
            If the record has none left for that task, or one of another kind.
        """
        place = self._taken.get(task, 0)
        queue = self._choices.get(task)
        if not queue:
            raise self._departure(f"task {task!r}, choice {place}", f"it asks for {kind!r}", "nothing more")
        recorded, value = queue[0]
        if recorded != kind:
            raise self._departure(f"task {task!r}, choice {place}", f"it asks for {kind!r}", f"{recorded!r} {value!r}")
        queue.popleft()
        self._taken[task] = place + 1
        return value

    def finish(self) -> None:
        """Check that everything was used.

        Raises
        ------
        ProgramError
            If the record goes on.
        """
        if self._resumes:
            raise self._departure(f"resume {self._turn}", "the replay has ended", f"the turn of {self._resumes[0]!r}")
        for task, queue in self._choices.items():
            if queue:
                kind, value = queue[0]
                where = f"task {task!r}, choice {self._taken.get(task, 0)}"
                raise self._departure(where, "the replay has ended", f"{kind!r} {value!r}")

    def _departure(self, where: str, replay: str, record: str) -> ProgramError:
        return ProgramError(
            f"the replay departs from the record at rank {self.rank}, {where}: {replay}, the record has {record}; "
            "replay the same scenario with the same seed"
        )


def _is_entry(entry: Any) -> bool:
    """Is this a JSON value that :class:`Recorder` could have written?"""
    if not isinstance(entry, list) or len(entry) < 2 or not all(isinstance(part, str) for part in entry[:2]):
        return False
    if entry[1] == "resume":
        return len(entry) == 2
    if entry[1] not in _VALUES or len(entry) != 3:
        return False
    kinds = _VALUES[entry[1]]
    return isinstance(entry[2], kinds) and (bool in kinds or not isinstance(entry[2], bool))
