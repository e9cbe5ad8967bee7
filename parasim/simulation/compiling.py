"""Functions compiled by numba, kept on disk until a source changes that may be compiled into them.

numba asks only whether the file of the function itself has changed. What that file imports goes into the machine code,
too: functions that are called and constants that are read; so here the files of all these count.

Compiling takes some seconds when a module with such functions is first imported. Import it where it is needed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types

__all__ = ["compiled", "inlined", "inner", "sources"]

_ROOT = Path(__file__).parents[2]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function that allocates nothing.

    Arrays are not counted as they are taken out of tuples: that would take most of the time.
    """
    return _kept(function)


def inner(function: _Function) -> _Function:
    """Compile a function that only compiled ones call: in half of the time."""
    return _kept(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: _Function) -> _Function:
    """Compile a function into its only caller: many arrays take their time to be passed on."""
    return _kept(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def _kept(function: _Function, **options: bool) -> _Function:
    """Compile a function for integers of 64 bits, whatever its callers have.

    Else it would be compiled anew for those of 32 bits and for each constant: up to four times, its callees too.
    """
    dispatcher: Any = njit(cache=True, _nrt=False, **options)(function)  # type: ignore[call-overload]  # numba hides _nrt
    if dispatcher is not function:  # with NUMBA_DISABLE_JIT it is
        template = dispatcher.get_call_template
        dispatcher.get_call_template = lambda args, kws: template([_wide(kind) for kind in args], kws)
        index = dispatcher._cache._cache_file  # numba has no public way to say what else a function depends on
        index._source_stamp = index._source_stamp, _stamp(Path(function.__code__.co_filename))
        index._load_index = functools.partial(_index_of, index._load_index)
    return cast("_Function", dispatcher)


def _index_of(load: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
    """What is on disk; nothing, as when sources have changed, where it names types that they don't have any more."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


def _wide(kind: types.Type) -> types.Type:
    """The type of an argument, that of 64 bits if it is an integer."""
    return types.int64 if isinstance(kind, types.Integer) else kind


@functools.cache
def _stamp(file: Path) -> str:
    digest = hashlib.sha256()
    for source in sorted(sources(file)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def sources(file: Path) -> set[Path]:
    """A module's file and those of all that it imports from this package, and these in turn."""
    found: set[Path] = set()
    left = {file}
    while left:
        found.add(source := left.pop())
        left |= set(_imported(source)) - found
    return found


@functools.cache
def _imported(file: Path) -> tuple[Path, ...]:
    def named() -> Iterator[str]:
        for line in ast.parse(file.read_bytes()).body:
            if isinstance(line, ast.ImportFrom) and line.module is not None:
                yield line.module
                yield from (f"{line.module}.{alias.name}" for alias in line.names)

    paths = (_ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in named() if name.startswith("parasim."))
    return tuple(path for path in paths if path.is_file())
