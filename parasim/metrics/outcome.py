"""What became of one of several scenarios that are looked at together: its figures, or why it did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parasim.metrics.rates import WHILE_ALL_WORK, WHOLE_RUN, rates

__all__ = ["Outcome", "first_rate", "speedups"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of a comparison or of a sweep.

    Attributes
    ----------
    label
        What tells it from the others.
    scheme
        Kind of its scheme, as its document says.
    values
        What the keys of a sweep were set to.
    summary
        The figures of the run (`Result.summary`); None if it did not run.
    error, error_kind
        Why it did not run, in a line, and the name of the exception; empty if it did.
    """

    label: str
    scheme: str
    values: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    error: str = ""
    error_kind: str = ""

    def figures(self) -> dict[str, Any]:
        """The main figures under flat names, in SI units, for files of rows; None where there is none.

        Left out is what differs from run to run of the same scenario: wall times.
        """
        summary = self.summary or {}
        shares, staleness = summary.get("shares") or {}, summary.get("staleness") or {}
        target = summary.get("target") or {}
        loss, data = summary.get("loss") or {}, summary.get("data") or {}
        return {
            "scheme": summary.get("scheme", self.scheme),
            **{name: summary.get(name) for name in _PLAIN},
            **{f"{name}_share": shares.get(name) for name in ("compute", "transfer", "wait")},
            "staleness_mean": staleness.get("mean"),
            "staleness_max": staleness.get("max"),
            "loss_first": loss.get("first"),
            "loss_last": loss.get("last"),
            **{f"target_{name}": target.get(name) for name in ("seconds", "steps", "samples", "bytes")},
            "synthetic_data": data["kind"] if loss and data.get("synthetic") else None,
            "calibrated": summary.get("calibrated"),
            "data_sheets": "; ".join(summary.get("data_sheets") or ()) or None,
            "error": self.error or None,
        }

    def row(self) -> dict[str, Any]:
        """Keys of the sweep and figures together, as for `pandas.DataFrame`."""
        return {**self.values, **self.figures()}


_PLAIN = (
    "workers",
    "steps",
    "seconds",
    "seconds_per_step",
    WHOLE_RUN,
    WHILE_ALL_WORK,
    "bytes_sent_per_worker_per_step",
    "messages_sent_per_worker_per_step",
    "memory_bytes_per_worker",
    "updates",
    "seed",
)


def first_rate(outcomes: Sequence[Outcome]) -> tuple[int, float] | None:
    """Place and samples per second (`metrics.rates`) of the first row that has some: what speed-ups are relative to."""
    found = rates([outcome.summary for outcome in outcomes])
    return next(((place, rate) for place, rate in enumerate(found) if rate), None)


def speedups(outcomes: Sequence[Outcome]) -> list[float | None]:
    """Samples per second (`metrics.rates`) of each row, relative to the first one that ran."""
    first = first_rate(outcomes)
    found = rates([outcome.summary for outcome in outcomes])
    return [None if first is None or rate is None else rate / first[1] for rate in found]
