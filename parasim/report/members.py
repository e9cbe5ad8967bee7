"""A line of what became of several models that were trained at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parasim.units import format_quantity

__all__ = ["members_line"]


def members_line(summary: Mapping[str, Any]) -> str:
    """Who survived, or is best, with its learning rate; or how good the mean prediction is; empty if neither."""
    together = summary.get("ensemble")
    if together and together["mean"]["loss"] is not None:
        mean, first = (_figures(together[who]) for who in ("mean", "first"))
        return f"{summary['scenario']}: mean prediction at the end: {mean}; of the first member: {first}."
    scored = [member for member in summary.get("members", ()) if member["score"] is not None]
    if not scored:
        return ""
    survivor = next((member for member in scored if member["outcome"] == "survived"), None)
    best = survivor or min(scored, key=lambda member: float(member["score"]))
    what = "is best" if survivor is None else f"survived, after {format_quantity(best['seconds'], 'seconds')}"
    how = {"drawn": ", DRAWN: nothing is trained", "given": ", GIVEN by the scenario"}.get(best["scores"], "")
    who = f"of {len(summary['members'])} members number {best['member']} {what}"
    return f"{summary['scenario']}: {who}; learning rate {best['lr']:.4g}, score {best['score']:.4g}{how}."


def _figures(of: Mapping[str, float | None]) -> str:
    return ", ".join(f"{figure} {value:.4g}" for figure, value in of.items() if value is not None)
