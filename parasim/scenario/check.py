"""The edge: plain values of a file to dataclasses, checked by pydantic field by field, with errors that say where.

A section is described by a dataclass (`parasim.fields`); nothing here knows any section by name.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass
from types import GenericAlias, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from parasim.errors import ProgramError, ScenarioError
from parasim.fields import LIMITS, default_of, described, limits_of
from parasim.scenario.reader import Key, Places
from parasim.units import EXAMPLES, parse_quantity

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["MAX_INTEGER", "Section", "adapter", "shorten", "suggestion"]

_T = TypeVar("_T")
_MAX_SHOWN = 60
MAX_INTEGER = 10**18


def suggestion(word: object, known: Collection[object]) -> str:
    """Write " (did you mean 'x'?)", or the names there are if none is close.

    What a table has under a name that is not the entry's own `name` is an alias: not listed.
    """
    close = difflib.get_close_matches(str(word)[:_MAX_SHOWN], sorted(map(str, known)), n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    table = known if isinstance(known, Mapping) else {}
    names = sorted(str(name) for name in known if getattr(table.get(name), "name", name) == name)
    return f" (there are: {', '.join(names)})" if names else " (there are none)"


@functools.cache
def adapter(cls: type, name: str) -> TypeAdapter[Any]:
    """Validator of a field of a dataclass, by its name in files; strict: no text is taken for a number."""
    from pydantic import BeforeValidator, ConfigDict, TypeAdapter, WithJsonSchema
    from pydantic import Field as Limits

    field = described(cls)[name]
    hint: Any = _not_none(_hints(cls)[field.name])
    annotations: list[Any] = [Limits(**limits)] if (limits := limits_of(field)) else []
    if dimension := field.metadata.get("dimension"):
        annotations.append(BeforeValidator(functools.partial(parse_quantity, dimension=dimension)))
        schema = {"type": ["string", "number"], "examples": [EXAMPLES[dimension]]}
        annotations.append(WithJsonSchema(schema))
    elif get_origin(hint) is tuple:
        item, *_ = get_args(hint)
        item = Annotated[(item, *annotations)] if annotations else item
        hint, annotations = GenericAlias(tuple, (item, ...)), [BeforeValidator(_tuples)]
    elif any(get_origin(kind) is tuple for kind in get_args(hint)):  # a value, or a list of them
        annotations.append(BeforeValidator(_tuples))
    whole: Any = Annotated[(hint, *annotations)] if annotations else hint
    return TypeAdapter(whole, config=ConfigDict(strict=True, allow_inf_nan=False))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _not_none(hint: Any) -> Any:
    """The type less None: that is what a field has which a file leaves out."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    return Union[tuple(inner for inner in get_args(hint) if inner is not NoneType)]  # noqa: UP007 # of a list


