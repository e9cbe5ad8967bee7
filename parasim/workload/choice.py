"""From a kind and plain options to the options object of a table, with errors that name what is known."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from parasim.errors import ScenarioError
from parasim.fields import LIMITS, default_of

__all__ = ["choose", "read_options"]

_PLAIN: dict[type, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def choose(what: str, table: Mapping[str, type], kind: str, options: Mapping[str, Any]) -> Any:
    """Make the options object ``table[kind](**options)``.

    Parameters
    ----------
    what
        What is chosen ("model", "data"), for errors.
    table
        Kinds and their options classes: dataclasses whose fields were made by `parasim.program.scheme.option`.
    kind, options
        The choice.

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown, or a value has a wrong type or lies outside its limits.
    """
    if kind not in table:
        raise ScenarioError(_unknown(f"{what} kind", kind, table))
    return read_options(f"{what} {kind}", table[kind], options)


def read_options(what: str, cls: type, options: Mapping[str, Any]) -> Any:
    """Make `cls` from plain options; `ScenarioError` names the option that is wrong."""
    if not isinstance(options, Mapping):
        raise ScenarioError(f"{what}: {options!r} is no mapping; give names and values")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = _hints(cls)
    for name, value in options.items():
        if name not in fields:
            raise ScenarioError(_unknown(f"option of {what}", name, fields))
        _check(f"{what}: {name}", hints[name], fields[name].metadata, value)
    for name, field in fields.items():
        if name not in options and default_of(field) is dataclasses.MISSING:
            raise ScenarioError(f"{what}: {name} is missing ({field.metadata['doc']})")
    return cls(**options)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of the fields; an optimiser is made for each of thousands of workers."""
    return get_type_hints(cls)


def _check(where: str, hint: Any, metadata: Mapping[str, Any], value: Any) -> None:
    """Type and limits of one value; structured types are checked by their owner."""
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ScenarioError(f"{where}: {value!r} is none of {', '.join(map(str, get_args(hint)))}; choose one of them")
    if hint in _PLAIN:
        accepted = _PLAIN[hint]
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise ScenarioError(f"{where}: {value!r} is no {hint.__name__}; give a value of that type")
    for key, (words, holds) in LIMITS.items():
        for number in value if isinstance(value, tuple) else (value,):
            if key in metadata and not holds(number, metadata[key]):
                raise ScenarioError(f"{where}: {number!r} is out of range; give a value {words} {metadata[key]}")


def _unknown(what: str, name: object, known: Mapping[str, Any]) -> str:
    """Say that a name is not in a table, and what is."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what} {name!r}{hint}; known: {', '.join(sorted(known)) or 'none'}"
