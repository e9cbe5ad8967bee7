"""Folders of results, read again: what `run`, `execute`, `compare`, `sweep` and `crosscheck` wrote with --out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from parasim.errors import ScenarioError
from parasim.metrics.outcome import Outcome
from parasim.report.provenance import FORMAT, PROVENANCE

__all__ = ["Folder", "Provenance", "read_folder", "read_folders"]

_WRITERS = "run, execute, compare, sweep or crosscheck"


class Provenance(BaseModel):
    """What provenance.json says (`parasim.report.provenance`)."""

    format: Literal["parasim results 1"]
    verb: Literal["run", "execute", "compare", "sweep", "crosscheck"]
    command: str
    title: str
    written: str
    simulator: str
    python: str
    machine: str
    warnings: list[str]
    traces: list[str | None]
    scenarios: dict[str, str]


class _Shares(BaseModel):
    compute: float
    transfer: float
    wait: float


class _Staleness(BaseModel):
    mean: float | None
    max: float | None
    histogram: dict[str, int]


class _Summary(BaseModel):
    """What of a run's summary must be there to show it; the rest is taken as it is."""

    model_config = ConfigDict(extra="allow")

    scenario: str
    scheme: str
    clock: Literal["simulated", "real"]
    workers: int
    steps: int
    seconds: float
    seconds_per_step: float | None
    samples_per_second: float | None
    shares: _Shares | None
    bytes_sent_per_worker_per_step: float | None
    messages_sent_per_worker_per_step: float | None
    staleness: _Staleness | None
    loss: dict[str, float | None] | None
    memory_bytes_per_worker: float | None
    calibrated: bool
    seed: int


class _Point(BaseModel):
    label: str
    scheme: str
    values: dict[str, Any]
    summary: _Summary | None
    error: str | None


class _Sweep(BaseModel):
    axes: list[list[str]]
    points: list[_Point]


class _Score(BaseModel):
    model_config = ConfigDict(extra="allow")

    accepted: bool
    profile: str
    cases: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Folder:
    """The results in one folder.

    Attributes
    ----------
    path
        The folder.
    made
        How they came about.
    outcomes
        A row per run; none of a cross-check.
    traces
        The trace of each row, as far as rows were kept.
    axes
        The keys of each axis, of a sweep.
    score
        Of a cross-check (`calibration.crosscheck`); None of others.
    """

    path: Path
    made: Provenance
    outcomes: Sequence[Outcome] = ()
    traces: Sequence[Path | None] = ()
    axes: Sequence[Sequence[str]] = ()
    score: Mapping[str, Any] | None = None


def read_folders(paths: Sequence[str]) -> list[Folder]:
    """Read folders, each once.

    Raises
    ------
    ScenarioError
        If one is named twice; as :func:`read_folder`.
    """
    for place, path in enumerate(paths):
        if any(os.path.realpath(path) == os.path.realpath(other) for other in paths[:place]):
            raise ScenarioError(f"{path}: is named twice: leave it out once")
    return [read_folder(path) for path in paths]


def read_folder(path: str | Path) -> Folder:
    """Read the results in a folder.

    Raises
    ------
    ScenarioError
        If it is none, holds no finished results, or these are not as they were written.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise ScenarioError(f"{path}: {what}: name a folder that {_WRITERS} wrote with --out")
    if not (folder / PROVENANCE).exists():
        raise ScenarioError(f"{path}: {_unfinished(folder)}")
    made = Provenance(**_checked(Provenance, folder / PROVENANCE))
    if made.verb == "crosscheck":
        return Folder(folder, made, score=_checked(_Score, folder / "crosscheck.json"))
    if made.verb == "sweep":
        found = _checked(_Sweep, folder / "sweep.json")
        outcomes = [_outcome(point) for point in found["points"]]
        return Folder(folder, made, outcomes, [None] * len(outcomes), found["axes"])
    if made.verb == "compare":
        rows = _checked(list[dict[str, Any]], folder / "summary.json")
        outcomes = [_outcome({**row, "summary": None if row.get("error") else row}) for row in rows]
        ran = [outcome.summary for outcome in outcomes if outcome.summary is not None]
        _checked_value(list[_Summary], ran, folder / "summary.json")
    else:
        found = _read(folder / "summary.json")
        summaries = found if isinstance(found, list) else [found]
        _checked_value(list[_Summary], summaries, folder / "summary.json")
        outcomes = [Outcome(name, s["scheme"], {}, s) for name, s in zip(_labels(summaries), summaries, strict=True)]
    names = made.traces or [None] * len(outcomes)
    if len(names) != len(outcomes):
        raise ScenarioError(f"{folder / PROVENANCE}: has {len(names)} traces of {len(outcomes)} runs: {_AGAIN}")
    traces = [None if name is None else folder / Path(name).name for name in names]
    for trace in traces:
        if trace is not None and not trace.is_file():
            raise ScenarioError(f"{trace}: is missing: {_AGAIN}")
    return Folder(folder, made, outcomes, traces)


_AGAIN = "is not as it was written; run it again"


def _labels(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of runs: those of variants, with the clock where it alone tells them apart."""
    names = [str(summary.get("variant") or summary["scenario"]) for summary in summaries]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({summary['clock']})" for name, summary in zip(names, summaries, strict=True)]


def _outcome(row: Mapping[str, Any]) -> Outcome:
    return Outcome(
        str(row.get("label")), str(row.get("scheme")), row.get("values", {}), row["summary"], row.get("error") or ""
    )


def _unfinished(folder: Path) -> str:
    """Why a folder without provenance is no folder of results, and what to do."""
    if (folder / "points.jsonl").exists():
        return "holds a sweep that was not finished: start it again with the same --out, and it goes on"
    if (folder / "measured.json").exists():
        return f"holds measurements that were not judged: parasim crosscheck ... --simulate-only {folder} --out DIR"
    if (folder / "summary.json").exists():
        return "holds results that were not finished, or of an older parasim: run it again"
    return f"holds no results: name a folder that {_WRITERS} wrote with --out"


def _checked(kind: Any, path: Path) -> Any:
    """What a JSON file holds, if it is of that kind."""
    return _checked_value(kind, _read(path), path)


def _checked_value(kind: Any, value: Any, path: Path) -> Any:
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if place == "format":
            raise ScenarioError(f"{path}: format: must be '{FORMAT}', as this version of parasim writes it") from None
        raise ScenarioError(f"{path}: {place or 'content'}: {_AGAIN} ({first['msg']})") from None
    return value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ScenarioError(f"{path}: can't be read: {error.strerror or error}: run it again") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: is no text: {_AGAIN}") from None
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{path}:{error.lineno}:{error.colno}: {_AGAIN} ({error.msg})") from None
