"""Runs on real processes: of any cast, and of scenarios."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from calibration.executor.album import read_snapshots
from calibration.executor.pool import Answer, Pool, default_pool
from calibration.executor.returns import decode
from calibration.executor.seats import Seat
from parasim.errors import ScenarioError
from parasim.metrics.info import RunInfo
from parasim.metrics.result import Result
from parasim.metrics.summary import summary
from parasim.program.cast import Cast
from parasim.study.build import as_run, build_cast, build_learner, data_facts, device_facts, group_figures, identity
from parasim.study.evaluation import Evaluations
from parasim.study.modelled import modelled
from parasim.trace.merge import merge
from parasim.trace.record import Record
from parasim.trace.rows import Row
from parasim.trace.table import Trace

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["Outcome", "execute", "outcome_of", "run_cast"]


_IMPORTS = {"digits": ("sklearn.datasets",), "image_folder": ("PIL.Image",)}
"""What takes long to import, by kind of data."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its trace, what each rank's main program returned, and the choices of each rank."""

    trace: Trace
    returns: tuple[Any, ...]
    record: Record


def run_cast(
    factory: str,
    arguments: Mapping[str, Any],
    size: int,
    *,
    pool: Pool | None = None,
    seats: Sequence[Seat] | None = None,
) -> Outcome:
    """Run any cast on processes of this machine.

    Parameters
    ----------
    factory
        "module:function", importable in this process; called in each rank, it replies with a `Setup`.
    arguments
        Its keyword arguments, JSON values.
    size
        Number of ranks: the actors of the cast.
    pool
        Where ranks come from; by default the pool of this process.
    seats
        Where each rank runs: `calibration.testbed.Testbed.seats`; by default in the network of this process.

    Raises
    ------
    DeadlockError, ProgramError, ExecutionError
        If the programs wait for ever, break the language, or fail otherwise.
    """
    return outcome_of((pool or default_pool()).run(factory, arguments, size, seats=seats))


def outcome_of(answers: Sequence[Answer], meta: Mapping[str, Any] | None = None) -> Outcome:
    """The answers of all ranks, put together.

    The record says how fast each rank's core was meanwhile ("cores", see `calibration.executor.gauge`), and where
    several machines took part, what is known of their "clocks".
    """
    clocks = [answer.message["clock"] for answer in answers]
    rows = [[Row(*values) for values in json.loads(answer.blobs[0])] for answer in answers]
    return Outcome(
        merge(rows),
        tuple(decode(answer.message["returned"], answer.blobs) for answer in answers),
        Record(
            [json.loads(answer.blobs[1]) for answer in answers],
            {
                **(meta or {}),
                **({"clocks": clocks} if any(clocks) else {}),
                "cores": [answer.message["cores"] for answer in answers],
            },
        ),
    )


def execute(
    scenario: Scenario,
    *,
    compute: Literal["real", "paced"] | None = None,
    pool: Pool | None = None,
    record: str | Path | None = None,
) -> Result | None:
    """Run a scenario for real, over torch.distributed.

    Parameters
    ----------
    scenario
        What `parasim.load` returned.
    compute
        "real" trains the network, "paced" takes the modelled time for each compute, and trains within it if the
        scenario learns; by default as the file says.
    pool
        Where the ranks come from; by default the pool of this process. In a process that torchrun started, it
        is one of the ranks itself.
    record
        Write the choices of the run to this file, for replay.

    Returns
    -------
    Result
        As of `parasim.simulate`, with the clock "real"; under torchrun None on all ranks but rank 0. `returns` holds
        numpy arrays in the place of buffers with values.

    Raises
    ------
    DeadlockError, ProgramError, ExecutionError
        If the programs wait for ever, break the language, or a process fails.
    ScenarioError
        If it can't be run like this: real computing without data, a number of ranks that is not torchrun's.
    """
    from calibration.executor.torchrun import started_by_torchrun, take_part_in_world

    started = time.perf_counter()
    scheme, run = scenario.scheme, scenario.run
    arguments = {
        "document": scenario.document,
        "source": scenario.source,
        "compute": compute or scenario.execute.compute,
    }
    size = len(Cast(scheme.roles(), scheme.groups()))
    meta = {"scenario": scenario.name, **identity(scenario)}
    factory = "calibration.executor.setup:from_scenario"
    shaped = scenario.execute.network == "shaped"
    if pool is None and started_by_torchrun():
        if shaped:
            raise ScenarioError(
                f"{scenario.source}: execute.network: 'shaped' is built by the one process that starts all ranks, and"
                " torchrun has started these: write execute: {network: loopback}, or leave torchrun away"
            )
        answers = take_part_in_world(factory, arguments, size)
    else:
        imports = _IMPORTS.get(scenario.workload.data_kind or "", ())
        seats = _seats(scenario) if shaped else None
        answers = (pool or default_pool()).run(factory, arguments, size, imports, seats)
    if answers is None:
        return None
    outcome = outcome_of(answers, meta)
    if record is not None:
        outcome.record.save(record)
    scenario = as_run(scenario, outcome.trace)
    info = RunInfo(
        scenario=scenario.name,
        scheme=scheme.name,
        clock="real",
        workers=scheme.options.workers,
        batch_size=scenario.workload.batch_size,
        seen=scenario.samples,
        seed=run.seed,
        **device_facts(scenario.cluster.build(), scenario.placement),
        data=data_facts(scenario),
        wall_seconds=time.perf_counter() - started,
        simulation_seconds=max((row.t_end for row in outcome.trace), default=0.0),
        batches_per_step=1,
        own_pace=scenario.own_pace,
        facts=scheme.facts(),
    )
    trace = outcome.trace if run.trace == "rows" else outcome.trace.fold()
    figures = {**summary(outcome.trace, info), **_evaluated(scenario, answers, outcome.trace)}
    figures |= group_figures(scenario, scenario.cluster.build(), trace, figures["steps"])
    if run.steps_model is not None:
        figures["modelled"] = modelled(run.steps_model, figures)
    return Result(figures, trace, outcome.returns, outcome.record)


def _evaluated(scenario: Scenario, answers: Sequence[Answer], trace: Trace) -> dict[str, Any]:
    """Figures of the models whose pieces the ranks have handed over; none if nothing was learned, or asked for."""
    if scenario.run.evaluate is None:
        return {}
    from parasim.learning.build import pin_threads

    pin_threads()
    model = scenario.workload.model
    evaluations = Evaluations(scenario, build_cast(scenario), build_learner(scenario))
    evaluations.add_all(
        taken for answer in answers for taken in read_snapshots(answer.message["snapshots"], answer.blobs, model)
    )
    return evaluations.figures(trace, scenario.samples)


def _seats(scenario: Scenario) -> list[Seat]:
    """Seats on the scenario's network, with the bandwidths as they are called."""
    from calibration.testbed import standing_testbed

    cluster = replace(scenario.cluster, goodput=1.0).build()
    return standing_testbed(cluster, scenario.placement).seats(scenario.placement)
