"""The survey's tables for a workload and a cluster of one's own: what every scheme costs, and how many workers pay.

All schemes are looked at with one total batch: a step of all workers together takes as many samples as that of the
file's own scheme. What the closed form says of a step stands beside what the simulator says of one far from the start
and the end of a run: the time that twice as many steps (of the file's, twenty at most) add, over their number.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.errors import ParasimError, ProgramError, ScenarioWarning
from parasim.metrics.rates import WHILE_ALL_WORK, WHOLE_RUN
from parasim.scenario.overrides import Override, apply_overrides
from parasim.scenario.reader import Tree
from parasim.scenario.tables import scheme_kinds
from parasim.study.cases import Case, failed
from parasim.study.compare import compare_cases, read_choices
from parasim.study.critical import critical_path, rates_of
from parasim.study.theory import beside_theory, closed_form

if TYPE_CHECKING:
    from parasim.program.setting import ClosedForm
    from parasim.scenario.model import Scenario

__all__ = ["analyze", "formulas_of", "limits_of"]

Entry = dict[str, Any]

_PERIODS = ("period", "local_steps", "n_push", "n_fetch", "ready")
"""Options that say how often something happens: figures per step are means over whole periods."""
_STARTS = ("burn_in",)
"""Options that say when it begins to happen."""
_MOST_STEPS = 20
"""Of the runs whose difference is the time of a step, but for whole periods: a table of all schemes is to be quick."""


def analyze(
    path: str | Path,
    schemes: str = "",
    overrides: Sequence[str] = (),
    variant: str | None = None,
    *,
    compression: float = 32.0,
    allow_code: bool = False,
    simulated: bool = True,
    watch: Callable[[int, int, str], None] | None = None,
) -> list[Entry]:
    """Analyse schemes on a file's workload and cluster.

    Parameters
    ----------
    path, schemes, overrides, variant, allow_code
        As of `parasim.study.compare.compare`; without `schemes`, all that there are.
    compression
        Z, by which gradients shrink on the wire, in the second number of workers that are worth having.
    simulated
        Simulate too, or give closed forms alone?
    watch
        Called before each scheme with the number done, the number of all, and its label.

    Returns
    -------
    list of dict
        Ready for JSON, one for each variant that is no other scheme on the same setting: `scenario`, `model`, `batch`
        (samples of a step of all workers), `limits` (:func:`limits_of`), `survey` (is the workload the survey's
        network?), and `schemes`, a row for each (:func:`_row`), or its `error`.

    Raises
    ------
    ScenarioError
        As `compare` does, and if the file's own scheme can't be used.
    """
    chosen = schemes or ",".join(sorted({kind.name for kind in scheme_kinds().values()}))
    cases = compare_cases(path, chosen, overrides, variant, allow_code=allow_code)
    choices = read_choices(chosen)
    found: list[Entry] = []
    for place, case in enumerate(cases):
        words = choices[place % len(choices)].words
        if watch is not None:
            watch(place, len(cases), case.label)
        if place % len(choices) == 0:
            found.append(_head(_own_scenario(path, overrides, case.variant or variant, allow_code), compression))
        row = {"label": words, **_analysed(case, found[-1]["batch"], simulated)}
        if found[-1]["survey"]:
            row["formulas"] = formulas_of(row["scheme"])
        found[-1]["schemes"].append(row)
    return found


def formulas_of(scheme: str) -> Entry | None:
    """The scheme's row of the survey's table, as text and as LaTeX (`parasim.theory.survey`); None if it has none."""
    from parasim.theory.survey import ROWS, written

    row = ROWS.get(scheme)
    if row is None:
        return None
    found = {"seconds": row.seconds, "bytes": row.nbytes, "staleness": row.staleness}
    shown = {name: dict(zip(("text", "latex"), written(each), strict=True)) for name, each in found.items()}
    return {**shown, "equal": row.equal, "note": row.note}


def limits_of(scenario: Scenario, batch: int, compression: float) -> Entry:
    """How many workers are worth having for `batch` samples a step, as Seide et al. (2014) ask (SCHEMES 0.3, S1.5).

    `workers` is N^ of data parallelism, where computing T_c / N takes as long as exchanging 2 P beta;
    `double_buffering` is that of equation 4 of the 1-bit SGD paper, which exchanges half a batch while the other is
    computed, and has the update; None where the update takes longer than the exchange. `compressed` are the same with
    gradients `compression` times smaller.
    """
    from parasim.learning.build import make_optimizer
    from parasim.program.setting import Setting
    from parasim.study.place import ScenarioPlace
    from parasim.theory.limits import seide_limit

    work, place, rates = scenario.workload, ScenarioPlace(scenario), rates_of(scenario)
    setting = Setting(work.model, batch, make_optimizer(*scenario.optimizer), place)
    exchange, computing = 2 * work.model.whole.nbytes * rates.byte, setting.gradient_seconds()
    update = place.seconds(setting.update_kernel())

    def limits(factor: float) -> Entry:
        wire = exchange / factor
        try:
            seide = seide_limit(batch, computing / batch, exchange, update_seconds=update, compression=factor)
        except ProgramError:
            seide = None
        return {"workers": computing / wire if wire else math.inf, "double_buffering": seide}

    return {**limits(1.0), "compression": compression, "compressed": limits(compression)}


def _own_scenario(path: str | Path, overrides: Sequence[str], variant: str | None, allow_code: bool) -> Scenario:
    from parasim.scenario.documents import read_documents
    from parasim.scenario.load import load, scenario_of
    from parasim.scenario.overrides import read_override

    documents = read_documents(path)
    if variant is None and "" not in documents.variants:  # variants that are schemes alone
        tree = documents.base if "scheme" in documents.base.data else next(iter(documents.variants.values()))
        return scenario_of(apply_overrides(tree, [read_override(text) for text in overrides]), allow_code=allow_code)
    return load(path, overrides, variant, allow_code=allow_code)


def _head(scenario: Scenario, compression: float) -> Entry:
    work = scenario.workload
    batch = work.batch_size * scenario.scheme.pipelines()
    return {
        "scenario": scenario.name,
        "model": work.model_kind,
        "batch": batch,
        "limits": limits_of(scenario, batch, compression),
        "survey": work.model_kind == "mlp" and work.data is None,
        "schemes": [],
    }


def _analysed(case: Case, batch: int, simulated: bool) -> Entry:
    """The row of a scheme, or why there is none."""
    try:
        if case.tree is None:
            raise case.failure or ParasimError("has no document")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScenarioWarning)
            scenario = _with_batch(case.tree, batch, case)
            return _row(scenario, simulated) | _scaling(case, scenario, batch)
    except Exception as error:  # whatever it is, the other rows go on
        outcome = failed(case, error)
        return {"scheme": outcome.scheme, "error": outcome.error}


def _with_batch(tree: Tree, batch: int, case: Case, workers: int | None = None) -> Scenario:
    """The scenario with as many samples per pipeline as make so large a step, at least one."""
    from parasim.scenario.load import scenario_of

    changes = [] if workers is None else [Override(("scheme", "workers"), workers, "number of workers")]
    changed = apply_overrides(tree, changes)
    scenario = scenario_of(changed, case.variant, allow_code=case.allow_code)
    samples = max(1, round(batch / scenario.scheme.pipelines()))
    if samples == scenario.workload.batch_size:
        return scenario
    change = Override(("workload", "batch_size"), samples, "total batch")
    return scenario_of(apply_overrides(changed, [change]), case.variant, allow_code=case.allow_code)


def _row(scenario: Scenario, simulated: bool) -> Entry:
    """What a scheme costs per step of all workers.

    `family`: of the scheme (:func:`family_of`); `flops`, `bytes`, `messages`: that a worker computes and sends;
    `memory`: most that it holds, in bytes; `staleness`: mean; `path`: FLOP, messages and bytes on the critical path;
    `closed_form` (an estimate above a lower bound, if there is one) and `simulated`: seconds per step, with their
    `difference` relative to the closed form; `meaning` and `note`: what the closed form is worth; `bounds`: of the
    seconds per step from below and above, where the estimate lies between two; samples per second as in a summary.
    """
    form, path = closed_form(scenario), critical_path(scenario)
    row: Entry = {
        "scheme": scenario.scheme.name,
        "family": family_of(scenario),
        "workers": scenario.scheme.options.workers,
        "samples": scenario.workload.batch_size * scenario.scheme.pipelines(),
        "approximates": approximation(scenario),
        "path": None if path is None else {"flops": path.flops, "messages": path.messages, "bytes": path.nbytes},
        "closed_form": None if form is None else _expected(form),
    }
    if not simulated:
        return row
    summary, measured = _steady(scenario)
    theory = beside_theory(scenario, summary)
    seconds = row["closed_form"]
    most = theory["quantities"].get("seconds_per_step", {}).get("at_most")
    return row | {
        "bounds": None if form is None or most is None else [form.seconds_per_step, most],
        **measured,
        "memory": summary["memory_bytes_per_worker"],
        "difference": measured["simulated"] / seconds - 1 if seconds else None,
        "meaning": "estimate" if form is not None and form.about is not None else theory["meaning"],
        "note": "; ".join([*([theory["note"]] if theory["note"] else []), *theory["broken"]]),
    }


def _expected(form: ClosedForm) -> float:
    """Seconds per step: the estimate between two bounds, where there is one."""
    return form.seconds_per_step if form.about is None else form.about


def family_of(scenario: Scenario) -> str:
    """What workers divide among them, in a few words: samples, for one model or for several, or the model."""
    place = scenario.scheme.taxonomy
    if place.concurrency not in ("data parallel", "none"):
        return "model and pipeline parallel"
    return f"data parallel, {'one model' if place.training == 'one model' else 'several models'}"


def approximation(scenario: Scenario) -> str:
    """What takes the place of sequential SGD's gradient, in words; "nothing" if nothing does."""
    compressed = ""
    if scenario.compression is not None:
        what = "models" if scenario.scheme.compresses == "models" else "gradients"
        compressed = f"compressed {what} ({scenario.compression.compressor.name})"
    return "; ".join(words for words in (scenario.scheme.approximates, compressed) if words) or "nothing"


