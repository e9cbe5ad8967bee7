"""What became of several models that were trained at once, from the notes of their scheme."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from parasim.trace.actor import ActorTotals, Mark

__all__ = ["members_of"]


def members_of(actors: Iterable[ActorTotals]) -> dict[str, Any]:
    """For the summary of a run, of one of all that are alike: its `members` and `ensemble`, where there are such notes.

    `members` is a list with, of each: `member` (its number), `lr` and `score` (the last), `scores` (how it was found:
    "evaluated", "drawn" from the seed as nothing is trained, or "given"), `copied` (how often it took another one's
    place), `outcome` ("survived", "dropped" or None), and `steps` and `seconds` of that. `ensemble` has `loss` and
    `accuracy` of the `first` member and of the `mean` prediction, as they are found at the end (None: not learning).
    """
    marks: dict[str, dict[str, Mark]] = {}
    for noted in filter(None, map(attrgetter("marks"), actors)):
        for (label, layer), mark in noted.items():
            kind = marks.setdefault(layer, {})
            kind[label] = max(kind.get(label, mark), mark, key=lambda found: found.step)
    together = marks.pop("", {})
    found: dict[str, Any] = {}
    if together:
        found["ensemble"] = {
            who: {figure: together[f"ensemble {who} {figure}"].value for figure in ("loss", "accuracy")}
            for who in ("first", "mean")
        }
    if marks:
        found["members"] = sorted((_member(layer, kind) for layer, kind in marks.items()), key=lambda m: m["member"])
    return found


def _member(layer: str, marks: dict[str, Mark]) -> dict[str, Any]:
    score = next((label for label in marks if label.startswith("member score")), "")
    outcome = next((what for what in ("survived", "dropped") if f"member {what}" in marks), None)
    last = None if outcome is None else marks[f"member {outcome}"]
    copied = marks.get("member copied")
    return {
        "member": int(layer.removeprefix("member ")),
        "lr": marks["member lr"].value,
        "score": marks[score].value if score else None,
        "scores": (score.partition(", ")[2] or "evaluated") if score else None,
        "copied": 0 if copied is None else copied.number,
        "outcome": outcome,
        "steps": None if last is None else last.step + 1,
        "seconds": None if last is None else last.seconds,
    }
