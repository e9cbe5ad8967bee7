"""A grid of scenarios, on all cores; a sweep that was killed is continued where it was."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from parasim.errors import ScenarioError, ScenarioWarning
from parasim.metrics.outcome import Outcome
from parasim.scenario.documents import read_documents
from parasim.scenario.reader import show_path
from parasim.study.cases import Case, failed
from parasim.study.grid import Axis, grid_cases, read_axes
from parasim.study.identity import digest, identity_of, simulator
from parasim.study.points import Points
from parasim.study.pool import KILLED, cores, run_cases

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A finished sweep.

    Attributes
    ----------
    title
        Name of the file's scenario, with the variant that was asked for.
    axes
        What was varied; variants are no axis, but come first in the order of the points.
    outcomes
        A row per point, in the order of the grid; `Outcome.values` tells what each key was set to.
    continued, left_out
        How many of these points were done before; and how many are in the folder that are none of this grid.
    """

    title: str
    axes: tuple[Axis, ...]
    outcomes: tuple[Outcome, ...]
    continued: int = 0
    left_out: int = 0


def sweep(
    path: str | Path,
    words: Sequence[str],
    out: str | Path | None = None,
    jobs: int | None = None,
    variant: str | None = None,
    *,
    allow_code: bool = False,
    watch: Callable[[int, int, str], None] | None = None,
) -> Sweep:
    """Simulate every point of a grid.

    Parameters
    ----------
    path
        A scenario file; every variant is taken with every point.
    words
        "key.path=values", as parasim/study/grid.py says: keys with several values span the grid, the others hold for
        every point.
    out
        Folder for `points.jsonl`, to which points are added as they finish; those that it holds are not run again.
    jobs
        Number of processes, each with one thread; by default as many as there are cores. Results do not depend on it.
    variant
        Only this one of the file's variants.
    allow_code
        May the factory of a model of kind `module` be run?
    watch
        Called at the start and after each point with the number of points done, of all points, and the point's label.

    Returns
    -------
    Sweep
        What could not be run is a row with the reason.

    Raises
    ------
    ScenarioError
        If the file or a word can't be read, there is nothing to vary, or the folder holds another sweep.
    """
    if jobs is not None and jobs < 1:
        raise ScenarioError(f"--jobs: {jobs} is no number of processes: write 1 or more")
    axes, fixed = read_axes(words)
    documents = read_documents(path, variant)
    if not axes and len(documents.variants) == 1:
        raise ScenarioError(f"{path}: nothing to vary: give a key several values, as in scheme.workers=2,4,8")
    cases = grid_cases(documents, axes, fixed, allow_code=allow_code)
    of = {
        "file": digest(documents.whole.data),
        "overrides": sorted([show_path(override.path), override.value] for override in fixed),
        "simulator": simulator(),
    }
    with Points(out, of) if out is not None else nullcontext() as points:
        identities = ["" if case.tree is None else identity_of(case.tree, case.variant) for case in cases]
        before = {} if points is None else points.finished
        if points is not None and points.torn:
            _tell(f"{points.path}: the last line was cut short by a kill: its point is run again")
        outcomes: dict[int, Outcome] = {}
        pending: dict[str, list[int]] = {}
        for place, (case, identity) in enumerate(zip(cases, identities, strict=True)):
            if case.failure is not None:
                outcomes[place] = failed(case, case.failure)
            elif identity in before:
                outcomes[place] = _named(before[identity], case)
            else:
                pending.setdefault(identity, []).append(place)  # two places may be the same point
        continued = sum(identity in before for identity in identities)
        firsts = [places[0] for places in pending.values()]
        told: set[str] = set()
        if watch is not None:
            watch(len(outcomes), len(cases), "starting")
        with closing(run_cases([cases[place] for place in firsts], jobs or cores())) as finished:
            for number, brought, texts in finished:
                identity, outcome = identities[firsts[number]], _plain(brought)
                if points is not None and outcome.error_kind not in {KILLED, "MemoryError"}:
                    points.add(identity, outcome)
                for place in pending[identity]:
                    outcomes[place] = _named(outcome, cases[place])
                for text in texts:
                    if text not in told:
                        told.add(text)
                        _tell(text)
                if watch is not None:
                    watch(len(outcomes), len(cases), cases[firsts[number]].label)
    title = str(documents.base.data.get("name", Path(path).stem)) + (f" [{variant}]" if variant else "")
    left_out = len(before.keys() - set(identities))
    return Sweep(title, tuple(axes), tuple(outcomes[place] for place in range(len(cases))), continued, left_out)


def _tell(text: str) -> None:
    warnings.warn(text, ScenarioWarning, stacklevel=3)


def _named(outcome: Outcome, case: Case) -> Outcome:
    """The outcome of a point as that of a case of this grid."""
    return replace(outcome, label=case.label, values=case.values)


def _plain(outcome: Outcome) -> Outcome:
    """The outcome as it is when it was written down and read again: keys are text."""
    return replace(outcome, summary=json.loads(json.dumps(outcome.summary)))
