"""The cases of a cross-check: scenarios of a file or of a folder of files, each with the group that it counts in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.checking.bounds import LOOPBACK, OVERSUBSCRIBED, SHAPED
from parasim.errors import ScenarioError
from parasim.scenario import load, load_all
from parasim.study.identity import by_contents, digest

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["CheckCase", "case_of", "read_cases", "run_identity"]

_RUN = ("workload", "cluster", "scheme", "optimizer", "run", "execute")
_SETTING = ("workload", "cluster", "execute")
_SYNCHRONOUS = "0"


@dataclass(frozen=True, slots=True)
class CheckCase:
    """One scenario that is run for real and simulated.

    Attributes
    ----------
    name
        Of its file, and of its variant after a slash.
    scenario
        The scenario.
    identity
        Equal for runs of equal scenarios, whatever they are called.
    setting
        Equal for cases with the same workload, cluster and way to run: those whose schemes are ranked.
    group
        Whose bounds hold (calibration/checking/bounds.py).
    asynchronous
        Is its staleness bounded too?
    """

    name: str
    scenario: Scenario
    identity: str
    setting: str
    group: str
    asynchronous: bool

    @property
    def ranks(self) -> int:
        """Number of actors."""
        return len(self.scenario.placement)


def run_identity(scenario: Scenario) -> str:
    """What tells the runs of scenarios apart: all that their documents say but names, their own and those of files."""
    said = by_contents({section: scenario.document.get(section) for section in (*_RUN, "compression")})
    compression = said.pop("compression")
    return digest([*said.values(), *([] if compression is None else [compression])])


def case_of(scenario: Scenario, name: str, cores: int) -> CheckCase:
    """The case of a scenario on a machine with so many cores."""
    shaped = scenario.execute.network == "shaped"
    ranks = len(scenario.placement)
    return CheckCase(
        name,
        scenario,
        run_identity(scenario),
        digest([scenario.document.get(section) for section in _SETTING]),
        SHAPED if shaped else LOOPBACK if ranks <= cores else OVERSUBSCRIBED,
        scenario.scheme.staleness != _SYNCHRONOUS and ranks > 1,
    )


def read_cases(
    path: str | Path,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    *,
    cores: int,
    allow_code: bool = False,
) -> list[CheckCase]:
    """Read the scenarios of a file, or of all .yaml files of a folder in the order of their names.

    Parameters
    ----------
    path, overrides, variant, allow_code
        As `parasim.load` takes them; overrides hold for every scenario.
    cores
        Of the machine that they run on.

    Raises
    ------
    ScenarioError
        If one of them is wrong, there are none, or two are the same run.
    """
    place = Path(path)
    files = sorted([*place.glob("*.yaml"), *place.glob("*.yml")]) if place.is_dir() else [place]
    if not files:
        raise ScenarioError(f"{place}: has no scenarios: the folder must hold .yaml files")
    if variant is not None and len(files) > 1:
        raise ScenarioError(f"--variant: {place} is a folder of {len(files)} files; name the file that has {variant!r}")
    cases: list[CheckCase] = []
    known: dict[str, str] = {}
    named: dict[str, Path] = {}
    for file in files:
        if variant is None:
            scenarios = load_all(file, overrides, allow_code=allow_code)
        else:
            scenarios = [load(file, overrides, variant, allow_code=allow_code)]
        for scenario in scenarios:
            name = f"{file.stem}/{scenario.variant}" if scenario.variant else file.stem
            case = case_of(scenario, name, cores)
            if (before := named.setdefault(name, file)) != file:
                raise ScenarioError(
                    f"{file}: its case {name!r} is called like that of {before}: rename one of the files"
                )
            if (other := known.setdefault(case.identity, name)) != name:
                raise ScenarioError(f"{file}: case {name!r} is the same run as {other!r}: leave one of them out")
            cases.append(case)
    return cases