def _tuples(value: Any) -> Any:
    """Lists of a file as the tuples that frozen objects hold."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the document, at `path`.

    Raises (everywhere)
    -------------------
    ScenarioError
        One line: where, which key, what is wrong, what to do.
    """

    data: Mapping[str | int, Any]
    path: Key
    places: Places

    def error(self, key: str | int | None, what: str, *, at_key: bool = False) -> ScenarioError:
        """Error about a key of this section (None: about the section itself)."""
        path = self.path if key is None else (*self.path, key)
        return self.places.error(path, what, at_key=at_key)

    def only(self, known: Collection[str], of: str = "") -> None:
        """Refuse keys that are not `known`."""
        for key in self.data:
            if key not in known:
                raise self.error(key, f"unknown key{of}{suggestion(key, known)}", at_key=True)

    def section(self, key: str | int, *, optional: bool = False, example: str = "") -> Section:
        """The section under a key; an optional one may be absent (then it is empty)."""
        if key not in self.data:
            if optional:
                return Section({}, (*self.path, key), self.places)
            raise self.error(key, f"is missing{example and f': write {key}: {example}'}")
        value = self.data[key]
        if not isinstance(value, dict):
            shown = "is empty" if value is None else f"is {shorten(value)}, no mapping"
            raise self.error(key, f"{shown}{example and f': write {key}: {example}'}")
        return Section(value, (*self.path, key), self.places)

    def choose(self, table: Mapping[str, _T], what: str) -> tuple[str, _T]:
        """The entry of a table that ``kind:`` names."""
        if "kind" not in self.data:
            raise self.error("kind", f"is missing{suggestion('', table)}")
        kind = self.data["kind"]
        if not isinstance(kind, str) or kind not in table:
            raise self.error("kind", f"unknown {what} {shorten(kind)}{suggestion(kind, table)}")
        return kind, table[kind]

    def build(
        self, cls: type[_T], *, beside: Collection[str] = (), defaults: Mapping[str, Any] | None = None, of: str = ""
    ) -> _T:
        """The dataclass made from this section's keys, less those `beside`; `defaults` (SI) for absent ones."""
        known = described(cls)
        self.only([*known, *beside], of)
        values = dict(defaults or {})
        for name, field in known.items():
            if name in self.data:
                values[field.name] = self._value(name, adapter(cls, name), field)  # type: ignore[arg-type]
            elif field.name not in values:
                values[field.name] = self._default(name, field)
        with self.blamed(None):
            return cls(**values)

    def build_kind(self, table: Mapping[str, type], what: str) -> tuple[str, dict[str, Any]]:
        """The kind, and all options of its class, defaults included."""
        kind, cls = self.choose(table, what)
        options: Any = self.build(cls, beside=("kind",), of=f" of {what} '{kind}'")
        return kind, {name: getattr(options, field.name) for name, field in described(cls).items()}

    def _default(self, name: str, field: Field[Any]) -> Any:
        default = default_of(field)
        if default is MISSING:
            dimension = field.metadata.get("dimension")
            example = f": write {name}: {EXAMPLES[dimension]}" if dimension else ""
            raise self.error(name, f"is missing ({field.metadata['doc']}){example}")
        return default

    @contextmanager
    def blamed(self, key: str | None) -> Iterator[None]:
        """Errors of the values' owners get the place of this section, or of a key of it."""
        try:
            yield
        except (ValueError, ProgramError) as error:
            raise self.error(key, str(error)) from None

    def _value(self, name: str, checked: TypeAdapter[Any], field: Field[Any]) -> Any:
        from pydantic import ValidationError

        value = self.data[name]
        if value is None:
            raise self.error(name, "has no value", at_key=True)
        if isinstance(value, int) and abs(value) > MAX_INTEGER and not field.metadata.get("dimension"):
            raise self.error(name, f"{shorten(value)} is too large (the limit is 10^18)")
        try:
            return checked.validate_python(value)
        except ValidationError as invalid:
            first = invalid.errors(include_url=False, include_context=True)[0]
            inner = tuple(key for key in first["loc"] if isinstance(key, int))
            path = (*self.path, name, *inner)
            raise self.places.error(path, _what(first, shorten(first["input"] if inner else value), checked)) from None


def shorten(value: object) -> str:
    """The value as Python writes it, cut if long."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**_MAX_SHOWN else "a number of very many digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _what(error: Any, shown: str, adapter: TypeAdapter[Any]) -> str:
    """What is wrong, in the words of a user."""
    kind, context = error["type"], error.get("ctx", {})
    for key, (words, _) in LIMITS.items():
        if key in context:
            limit = context[key]
            return f"{shown} must be {words} {f'{limit:g}' if isinstance(limit, float) else limit}"
    if kind == "float_type" and isinstance(error["input"], int) and not isinstance(error["input"], bool):
        return f"{shown} is too large"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        values = _literals(adapter)
        close = difflib.get_close_matches(str(error["input"])[:_MAX_SHOWN], map(str, values), n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        return f"{shown} is none of {', '.join(map(str, values))}{hint}"
    plain = {
        "int_type": "is no whole number",
        "int_from_float": "is no whole number",
        "float_type": "is no number",
        "finite_number": "is not finite",
        "bool_type": "must be true or false",
        "string_type": "must be text: put it in quotes",
        "tuple_type": "is no list",
        "list_type": "is no list",
    }
    return f"{shown} {plain[kind]}" if kind in plain else f"{shown}: {error['msg']}"


def _literals(adapter: TypeAdapter[Any]) -> list[Any]:
    """Values of every `Literal` in a field's type."""
    found: list[Any] = []
    pending = [adapter._type]
    while pending:
        hint = pending.pop()
        if get_origin(hint) is Literal:
            found += get_args(hint)
        else:
            pending += get_args(hint)
    return found
