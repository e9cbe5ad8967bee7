"""Less work for the same proof, and proofs that do not depend on how busy the machine is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from parasim.metrics.outcome import Outcome
from parasim.study.cases import Case
from parasim.study.worker import work

_Found = TypeVar("_Found")
SECOND = 10_000_000
"""Calls of small functions, counted: what a second has time for, more or less."""


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called while it works, those of built-in modules too."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def attempted(measure: Callable[[], _Found], holds: Callable[[_Found], bool], attempts: int = 10) -> _Found:
    """What the first measurement finds for which it holds, or the last of so many.

    Others on the cores spoil one or the other; what is wrong spoils them all.
    """
    for _ in range(attempts):
        found = measure()
        if holds(found):
            break
    return found


def run_here(cases: Sequence[Case], jobs: int) -> Generator[tuple[int, Outcome, list[str]], None, None]:
    """As parasim.study.pool.run_cases, in this process: to start others takes longer than small cases do."""
    for place, case in enumerate(cases):
        yield place, *work(case)
