"""Lists on the command line."""

from __future__ import annotations

from parasim.errors import ScenarioError

__all__ = ["split_outside"]

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def split_outside(text: str, separator: str) -> list[str]:
    """Split at separators that stand outside of brackets and quotes; parts are stripped.

    Raises
    ------
    ScenarioError
        If a bracket or quote is not closed, or a part is empty.
    """
    parts, open_, quote, start = [], "", "", 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSING:
            open_ += _CLOSING[char]
        elif open_ and char == open_[-1]:
            open_ = open_[:-1]
        elif char == separator and not open_:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    if missing := quote or open_[-1:]:
        raise ScenarioError(f"'{text[:80]}': a {missing} is missing")
    if "" in parts:
        raise ScenarioError(f"'{text[:80]}': a value is missing before or after a '{separator}'")
    return parts
