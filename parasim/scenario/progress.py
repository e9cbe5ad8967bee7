"""What changes while a run goes on, once scheme and data are known: the size of batches, and the learning rate."""

from __future__ import annotations

import bisect
from dataclasses import replace
from typing import TYPE_CHECKING

from parasim.program.batches import Growth, grown
from parasim.program.scheme import Scheme
from parasim.program.searching import Search, Trials
from parasim.scenario.check import Section
from parasim.scenario.model import Optimizer, Run, Workload
from parasim.scenario.tables import optimizer_kinds, schedule_kinds, scheme_kinds

if TYPE_CHECKING:
    from parasim.program.compressor import Compression
    from parasim.workload import DataSpec

__all__ = [
    "GROWTH",
    "SCHEDULE",
    "SEARCH",
    "check_momentum",
    "check_norms",
    "with_batches",
    "with_schedule",
    "with_steps",
]

GROWTH = "batch_growth"
SEARCH = "batch_search"
_MOST_STEPS = 1_000_000_000
SCHEDULE = "schedule"


def with_batches(section: Section, workload: Workload, scheme: Scheme, *, learn: bool) -> Workload:
    """The workload with the batch sizes of all steps, or those that are tried; `section` is that of the workload.

    Raises
    ------
    ScenarioError
        If the scheme's batches can't grow or be tried, epochs are counted without data, or there is no accuracy.
    """
    if SEARCH in section.data:
        return _with_search(section, workload, scheme, learn=learn)
    if GROWTH not in section.data:
        return workload
    inner = section.section(GROWTH, example="{by: epochs, at: [30, 60], factor: 5}")
    growth = inner.build(Growth)
    if scheme.fixed_batch:
        raise section.error(GROWTH, f"batches of {scheme.name} can't grow: {scheme.fixed_batch}", at_key=True)
    unit = _samples(inner, growth.by, workload.data)
    share = None if unit is None else unit / scheme.pipelines()
    return replace(workload, batches=grown(workload.batch_size, growth, share))


def _with_search(section: Section, workload: Workload, scheme: Scheme, *, learn: bool) -> Workload:
    inner = section.section(SEARCH, example="{sizes: [16, 32, 64], every: 1, probe: 0.2}")
    search = inner.build(Search)
    if GROWTH in section.data:
        raise section.error(SEARCH, f"sizes are chosen, so they can't grow too: leave {GROWTH} out", at_key=True)
    if not scheme.tries_batches:
        able = ", ".join(name for name, kind in scheme_kinds().items() if kind.tries_batches and name == kind.name)
        what = f"trials are taken back, but not all that a step of {scheme.name} changes is on each worker: use {able}"
        raise section.error(SEARCH, what, at_key=True)
    if not learn:
        what = "sizes are chosen by training accuracy: write run: {learn: true}, or give batch_growth"
        raise section.error(SEARCH, what, at_key=True)
    data = workload.data
    if data is None or data.kind not in ("classification", "tokens"):
        what = "sizes are chosen by training accuracy, which needs data with classes: write data: {kind: digits}"
        raise section.error(SEARCH, what, at_key=True)
    unit = (data.samples if search.by == "epochs" else 1.0) / scheme.pipelines()
    trials = Trials(search.sizes, search.every * unit, search.probe * unit, search.margin, search.scaling)
    return replace(workload, trials=trials)


def with_steps(section: Section, run: Run, workload: Workload, scheme: Scheme) -> Run:
    """The run with the least number of steps in which all workers take the samples of its epochs, if it has some.

    Raises
    ------
    ScenarioError
        If there are steps and epochs, or neither; or epochs without data; or more of them than a run can have.
    """
    if run.epochs is None:
        if not run.steps:
            raise section.error("steps", "is missing: write steps: 100 (of each worker), or epochs: 2")
        return run
    if run.steps:
        raise section.error("epochs", "steps are given too: leave one of the two out")
    if workload.data is None:
        what = "epochs are passes over the data, and there are none: write steps, or workload: {data: ...}"
        raise section.error("epochs", what)
    wanted, most = run.epochs * workload.data.samples, 1
    while workload.samples(scheme, most, most) < wanted:
        most *= 2
        if most > _MOST_STEPS:
            raise section.error("epochs", f"{run.epochs:g} epochs are more than {_MOST_STEPS} steps, the limit")
    steps = bisect.bisect_left(range(1, most), wanted, key=lambda steps: workload.samples(scheme, steps, steps))
    return replace(run, steps=1 + steps)


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


def check_momentum(section: Section, compression: Compression | None, optimizer: Optimizer) -> None:
    """Refuse a code that piles up momentum (DGC) beside an optimiser that does; `section` is that of the code.

    Raises
    ------
    ScenarioError
        If momentum would be applied twice.
    """
    code = None if compression is None else compression.compressor
    own = next((name for name in ("momentum", "beta1") if optimizer.options.get(name)), "")
    piled: float = getattr(code, "momentum", 0.0)
    if code is not None and piled and own:
        what = f"{code.name} piles up momentum itself, in the place of the optimizer's, and {optimizer.kind} has {own} "
        what += f"{optimizer.options[own]:g}: write optimizer: {{{own}: 0}}, or compression: {{momentum: 0}}"
        raise section.error("kind", what)


def _samples(section: Section, by: str, data: DataSpec | None) -> float | None:
    """Samples of what is counted; None if that is steps."""
    if by == "epochs" and data is None:
        raise section.error(
            "by", "epochs are passes over the data, and there are none: write by: samples, or workload: {data: ...}"
        )
    return {"steps": None, "samples": 1.0, "epochs": float(data.samples) if data else None}[by]
