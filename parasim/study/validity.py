"""Does a simulated run stay within what its profiles were fitted on? (Kernels: parasim/cluster/curves.py.)"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from parasim.errors import ScenarioWarning
from parasim.trace.sinks import Foldable

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["warn_outside"]

_WORDS = {
    "ranks": "as many ranks on one host",
    "threads": "as many threads of a process",
    "message_bytes": "bytes per message of an actor, on average",
}


def warn_outside(scenario: Scenario, trace: Foldable) -> None:
    """Say what of a finished run a profile does not cover, a line for each quantity.

    Parameters
    ----------
    scenario
        What was simulated; without a profile there is nothing to say.
    trace
        Of the run.

    Warns
    -----
    ScenarioWarning
        Naming the quantity, its value, and the range of the fit.
    """
    for profile in scenario.cluster.profiles:
        if profile.dtype != scenario.workload.dtype:
            what = f"computing was measured in {profile.dtype}, the workload computes in {scenario.workload.dtype}"
            _warn(f"profile {profile.name}: {what}: calibrate with this scenario")
        for quantity, value in _values(scenario, trace):
            least, most = profile.validity.get(quantity, (value, value))
            if not least <= value <= most:
                what = f"{value:.4g} {_WORDS[quantity]} is outside of what it was fitted on, {least:.4g} to {most:.4g}"
                _warn(f"profile {profile.name}: {what}: take the prediction with care")


def _values(scenario: Scenario, trace: Foldable) -> Iterator[tuple[str, float]]:
    yield "ranks", max(Counter(scenario.placement).values())
    yield "threads", scenario.execute.threads
    sizes = [totals.bytes_sent / totals.messages_sent for totals, _ in trace.fold().alike if totals.messages_sent]
    for size in sorted({min(sizes), max(sizes)}) if sizes else ():
        yield "message_bytes", size


def _warn(text: str) -> None:
    warnings.warn(text, ScenarioWarning, stacklevel=3)
