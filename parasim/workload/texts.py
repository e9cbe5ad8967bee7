"""Texts for models of characters: a local file, or a stand-in that a small grammar generates."""

from __future__ import annotations

import functools
from pathlib import Path

from parasim.errors import ScenarioError
from parasim.program.draws import Draws
from parasim.workload.folders import local_path

__all__ = ["alphabet", "get_text", "split_text"]

_MAX_BYTES = 256 * 1024 * 1024
_STAND_IN_LENGTH = 65_536

# sentence := phrase verb phrase [place] "."; phrase := article [adjective] noun; place := preposition phrase
_ARTICLES = ("a", "the", "every", "this")
_ADJECTIVES = ("quiet", "small", "red", "old", "lazy", "bright")
_NOUNS = ("worker", "server", "cat", "river", "machine", "gradient", "garden", "king")
_VERBS = ("sees", "sends", "follows", "joins", "keeps", "moves")
_PREPOSITIONS = ("behind", "near", "over", "under")


def get_text(path: str) -> str:
    """The text of a file (UTF-8), or of the stand-in if `path` is empty.

    Raises
    ------
    ScenarioError
        If the file can't be read, is too large, or is no UTF-8.
    """
    if not path:
        return _stand_in()
    file = local_path("characters", path)
    try:
        size = file.stat().st_size
        if size > _MAX_BYTES:
            raise ScenarioError(f"data characters: {file} has {size} bytes; the limit is {_MAX_BYTES}, give less text")
        return _read(file, size, file.stat().st_mtime_ns)
    except OSError as error:
        raise ScenarioError(
            f"data characters: {file} can't be read ({error.strerror}); give a text file, or leave path out for a "
            "synthetic stand-in"
        ) from None


def alphabet(text: str) -> str:
    """Every character of a text once, in order: character i is token i."""
    return "".join(sorted(set(text)))


def split_text(length: int, sequence: int) -> tuple[int, int, int]:
    """Where the held-out tenth of a text begins, and how many sequences there are before and after.

    A sample is `sequence` characters and, as its targets, those one further; samples do not overlap.

    Raises
    ------
    ScenarioError
        If either side has not even one sample.
    """
    start = length - length // 10
    samples, held_out = (start - 1) // sequence, (length - start - 1) // sequence
    if samples < 1 or held_out < 1:
        raise ScenarioError(
            f"data characters: a text of {length} characters is too short for sequences of {sequence}, of which a "
            f"tenth is held out; give at least {10 * (sequence + 1)} characters, or a shorter sequence"
        )
    return start, samples, held_out


@functools.lru_cache(maxsize=2)
def _read(file: Path, size: int, changed: int) -> str:
    """Read a file, again if size or time of change are others."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(
            f"data characters: {file} is no UTF-8 text (byte {error.start}); convert it, as with iconv -t UTF-8"
        ) from None


@functools.cache
def _stand_in() -> str:
    """Sentences of the grammar above, each choice even, until there are enough characters."""
    draws = Draws(0)
    words: list[str] = []
    length = count = 0

    def choose(choices: tuple[str, ...]) -> str:
        nonlocal count
        count += 1
        return choices[draws.integer(len(choices), "text", count)]

    def phrase() -> list[str]:
        return [choose(_ARTICLES), *([choose(_ADJECTIVES)] if choose(("", "+")) else []), choose(_NOUNS)]

    while length < _STAND_IN_LENGTH:
        sentence = [*phrase(), choose(_VERBS), *phrase()]
        if choose(("", "+")):
            sentence += [choose(_PREPOSITIONS), *phrase()]
        sentence[-1] += "."
        length += sum(map(len, sentence)) + len(sentence)
        words += sentence
    return " ".join(words)[:_STAND_IN_LENGTH]
