"""What decides the result of a point of a sweep: its document, the files it names, and the simulator itself."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import parasim
from parasim.scenario.reader import Tree

__all__ = ["by_contents", "digest", "identity_of", "simulator"]

_NAMING = ("file", "path", "profile")
"""Keys of a document whose texts are files, or folders."""


def digest(value: Any) -> str:
    """A short text that differs where plain values differ."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def identity_of(tree: Tree, variant: str) -> str:
    """Of a point: the same for the same document with the same contents of the files that it names."""
    named = [[words, _contents(path)] for words, path in _files(tree.data, Path(tree.places.source).parent)]
    return digest([tree.data, variant, named])


def by_contents(value: Any) -> Any:
    """A document, but of each file or folder that it names from anywhere what is in it: equal wherever that lies."""
    if isinstance(value, list):
        return [by_contents(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _contents(Path(inner)) or inner if key in _NAMING and isinstance(inner, str) else by_contents(inner)
        for key, inner in value.items()
    }


@functools.cache
def simulator() -> str:
    """Version of parasim, and a digest of its source: results are those of this code."""
    try:
        number = version("parasim")
    except PackageNotFoundError:
        number = "not installed"
    folder = Path(parasim.__path__[0])
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return f"{number} ({found.hexdigest()[:8]})"


def _files(value: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files and folders that a document names: a graph, data, the module of a factory."""
    if isinstance(value, list):
        for inner in value:
            yield from _files(inner, folder)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in {"file", "path"} and isinstance(inner, str):
                yield inner, folder / inner
            elif key == "factory" and isinstance(inner, str):
                yield inner, folder / f"{inner.partition(':')[0].replace('.', '/')}.py"
            else:
                yield from _files(inner, folder)


def _contents(path: Path) -> str:
    """A digest of a file, or of the names and sizes of what is in a folder; empty if there is neither."""
    try:
        if path.is_dir():
            return digest(sorted([str(each.relative_to(path)), each.stat().st_size] for each in path.rglob("*")))
        if not path.is_file():  # nothing that would wait for a writer
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # running the point says what is wrong with it
        return ""
