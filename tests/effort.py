"""Less work for the same proof, and proofs that do not depend on how busy the machine is."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

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


def in_one_test(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """As pytest.mark.parametrize, but one test goes through all cases; notes of a failure name its own.

    For cases of a millisecond, which take less than pytest does for a test. Fixtures are made once for all of them.
    """
    names = (names,) if isinstance(names, str) else names
    given = list(values)

    def of_each(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def whole(**fixtures: Any) -> None:
            assert given, f"no values of {', '.join(names)}"
            for value in given:
                case = dict(zip(names, (value,) if len(names) == 1 else value, strict=True))
                try:
                    test(**fixtures, **case)
                except BaseException as error:
                    error.add_note(", ".join(f"{name} = {each!r}" for name, each in case.items()))
                    raise

        asked = inspect.signature(test)
        left = [parameter for name, parameter in asked.parameters.items() if name not in names]
        assert len(left) + len(names) == len(asked.parameters), f"{test.__name__} does not take {', '.join(names)}"
        whole.__signature__ = asked.replace(parameters=left)  # type: ignore[attr-defined]
        return whole

    return of_each


def run_here(cases: Sequence[Case], jobs: int) -> Generator[tuple[int, Outcome, list[str]], None, None]:
    """As parasim.study.pool.run_cases, in this process: to start others takes longer than small cases do."""
    for place, case in enumerate(cases):
        yield place, *work(case)
