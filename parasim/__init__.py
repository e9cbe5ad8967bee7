"""parasim: how fast would this parallel SGD scheme train this network on that cluster, and what would it learn?

=================  ==================================================================
`load`             read and check a scenario file, with overrides
`load_all`         the same, a scenario per variant
`simulate`         run a scenario in virtual time
`compare`          schemes, or the variants of a file, side by side
`sweep`            a grid of scenarios on all cores
`closed_form`      what theory says of one step of it
`Scenario`         what `load` returns
`Result`           what `simulate` and `calibration.execute` return
`Record`           the choices of a real run, for `simulate(scenario, replay=record)`
`Scheme`           base class of all schemes
`SCHEMES`          the schemes by name
`ParasimError`     base of all errors; `ScenarioError`, `ProgramError`, `DeadlockError`,
                   `CalibrationError`, `ExecutionError`
`ScenarioWarning`  something in a file or an override has no effect
=================  ==================================================================

Names are imported when they are first used, so that `import parasim` is quick and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from parasim.errors import (
    CalibrationError,
    DeadlockError,
    ExecutionError,
    ParasimError,
    ProgramError,
    ScenarioError,
    ScenarioWarning,
)

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.program.scheme import Scheme
    from parasim.scenario.load import load, load_all
    from parasim.scenario.model import Scenario
    from parasim.schemes import SCHEMES
    from parasim.study.compare import compare
    from parasim.study.simulate import simulate
    from parasim.study.sweep import sweep
    from parasim.study.theory import closed_form
    from parasim.trace.record import Record

__all__ = [
    "SCHEMES",
    "CalibrationError",
    "DeadlockError",
    "ExecutionError",
    "ParasimError",
    "ProgramError",
    "Record",
    "Result",
    "Scenario",
    "ScenarioError",
    "ScenarioWarning",
    "Scheme",
    "closed_form",
    "compare",
    "load",
    "load_all",
    "simulate",
    "sweep",
]

_HOMES = {
    "SCHEMES": "parasim.schemes",
    "Record": "parasim.trace.record",
    "Result": "parasim.metrics.result",
    "Scenario": "parasim.scenario.model",
    "Scheme": "parasim.program.scheme",
    "closed_form": "parasim.study.theory",
    "compare": "parasim.study.compare",
    "load": "parasim.scenario.load",
    "load_all": "parasim.scenario.load",
    "simulate": "parasim.study.simulate",
    "sweep": "parasim.study.sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
