"""Modelled time to a target: the updates of a statistical model, at the speed of a run. Nothing of it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.theory.steps import Reached, Steps, fit_steps

if TYPE_CHECKING:
    from parasim.scenario.evaluation import StepsModel

__all__ = ["fitted_text", "modelled", "reached"]


def modelled(model: StepsModel, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of a run: the entry `modelled` of its summary.

    Parameters
    ----------
    model
        `run.steps_model` of the scenario.
    summary
        Of the run: its updates, samples, staleness and time are what the model is asked about.

    Returns
    -------
    dict
        `batch` (samples of an update), `staleness` (mean, in updates), `updates`, `samples`, `steps` (of each worker)
        and `seconds` to the target; None where the run made no updates. `note` says what they are.
    """
    parameters = Steps(model.least_steps, model.critical_batch, model.staleness_penalty)
    note = "modelled, not measured: S_min (1 + B_crit / B) (1 + penalty x staleness) updates at the run's speed"
    found: dict[str, Any] = {"model": parameters._asdict(), "note": note}
    names = ("batch", "staleness", "updates", "samples", "steps", "seconds")
    if not summary["updates"] or not summary["seconds"]:
        return {**found, **dict.fromkeys(names)}
    batch = summary["samples_per_second"] * summary["seconds"] / summary["updates"]
    staleness = (summary["staleness"] or {}).get("mean") or 0.0
    updates = parameters.updates(batch, staleness)
    part = updates / summary["updates"]
    values = (batch, staleness, updates, updates * batch, part * summary["steps"], part * summary["seconds"])
    return {**found, **dict(zip(names, values, strict=True))}


def reached(summary: Mapping[str, Any]) -> Reached | None:
    """What a run tells of the model; None if it did not reach its target, or reached it without an update."""
    target = summary.get("target")
    if not target or not target["steps"] or not summary["updates"]:
        return None
    updates = target["steps"] * summary["updates"] / summary["steps"]
    return Reached(target["samples"] / updates, (summary["staleness"] or {}).get("mean") or 0.0, updates)


def fitted_text(summaries: Sequence[Mapping[str, Any]]) -> str:
    """The model fitted to runs, as lines of a scenario file.

    Raises
    ------
    ScenarioError
        If too few runs reached their targets.
    """
    runs = [run for run in map(reached, summaries) if run is not None]
    targets = [summary["evaluation"]["wanted"] for summary in summaries if "target" in summary]
    wanted = sorted({f"{target['figure']} {target['value']:g}" for target in targets})
    if len(wanted) != 1 or len(runs) < 2:
        raise ScenarioError(
            f"--fit-steps: {len(runs)} of {len(summaries)} runs reached a target ({', '.join(wanted) or 'none'}): give "
            "variants of different batches with one run.target, and steps enough to reach it"
        )
    if len({round(run.batch, 6) for run in runs}) < 2:
        raise ScenarioError(f"--fit-steps: all updates take {runs[0].batch:g} samples: give variants of other batches")
    model, worst = fit_steps(runs)
    return (
        f"# Fitted to {len(runs)} runs to {wanted[0]}, met within {worst:.0%}. Modelled, not measured.\n"
        f"steps_model: {{least_steps: {model.least_steps:.6g}, critical_batch: {model.critical_batch:.6g}, "
        f"staleness_penalty: {model.staleness_penalty:.6g}}}\n"
    )
