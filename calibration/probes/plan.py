"""The plan of a calibration: which probes there are, and how its time is shared among them.

A new probe is one line of `PLAN`. Its function takes a `Task` and yields observations; it raises `Skipped` where the
machine has no use for it. The whole plan runs once per round, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from calibration.probes.blocks import probe_blocks
from calibration.probes.compute import probe_layers, probe_peaks
from calibration.probes.contention import probe_contention
from calibration.probes.cuda import probe_cuda
from calibration.probes.messages import probe_collectives, probe_links, probe_operations, probe_pairs
from calibration.probes.optimizers import probe_optimizers
from calibration.probes.record import Observation, Task
from calibration.probes.shaped import probe_shaped
from calibration.probes.verbs import probe_verbs
from parasim.errors import ScenarioError

__all__ = ["BUDGET", "GROUPS", "PLAN", "ROUNDS", "Probe", "chosen"]

BUDGET = 60.0
"""Seconds that all rounds together take, about."""

ROUNDS = 4
"""An even number, so that odd and even rounds are halves of the same size."""

GROUPS = ("links", "collectives", "compute", "contention", "overheads")
"""What `--only` chooses among. Jitter is in all of them: single times are kept beside means."""


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
    always
        It runs with any group: no profile is without what it measures.
    device
        Where it computes, if it concerns devices: the profile is of "cpu" or of "cuda".
    """

    name: str
    group: str
    function: Callable[[Task], Iterable[Observation]]
    share: float = 1.0
    always: bool = False
    device: str = ""


PLAN: tuple[Probe, ...] = (
    Probe("peaks", "compute", probe_peaks, 0.5, always=True, device="cpu"),
    Probe("layers", "compute", probe_layers, 5.0, device="cpu"),
    Probe("verbs", "compute", probe_verbs, 3.0, device="cpu"),
    Probe("optimizers", "compute", probe_optimizers, 1.5, device="cpu"),
    Probe("blocks", "compute", probe_blocks, 3.0, device="cpu"),
    Probe("contention", "contention", probe_contention, 3.0, device="cpu"),
    Probe("cuda", "compute", probe_cuda, 16.0, always=True, device="cuda"),
    Probe("links", "links", probe_links, 2.0),
    Probe("pairs", "links", probe_pairs, 3.0),
    Probe("shaped", "links", probe_shaped, 2.0),
    Probe("collectives", "collectives", probe_collectives, 2.0),
    Probe("operations", "overheads", probe_operations, 1.0),
)


def chosen(groups: Collection[str] = (), plan: tuple[Probe, ...] = PLAN, device: str = "cpu") -> tuple[Probe, ...]:
    """The probes of some groups (of all without groups) for a profile of this device.

    Raises
    ------
    ScenarioError
        If there is no such group, or it has no probe.
    """
    plan = tuple(probe for probe in plan if probe.device in ("", device))
    for group in groups:
        if group not in GROUPS:
            raise ScenarioError(f"--only: no group of probes is called {group!r} (there are: {', '.join(GROUPS)})")
        if not any(probe.group == group for probe in plan):
            raise ScenarioError(f"--only: group {group!r} has no probe: choose another")
    return tuple(probe for probe in plan if not groups or probe.always or probe.group in groups)
