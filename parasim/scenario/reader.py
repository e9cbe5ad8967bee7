"""YAML 1.2 text to plain values, with the line and column of every one; safe for files from anywhere.

Only mappings, lists and plain scalars are taken: a tag, an anchor, an alias, a merge key or a duplicate key is an
error, so a file can neither run code nor grow when read. Size, nesting and number of values are limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parasim.errors import ScenarioError

__all__ = ["Key", "Places", "Tree", "read_file", "read_value", "show_path"]

MAX_BYTES = 128 * 1024
MAX_DEPTH = 24
MAX_VALUES = 5_000
MAX_DIGITS = 100
_MAX_SHOWN = 60

Key = tuple[str | int, ...]
"""Path of a value: keys of mappings and places in lists."""


def show_path(path: Key) -> str:
    """Write a path as overrides do, fit for a line of text: "cluster.link.bandwidth"."""
    return ".".join(map(_show_key, path))


def _show_key(key: str | int) -> str:
    text = str(key)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


@dataclass(frozen=True, slots=True)
class Places:
    """Where keys and values stand ("file:line:column" or "override '...'"); an absent path has its parent's."""

    source: str
    keys: dict[Key, str]
    values: dict[Key, str]

    def of_value(self, path: Key) -> str:
        """Place of a value, or of the nearest section that is there."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, self.source)

    def of_key(self, path: Key) -> str:
        """Place of a key, or of the nearest section that is there."""
        while path and path not in self.keys:
            path = path[:-1]
        return self.keys.get(path) or self.values.get((), self.source)

    def forget(self, path: Key) -> None:
        """Drop the places of a value and of all it holds."""
        for table in (self.keys, self.values):
            for known in [known for known in table if known[: len(path)] == path]:
                del table[known]

    def error(self, path: Key, what: str, *, at_key: bool = False) -> ScenarioError:
        """One line: place, path, what is wrong."""
        place = self.of_key(path) if at_key else self.of_value(path)
        shown = f"{show_path(path)}: " if path else ""
        return ScenarioError(" ".join(f"{place}: {shown}{what}".split()))


@dataclass(frozen=True, slots=True)
class Tree:
    """A document: plain values (dict, list, str, int, float, bool, None) and where they stand."""

    data: Any
    places: Places


def read_file(path: str | Path) -> Tree:
    """Read a file that holds one mapping.

    Raises
    ------
    ScenarioError
        If it can't be read, is too large, is no YAML of the safe kind, or holds no mapping.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        shown = source if source not in ("", ".") else f"'{path}'"
        raise ScenarioError(f"{shown}: can't be read: {error.strerror or error}: name a scenario file") from None
    if len(raw) > MAX_BYTES:
        raise ScenarioError(f"{source}: is larger than {MAX_BYTES // 1024} KiB, the limit for a scenario")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise ScenarioError(f"{source}:{line}:{column}: is no UTF-8 text: save the file as UTF-8") from None
    tree = _parse(text, source, lines=True)
    if not isinstance(tree.data, dict):
        what = "is empty" if tree.data is None else "holds no mapping"
        raise ScenarioError(
            f"{tree.places.of_value(())}: {what}: begin with 'workload:' (see scenarios/quickstart.yaml)"
        )
    return tree


def read_value(text: str, place: str) -> Any:
    """Read one YAML value, as it stands after the '=' of an override; `place` goes into errors."""
    if len(text) > MAX_BYTES:
        raise ScenarioError(f"{place[:80]}: the value is larger than {MAX_BYTES // 1024} KiB")
    return _parse(text, place, lines=False).data


