"""What a trace can't know about its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["RunInfo"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a trace can't know about its run.

    Attributes
    ----------
    scenario, scheme
        Their names.
    clock
        Which runtime: virtual or wall-clock time.
    workers
        Number of workers.
    batch_size
        Samples per worker (per pipeline) and step.
    seen
        Samples of one worker (one pipeline) in so many first steps, where batches grow; None: `batch_size` in each.
    seed, calibrated
        Seed of all draws; do the devices' numbers come from fitted profiles? (Where parts of a profile are replaced,
        the summary says no.)
    data_sheets
        Devices whose numbers are those of a data sheet, each with the type it computes in and the document.
    profile
        Where profiles of machines were used: their `names`, and the keys of the cluster that were `replaced`.
    data
        Of the data that decide the model's sizes and are trained on: `kind`, and `synthetic` (were they generated?);
        None without data.
    events
        Events that the simulator handled (0 for a real run).
    wall_seconds, simulation_seconds
        Wall time of all, and without start-up.
    device_memory_bytes
        What the device of each rank holds; empty if it is not known.
    collectives
        How many were simulated message by message, and as one flow each ("message", "coupled"); None where all were
        messages.
    batches_per_step
        How many shares of `batch_size` samples one step of the run takes, where that is not one per worker: the number
        of pipelines, or of groups that share a model. None: each worker that logs steps takes one in each of them.
    own_pace
        Does each worker take batches of its own, towards a model that is not its own alone? Not so where stages of a
        pipeline, or a group, share a batch, and where models are independent until the end.
    fast_paths
        What gave the same result sooner, by name, and why other ways did not; None for a real run.
    facts
        What the scheme says of its options before anything runs, by name.
    """

    scenario: str
    scheme: str
    clock: Literal["simulated", "real"]
    workers: int
    batch_size: int
    seed: int = 0
    calibrated: bool = False
    data_sheets: tuple[str, ...] = ()
    profile: Mapping[str, list[str]] | None = None
    data: Mapping[str, str | bool] | None = None
    events: int = 0
    wall_seconds: float = 0.0
    simulation_seconds: float = 0.0
    batches_per_step: int | None = None
    own_pace: bool = True
    device_memory_bytes: tuple[float, ...] = ()
    collectives: Mapping[str, int] | None = None
    fast_paths: Mapping[str, str | Mapping[str, int]] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    seen: Callable[[int], float] | None = None

    def samples(self, steps: Mapping[int, int]) -> float:
        """Samples of a run by how many workers made so many steps."""
        seen = self.seen or (lambda count: self.batch_size * count)
        if self.batches_per_step is None:
            return sum(workers * seen(count) for count, workers in steps.items())
        return seen(max(steps, default=0)) * self.batches_per_step
