"""Operations in words, for errors."""

from __future__ import annotations

from typing import Any

from parasim.program.ops import Op

__all__ = ["describe"]


def describe(op: Op[Any]) -> str:
    """An operation in a few words."""
    name = type(op).__name__
    words = {
        "peer": getattr(op, "peer", None),
        "source": getattr(op, "source", None),
        "tag": getattr(op, "tag", None),
        "kernel": getattr(getattr(op, "kernel", None), "label", None),
        "handles": getattr(op, "handles", None),
    }
    if name == "Exchange":
        words["to"] = [send.peer for send in op.sends]  # type: ignore[attr-defined]
        words["from"] = [recv.source for recv in op.receives]  # type: ignore[attr-defined]
        words["tag"] = next((part.tag for part in (*op.sends, *op.receives)), None)  # type: ignore[attr-defined]
    if words["source"] == -1:
        words["source"] = "ANY"
    inside = ", ".join(f"{key}={value}" for key, value in words.items() if value is not None)
    return f"{name}({inside})"
