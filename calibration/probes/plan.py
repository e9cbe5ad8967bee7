"""The plan of a calibration: which probes there are, and how its time is shared among them.

A new probe is one line of `PLAN`. Its function takes a `Task` and yields observations; it raises `Skipped` where the
machine has no use for it. The whole plan runs once per round, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from calibration.probes.record import Observation, Task
from parasim.errors import ScenarioError

__all__ = ["BUDGET", "GROUPS", "PLAN", "ROUNDS", "Probe", "chosen"]

BUDGET = 150.0
"""Seconds that all rounds together take, about."""

ROUNDS = 6
"""An even number, so that odd and even rounds are halves of the same size."""

GROUPS = ("links", "collectives", "compute", "contention", "overheads", "jitter")
"""What `--only` chooses among."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A line of the plan.

    Attributes
    ----------
    name
        What its observations carry.
    group
        One of `GROUPS`.
    function
        Takes its `Task`, yields observations.
    share
        Of the time of a round, relative to the others'.
    """

    name: str
    group: str
    function: Callable[[Task], Iterable[Observation]]
    share: float = 1.0


PLAN: tuple[Probe, ...] = ()


def chosen(groups: Collection[str] = (), plan: tuple[Probe, ...] = PLAN) -> tuple[Probe, ...]:
    """The probes of some groups; of all without groups.

    Raises
    ------
    ScenarioError
        If there is no such group, or it has no probe.
    """
    for group in groups:
        if group not in GROUPS:
            raise ScenarioError(f"--only: no group of probes is called {group!r} (there are: {', '.join(GROUPS)})")
    probes = tuple(probe for probe in plan if not groups or probe.group in groups)
    if not probes:
        raise ScenarioError(f"--only: {', '.join(groups) or 'the plan'} has no probe: choose another group")
    return probes