def _steady(scenario: Scenario) -> tuple[Mapping[str, Any], Entry]:
    """The summary of a run of twice as many steps, and what the second half of it adds per step.

    The mean staleness is that of the gradients which it adds.
    """
    from dataclasses import replace

    from parasim.study.simulate import simulate

    periods = [getattr(scenario.scheme.options, name, 1) for name in _PERIODS]
    every = math.lcm(*(period for period in periods if isinstance(period, int) and period > 0))
    steps = every * -(-min(max(2, scenario.run.steps), _MOST_STEPS) // every)
    first = steps + max(getattr(scenario.scheme.options, name, 0) for name in _STARTS)
    short, long = (
        simulate(replace(scenario, run=replace(scenario.run, steps=count, learn=False, trace="aggregate")))
        for count in (first, first + steps)
    )

    def added(figure: str) -> float:
        return float((long.summary[figure] * (first + steps) - short.summary[figure] * first) / steps)

    def staleness() -> float | None:
        before, after = ({"count": 0, "mean": 0.0} | (run.summary["staleness"] or {}) for run in (short, long))
        more = after["count"] - before["count"]
        late = after["mean"] * after["count"] - before["mean"] * before["count"] if more > 0 else 0.0
        return float(max(0.0, late) / more) if more > 0 else None

    def flops(trace: Any) -> float:
        team = [actor for actor in trace.fold().actors if actor.role == "worker"]
        return math.fsum(actor.flops for actor in team) / len(team)

    return long.summary, {
        **{figure: long.summary[figure] for figure in (WHOLE_RUN, WHILE_ALL_WORK)},
        "simulated": (long.summary["seconds"] - short.summary["seconds"]) / steps,
        "flops": (flops(long.trace) - flops(short.trace)) / steps,
        "bytes": added("bytes_sent_per_worker_per_step"),
        "messages": added("messages_sent_per_worker_per_step"),
        "staleness": staleness(),
    }


def _scaling(case: Case, scenario: Scenario, batch: int) -> Entry:
    """Seconds per sample of powers of two of workers, the total batch kept, by closed form; and the best number.

    As many as the cluster has hosts, at most, and none that the scheme or the workload refuses.
    """
    found = []
    counts = [1 << power for power in range(scenario.cluster.hosts.bit_length())]
    kind = type(scenario.scheme)
    assert case.tree is not None
    for workers in [1] if kind.most_workers == 1 else counts:
        try:
            changed = _with_batch(case.tree, batch, case, workers)
            form = closed_form(changed)
        except (ParasimError, ValueError):
            continue
        if form is not None and changed.scheme.options.workers == workers:
            samples = changed.workload.batch_size * changed.scheme.pipelines()
            found.append({"workers": workers, "seconds_per_sample": _expected(form) / samples})
    best = min(found, key=lambda point: point["seconds_per_sample"], default=None)
    return {"scaling": found, "best_workers": None if best is None else best["workers"]}
