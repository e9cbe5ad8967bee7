"""What a cross-check keeps of a run, the same of either clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parasim.errors import CalibrationError
from parasim.metrics.result import Result
from parasim.metrics.staleness import staleness_of
from parasim.trace.actor import Histogram

__all__ = ["SHARES", "RunFigures", "figures_of"]

SHARES = ("compute", "transfer", "wait")
_TRAFFIC = ("bytes_sent", "bytes_received", "messages_sent", "messages_received")


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The figures of one run.

    Attributes
    ----------
    seconds_per_step, samples_per_second
        Of the run.
    shares
        "compute", "transfer" and "wait" of the workers' main lanes; they sum to 1.
    traffic
        "bytes_sent", "bytes_received", "messages_sent", "messages_received" in the whole run, payload only, by rank.
    staleness
        Histogram of each worker's gradients, by its rank.
    updates
        Of the parameters.
    about
        Of a real run: when it was, and the load of the machine before it.
    seconds_to_target
        When the target was reached first; None: not reached, or none asked for.
    """

    seconds_per_step: float
    samples_per_second: float
    shares: Mapping[str, float]
    traffic: Mapping[str, tuple[int, ...]]
    staleness: Mapping[int, Histogram]
    updates: int
    about: Mapping[str, Any] = field(default_factory=dict)
    seconds_to_target: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is its inverse."""
        return {
            "seconds_per_step": self.seconds_per_step,
            "samples_per_second": self.samples_per_second,
            "shares": dict(self.shares),
            "traffic": {name: list(values) for name, values in self.traffic.items()},
            "staleness": {
                str(worker): {str(value): times for value, times in histogram.items()}
                for worker, histogram in self.staleness.items()
            },
            "updates": self.updates,
            "about": dict(self.about),
            "seconds_to_target": self.seconds_to_target,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> RunFigures:
        """The figures that `as_dict` wrote.

        Raises
        ------
        CalibrationError
            If they are not that.
        """
        try:
            return cls(
                float(entry["seconds_per_step"]),
                float(entry["samples_per_second"]),
                {name: float(entry["shares"][name]) for name in SHARES},
                {name: tuple(map(int, entry["traffic"][name])) for name in _TRAFFIC},
                {
                    int(worker): {int(value): int(times) for value, times in histogram.items()}
                    for worker, histogram in entry["staleness"].items()
                },
                int(entry["updates"]),
                dict(entry["about"]),
                None if (reached := entry.get("seconds_to_target")) is None else float(reached),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CalibrationError(f"no figures of a run ({type(error).__name__}: {error}): measure again") from None


def figures_of(result: Result, about: Mapping[str, Any] | None = None) -> RunFigures:
    """The figures of a finished run.

    Raises
    ------
    CalibrationError
        If it has no steps, so no time per step.
    """
    summary = result.summary
    if not summary["steps"]:
        raise CalibrationError(f"{summary['scenario']}: has no steps to compare: give run.steps=1 or more")
    actors = sorted(result.trace.fold().actors, key=lambda actor: actor.rank)
    return RunFigures(
        summary["seconds_per_step"],
        summary["samples_per_second"],
        {name: summary["shares"][name] for name in SHARES},
        {name: tuple([getattr(actor, name) for actor in actors]) for name in _TRAFFIC},
        {worker: dict(found.histogram) for worker, found in staleness_of(result.trace).per_worker.items()},
        summary["updates"],
        dict(about or {}),
        (summary.get("target") or {}).get("seconds"),
    )