def _parse(text: str, source: str, *, lines: bool) -> Tree:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    builder = _Builder(yaml.resolver, source, lines)
    try:
        data = builder.document(yaml.parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is no valid YAML: {error.problem or error.context}"
        if mark and text[mark.index : mark.index + 1] == "\t":
            problem += ": use spaces"
        raise ScenarioError(" ".join(f"{builder.place(mark) if mark else source}: {problem}".split())) from None
    except ReaderError as error:
        before = text[: error.position]
        column = error.position - before.rfind("\n")
        place = f"{source}:{before.count(chr(10)) + 1}:{column}" if lines else source
        raise ScenarioError(f"{place}: is no valid YAML: character #x{error.character:02x} is not allowed") from None
    return Tree(data, builder.places)


class _Builder:
    """Builds plain values from the events of a parser, one pass, never following anything."""

    def __init__(self, resolver: Any, source: str, lines: bool) -> None:
        self.resolver = resolver
        self.source = source
        self.lines = lines
        self.places = Places(source, {}, {})
        self.values = 0

    def place(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}:{mark.column + 1}" if self.lines else self.source

    def document(self, events: Iterator[Any]) -> Any:
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent, StreamStartEvent

        data, documents = None, 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ScenarioError(
                        f"{self.place(event.start_mark)}: a second document begins here: use 'variants:'"
                    )
                data = self.value(next(events), events, ())
                next(events)  # the document's end
            elif not isinstance(event, (StreamStartEvent, StreamEndEvent)):
                raise ScenarioError(f"{self.place(event.start_mark)}: is no valid YAML")
        return data

    def value(self, event: Any, events: Iterator[Any], path: Key) -> Any:
        from ruamel.yaml.events import MappingStartEvent, ScalarEvent

        self.places.values[path] = self.place(event.start_mark)
        self.plain(event, path)
        if isinstance(event, ScalarEvent):
            return self.scalar(event, path)
        if len(path) >= MAX_DEPTH:
            raise ScenarioError(f"{self.place(event.start_mark)}: is nested deeper than {MAX_DEPTH} levels, the limit")
        return self.mapping(events, path) if isinstance(event, MappingStartEvent) else self.list(events, path)

    def plain(self, event: Any, path: Key) -> None:
        """Refuse what is more than a plain value, and a document of too many values."""
        from ruamel.yaml.events import AliasEvent

        self.values += 1
        if self.values > MAX_VALUES:
            what = f"more than {MAX_VALUES} keys and values, the limit for a scenario"
        elif isinstance(event, AliasEvent):
            what = f"alias '*{event.anchor}' is not allowed: write the value out"
        elif event.anchor is not None:
            what = f"anchor '&{event.anchor}' is not allowed: write the value out where it is used"
        elif event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            what = f"tag '{tag}' is not allowed: write a plain value"
        else:
            return
        raise ScenarioError(f"{self.place(event.start_mark)}: {show_path(path)}{': ' if path else ''}{what}")

    def list(self, events: Iterator[Any], path: Key) -> list[Any]:
        from ruamel.yaml.events import SequenceEndEvent

        result: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            result.append(self.value(event, events, (*path, len(result))))
        return result

    def mapping(self, events: Iterator[Any], path: Key) -> dict[str | int, Any]:
        from ruamel.yaml.events import MappingEndEvent, ScalarEvent

        result: dict[str | int, Any] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            at = self.place(event.start_mark)
            if not isinstance(event, ScalarEvent):
                raise ScenarioError(f"{at}: a key must be a word")
            self.plain(event, path)
            key = self.scalar(event, path)
            if event.value == "<<":
                raise ScenarioError(f"{at}: merge key '<<' is not allowed: write the values out")
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                key = str(event.value)
            here = (*path, key)
            if key in result:
                raise ScenarioError(f"{at}: {show_path(here)}: is given twice (first at {self.places.keys[here]})")
            self.places.keys[here] = at
            result[key] = self.value(next(events), events, here)
        return result

    def scalar(self, event: Any, path: Key) -> Any:
        from ruamel.yaml.nodes import ScalarNode

        text = event.value
        if event.style is not None:  # quoted or block
            return text
        tag = str(self.resolver.resolve(ScalarNode, text, event.implicit)).rsplit(":", 1)[-1]
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag not in ("int", "float"):
            return text
        if len(text) > MAX_DIGITS:
            raise self.places.error(path, f"a number of {len(text)} digits is too long")
        digits = text.replace("_", "")
        try:
            return int(digits, 0) if tag == "int" and digits.lstrip("+-")[:2] in ("0o", "0x") else _number(digits, tag)
        except ValueError:
            return text


def _number(digits: str, tag: str) -> int | float:
    if tag == "int":
        return int(digits)
    plain = digits.lower().replace(".inf", "inf").replace(".nan", "nan")
    return float(plain)
