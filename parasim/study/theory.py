"""What theory says of a scenario, and how a simulated run compares with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parasim.program.setting import ClosedForm, NoClosedForm, Setting
from parasim.study.place import ScenarioPlace

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = ["beside_theory", "closed_form", "with_theory"]

QUANTITIES = (
    "seconds_per_step",
    "bytes_sent_per_worker_per_step",
    "messages_sent_per_worker_per_step",
    "staleness_mean",
)


def closed_form(scenario: Scenario) -> ClosedForm | None:
    """What theory says of one step of the scenario's scheme where its actors sit; None if it says nothing.

    With noise, the time of a synchronous step is that of the expected slowest worker.
    """
    form, _ = _ask(scenario)
    return form if isinstance(form, ClosedForm) else None


def beside_theory(scenario: Scenario, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's figures beside those of theory, ready for JSON.

    Parameters
    ----------
    scenario
        What was run.
    summary
        `Result.summary` of the run.

    Returns
    -------
    dict
        `meaning` of the time ("exact", "lower bound", "estimate"; None without closed form), `note` (what the form
        leaves out, or why there is none), `broken` (lines on what the form assumes and the scenario does not keep),
        and `quantities`: of each its `simulated` and `theory` value and their `ratio` (None where there is none);
        of the time per step also `about`, an estimate above a lower bound, and `at_most`, an upper bound.
    """
    form, place = _ask(scenario)
    if isinstance(form, NoClosedForm):
        return {"meaning": None, "note": f"no closed form: {form.reason}", "broken": [], "quantities": {}}
    broken = place.broken()
    meaning: str = form.meaning
    if broken and (meaning == "exact" or place.slowest_taken):
        meaning = "estimate"
    simulated = {**summary, "staleness_mean": (summary["staleness"] or {}).get("mean")}
    quantities = {name: _compared(simulated[name], getattr(form, name)) for name in QUANTITIES}
    quantities["seconds_per_step"] |= {"about": form.about, "at_most": None if broken else form.at_most}
    return {"meaning": meaning, "note": form.note, "broken": broken, "quantities": quantities}


def with_theory(scenario: Scenario, result: Result) -> Result:
    """The result with `beside_theory` under the key "theory" of its summary."""
    return replace(result, summary={**result.summary, "theory": beside_theory(scenario, result.summary)})


def _ask(scenario: Scenario) -> tuple[ClosedForm | NoClosedForm, ScenarioPlace]:
    from parasim.learning.build import make_optimizer

    place = ScenarioPlace(scenario)
    if scenario.compression is not None and not scenario.scheme.prices_codes:
        return NoClosedForm(f"none is known of {scenario.scheme.name} with compression"), place
    if scenario.workload.trials is not None:
        return NoClosedForm("the size of batches is chosen while it runs"), place
    workload, optimizer = scenario.workload, make_optimizer(*scenario.optimizer)
    spans = workload.batches.spans(scenario.run.steps)
    forms = [
        scenario.scheme.closed_form(Setting(workload.model, size, optimizer, place, scenario.compression))
        for size, _ in spans
    ]
    without = next((form for form in forms if isinstance(form, NoClosedForm)), None)
    if without is not None or len(forms) == 1:
        return without or forms[0], place
    told = [form for form in forms if isinstance(form, ClosedForm)]
    return _mean_form(told, [count / scenario.run.steps for _, count in spans]), place


def _mean_form(forms: Sequence[ClosedForm], weights: Sequence[float]) -> ClosedForm:
    """Of a run whose batch grows: the mean of the forms of each size, by the part of the steps that has it."""
    mean = [
        math.fsum(getattr(form, name) * weight for form, weight in zip(forms, weights, strict=True))
        for name in QUANTITIES
    ]
    bounded = all(form.meaning == "lower bound" for form in forms)
    note = "the mean over the sizes of a growing batch"
    return ClosedForm(mean[0], mean[1], mean[2], mean[3], "lower bound" if bounded else "estimate", note=note)


def _compared(simulated: float | None, theory: float) -> dict[str, float | None]:
    """The ratio of nothing to nothing is one."""
    if math.isnan(theory):
        return {"simulated": simulated, "theory": None, "ratio": None}
    ratio = None
    if simulated is not None and (theory or not simulated):
        ratio = simulated / theory if theory else 1.0
    return {"simulated": simulated, "theory": theory, "ratio": ratio}
