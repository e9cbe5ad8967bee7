"""The summary of a run: every figure of a trace, with what the trace can't know.

* `seconds`: from 0 to the largest end of a row of the role "worker" (of all roles, if there is none). Notes count; the
  "closed" rows of daemons, which end with whoever comes last, do not.
* `steps`: "step" rows of a worker; the maximum over workers. If they differ, `steps_per_worker` lists them by rank.
* `samples_per_second`, and the same `_while_all_work`: parasim/metrics/rates.py.
* Figures per worker are means over the role "worker", per step over each worker's own steps (over `steps`, if it logged
  none); the maximum over workers stands under the same name in `max`. Other roles have the same figures under `roles`.
* `updates`: by gradients, of the parameter copy that had most; gradients applied at one version are one update.
  Those of a shared copy are of all who write to it.
* Bytes and messages are payload; header-only messages are the `control_` figures. Native collectives claim none.
* `shares` and `overlapped` (seconds per worker and step): parasim/metrics/shares.py.
* `fast_paths`: of simulated runs, for `chorus` and `tapes` (parasim/simulation) "taken" or why not; and where actors
  went one by one, how many `collectives` went without their messages, began so, or did not.
* `device_memory_bytes`: of the smallest device; `does_not_fit`: the actor that exceeds its own device most, or None.
* `cancelled_seconds`: time of computes that were cancelled, per worker, in the whole run.
* `batches`: only where sizes are chosen while it runs: from which step on a worker's batch had how many samples.
* `members`, `ensemble`: of schemes that train several models (parasim/metrics/members.py); else left out.
* `lost_updates`, `torn_reads`: of shared memory, in the whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from parasim.metrics.figures import figures
from parasim.metrics.info import RunInfo
from parasim.metrics.losses import first_and_last_loss
from parasim.metrics.members import members_of
from parasim.metrics.rates import rate_figures
from parasim.metrics.staleness import all_staleness
from parasim.trace.aggregate import Alike
from parasim.trace.sinks import Foldable

__all__ = ["summary"]

_WORKER = "worker"


def summary(trace: Foldable, info: RunInfo) -> dict[str, Any]:
    """All figures of a run, under the names of DESIGN section 8, ready for JSON.

    Times in seconds, sizes in bytes. Figures per step of a run without steps, and the staleness of no gradients,
    are None. Keys of the staleness histogram are whole numbers.
    """
    everyone = trace.fold().alike
    roles: dict[str, list[Alike]] = {}
    for alike in everyone:
        roles.setdefault(alike.totals.role, []).append(alike)
    team = roles.pop(_WORKER, everyone)
    seconds = max([totals.end for totals, _ in team], default=0.0)
    steps_of: Counter[int] = Counter()
    for totals, ranks in team:
        steps_of[totals.steps] += len(ranks)
    steps = max(steps_of, default=0)
    sizes = team[0].totals.sizes if team else []
    return {
        "scenario": info.scenario,
        "scheme": info.scheme,
        "clock": info.clock,
        "workers": info.workers,
        "steps": steps,
        "steps_per_worker": _by_rank(team) if len(steps_of) > 1 else None,
        "seconds": seconds,
        "seconds_per_step": seconds / steps if steps else None,
        **rate_figures(team, steps_of, info, seconds),
        **figures(team, steps, seconds, "_per_worker"),
        "staleness": all_staleness(trace).as_dict(),
        "data": None if info.data is None else dict(info.data),
        "loss": first_and_last_loss(trace),
        "updates": _updates(everyone),
        "lost_updates": sum(totals.lost_updates * len(ranks) for totals, ranks in everyone),
        "torn_reads": sum(totals.torn_reads * len(ranks) for totals, ranks in everyone),
        "roles": {role: _role(roles[role], steps, seconds) for role in sorted(roles)},
        "device_memory_bytes": min(info.device_memory_bytes, default=None),
        "does_not_fit": _does_not_fit(everyone, info.device_memory_bytes),
        "collectives": None if info.collectives is None else dict(info.collectives),
        "events": info.events,
        **({} if info.fast_paths is None else {"fast_paths": dict(info.fast_paths)}),
        "wall_seconds": info.wall_seconds,
        "simulation_seconds": info.simulation_seconds,
        "seed": info.seed,
        "calibrated": info.calibrated and not (info.profile and info.profile["replaced"]),
        "data_sheets": list(info.data_sheets),
        **({} if info.profile is None else {"profile": dict(info.profile)}),
        **({"facts": dict(info.facts)} if info.facts else {}),
        **members_of([totals for totals, _ in everyone]),
        **({"batches": [{"step": step, "samples": size} for step, size in sizes]} if sizes else {}),
    }


def _by_rank(team: Sequence[Alike]) -> list[int]:
    """The steps of each."""
    return [steps for _, steps in sorted((rank, totals.steps) for totals, ranks in team for rank in ranks)]


def _updates(everyone: Sequence[Alike]) -> int:
    """Of the copy that had most; copies in shared memory (by part) have those of all actors."""
    shared: Counter[str] = Counter()
    for totals, ranks in everyone:
        for part, number in totals.shared_updates.items():
            shared[part] += number * len(ranks)
    return max([totals.updates for totals, _ in everyone] + list(shared.values()), default=0)


def _does_not_fit(everyone: Sequence[Alike], sizes: Sequence[float]) -> dict[str, Any] | None:
    """The actor that holds most beyond what its device does (`sizes` by rank), as a multiple of that."""
    if not sizes or not everyone or max(totals.peak_bytes for totals, _ in everyone) <= min(sizes):
        return None
    ratios = [(totals.peak_bytes / sizes[rank], -rank, totals) for totals, ranks in everyone for rank in ranks]
    _, rank, totals = max(ratios, key=itemgetter(0, 1))
    held, size, index = totals.peak_bytes, sizes[-rank], totals.index - rank - totals.rank
    return None if held <= size else {"actor": f"{totals.role} {index}", "held_bytes": held, "device_bytes": size}


def _role(alike: list[Alike], steps: int, seconds: float) -> dict[str, Any]:
    """The figures of a role other than "worker"."""
    return {
        "actors": sum(len(ranks) for _, ranks in alike),
        "updates": max(totals.updates for totals, _ in alike),
        **figures(alike, steps, seconds),
    }
