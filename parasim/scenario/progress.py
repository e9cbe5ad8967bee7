"""What changes while a run goes on, once scheme and data are known: the size of batches, and the learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from parasim.program.batches import Growth, grown
from parasim.program.scheme import Scheme
from parasim.scenario.check import Section
from parasim.scenario.model import Optimizer, Workload
from parasim.scenario.tables import optimizer_kinds, schedule_kinds

if TYPE_CHECKING:
    from parasim.workload import DataSpec

__all__ = ["GROWTH", "SCHEDULE", "check_norms", "with_growth", "with_schedule"]

GROWTH = "batch_growth"
SCHEDULE = "schedule"


def with_growth(section: Section, workload: Workload, scheme: Scheme) -> Workload:
    """The workload with the batch sizes of all steps; `section` is that of the workload.

    Raises
    ------
    ScenarioError
        If the scheme's batches can't grow, or epochs are counted without data.
    """
    if GROWTH not in section.data:
        return workload
    inner = section.section(GROWTH, example="{by: epochs, at: [30, 60], factor: 5}")
    growth = inner.build(Growth)
    if scheme.fixed_batch:
        raise section.error(GROWTH, f"batches of {scheme.name} can't grow: {scheme.fixed_batch}", at_key=True)
    unit = _samples(inner, growth.by, workload.data)
    share = None if unit is None else unit / scheme.pipelines()
    return replace(workload, batches=grown(workload.batch_size, growth, share))


def with_schedule(section: Section, optimizer: Optimizer, workload: Workload, scheme: Scheme, steps: int) -> Optimizer:
    """The optimiser with the schedule of its learning rate, if it has one; `section` is that of the optimiser.

    Raises
    ------
    ScenarioError
        If something in the schedule is wrong, or epochs are counted without data.
    """
    from parasim.learning.rates import Rate, Schedule

    if SCHEDULE not in section.data:
        return optimizer
    inner = section.section(SCHEDULE, example="{kind: step, by: epochs, at: [30, 60, 80]}")
    kind, cls = inner.choose(schedule_kinds(), "schedule")
    schedule: Schedule = inner.build(cls, beside=("kind",), of=f" of schedule '{kind}'")
    unit = _samples(inner, schedule.by, workload.data)
    rate = Rate(schedule, optimizer.options["lr"], workload.batches, scheme.pipelines(), unit, steps)
    with inner.blamed(None):
        rate.check()
    return Optimizer(optimizer.kind, {**optimizer.options, SCHEDULE: rate})


def check_norms(section: Section, kind: str, scheme: Scheme) -> None:
    """Refuse an optimiser that needs norms of layers (LARS, LAMB) where layers are cut; `section` is its own.

    Raises
    ------
    ScenarioError
        If nobody has them.
    """
    if optimizer_kinds()[kind].layerwise and (why := scheme.no_norms()):  # type: ignore[attr-defined]
        raise section.error("kind", f"{kind} needs norms of whole layers, and in {scheme.name} {why}")


def _samples(section: Section, by: str, data: DataSpec | None) -> float | None:
    """Samples of what is counted; None if that is steps."""
    if by == "epochs" and data is None:
        raise section.error(
            "by", "epochs are passes over the data, and there are none: write by: samples, or workload: {data: ...}"
        )
    return {"steps": None, "samples": 1.0, "epochs": float(data.samples) if data else None}[by]
