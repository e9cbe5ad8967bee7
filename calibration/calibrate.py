"""`parasim calibrate`: probe this machine in rounds, write down what was found, fit a profile.

Rounds are interleaved: the whole plan runs again and again, so that a machine that becomes slower does so for every
probe. Each turn of a probe is in the journal when it is done; started again, a calibration goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from calibration.checking.machine import load_average, this_machine
from calibration.fitting.session import Journal, Turn, read_journals, suffixed
from calibration.probes.plan import BUDGET, PLAN, ROUNDS, Probe, chosen
from calibration.probes.record import Skipped, Task
from calibration.probes.state import busy_share, read_ticks, stolen_share
from parasim.cluster.profile_file import load_profile, save_profile
from parasim.errors import CalibrationError, ScenarioError

if TYPE_CHECKING:
    from calibration.fitting.checks import Agreement
    from parasim.cluster.profile import Profile
    from parasim.scenario.model import Scenario

__all__ = ["BOTH", "Calibration", "Options", "calibrate", "refit", "refit_halves"]

Watch = Callable[[int, int, str], None]
"""Told how many turns are done, of how many, and which is next."""

BOTH = "both"
"""Halves of the rounds, each fitted by itself."""

_LOOK = 0.2
"""Seconds for which a round begins by watching what else runs."""

_MAX_ROUNDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to calibrate.

    Attributes
    ----------
    only
        Groups of probes to run (`calibration.probes.plan.GROUPS`); none: all. A profile that is there already keeps the
        parts that the others measured.
    budget
        Seconds that all rounds together take, about.
    rounds
        How often the plan is run.
    half
        "odd" or "even": fit these rounds only.
    device
        What the profile is to describe: "cpu", a core of this machine; or "cuda", its first GPU.
    seed
        Of what the probes draw, and of the resampling.
    name
        Of the machine; default: the name of the file.
    keep_journal
        Leave the journal beside the profile, to be fitted again.
    """

    only: tuple[str, ...] = ()
    budget: float = BUDGET
    rounds: int = ROUNDS
    half: str | None = None
    device: str = "cpu"
    seed: int = 0
    name: str | None = None
    keep_journal: bool = False


def calibrate(
    out: str | Path,
    scenarios: Sequence[Scenario] = (),
    options: Options | None = None,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    plan: tuple[Probe, ...] = PLAN,
) -> Profile:
    """Probe this machine, fit a profile and write it.

    Parameters
    ----------
    out
        The profile's file; the journal is beside it, with ".part" after the name.
    scenarios
        Networks whose own blocks are probed too.
    options
        How.
    watch
        Told of every turn.
    say
        Told what the user should know: turns that are continued or dropped.
    plan
        The probes.

    Returns
    -------
    Profile
        As written.

    Raises
    ------
    ScenarioError
        If an option is wrong, or a file can't be written or is of another use.
    CalibrationError
        If what was measured can't be fitted.
    """
    with Calibration(out, scenarios, options, say=say, plan=plan) as calibration:
        for number in range(calibration.rounds):
            calibration.round(number, watch)
        return calibration.finish()


class Calibration:
    """A calibration whose rounds are run one by one, with whatever else between them; use it in a `with` statement.

    What :func:`calibrate` does at a stretch: :meth:`round` for each number from 0 on, then :meth:`finish`. It raises
    what that does.

    Parameters
    ----------
    out, scenarios, options, say, plan
        As :func:`calibrate` takes them.
    """

    def __init__(
        self,
        out: str | Path,
        scenarios: Sequence[Scenario] = (),
        options: Options | None = None,
        *,
        say: Callable[[str], None] | None = None,
        plan: tuple[Probe, ...] = PLAN,
    ) -> None:
        self._out, self._options, self._scenarios = Path(out), options or Options(), tuple(scenarios)
        self._probes = _checked(self._out, self._options, plan)
        self._old = load_profile(self._out) if self._options.only and self._out.exists() else None
        self._about = _about(scenarios, self._options, self._probes)
        self._journal = Journal(suffixed(self._out), self._about)
        self._say = say or (lambda _: None)
        self._done: set[tuple[str, int]] = set()

    @property
    def rounds(self) -> int:
        """How many there are to be."""
        return self._options.rounds

    def __enter__(self) -> Calibration:
        journal = self._journal.__enter__()
        if journal.continued:
            self._say(f"{journal.path}: {journal.continued} turns of probes were done before; going on")
        if journal.dropped:
            self._say(f"{journal.path}: begun anew, without {journal.dropped}")
        self._done = {(turn.probe, turn.round) for turn in journal.turns}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)

    def round(self, number: int, watch: Watch | None = None) -> None:
        """Run every probe once, but for the turns that the journal holds."""
        whole = sum(probe.share for probe in self._probes)
        busy: float | None = None
        for probe in self._probes:
            turn = (probe.name, number)
            if turn in self._done:
                continue
            if watch is not None:
                of = self.rounds * len(self._probes)
                watch(len(self._done), of, f"round {number + 1} of {self.rounds}: {probe.name}")
            if busy is None:
                busy = busy_share(_LOOK)
            budget = self._options.budget / self.rounds * probe.share / whole
            seed = int.from_bytes(hashlib.sha256(f"{self._options.seed}/{probe.name}/{number}".encode()).digest()[:6])
            self._journal.add(_turn(probe, Task(number, budget, seed, self._scenarios), busy))
            self._done.add(turn)

    def finish(self) -> Profile:
        """Fit the profile and write it; the journal goes, unless it is to be kept."""
        journal = self._journal
        try:
            profile = _fitted(self._out, self._about, journal.turns, self._options, self._old)
        except CalibrationError as error:
            kept = f"{journal.path} keeps what was measured; a larger --budget, or more --rounds, measures anew"
            raise CalibrationError(f"{error} ({kept})") from None
        if not self._options.keep_journal:
            journal.remove()
        return profile


def refit(journals: Sequence[str | Path], out: str | Path, options: Options | None = None) -> Profile:
    """Fit a profile from journals that `keep_journal` left, without measuring, and write it.

    A machine whose tempo changes between calibrations is better known from several of them, fitted together. (Rounds
    count as independent: intervals tell how well the middle is known, not how far one hour is from another.)

    Raises
    ------
    ScenarioError, CalibrationError
        As :func:`calibrate` does.
    """
    options = options or Options()
    _check_half(options)
    _check_out(Path(out))
    about, turns = read_journals(journals)
    return _fitted(Path(out), about, turns, options, None)


def refit_halves(
    journals: Sequence[str | Path], out: str | Path, options: Options | None = None
) -> tuple[tuple[Path, Path], Agreement]:
    """Fit the odd rounds of journals and the even ones, and see how far the two profiles agree.

    They are written to `out` with "-odd" and "-even" before its ending. As the rounds took turns, such profiles are of
    one machine: what they differ by is what intervals are for.

    Raises
    ------
    ScenarioError, CalibrationError
        As :func:`refit` does.
    """
    from calibration.fit import HALVES
    from calibration.fitting.checks import agreement

    out, options = Path(out), options or Options()
    places = tuple(out.with_name(f"{out.stem}-{half}{out.suffix}") for half in HALVES)
    odd, even = (
        refit(journals, place, replace(options, half=half)) for half, place in zip(HALVES, places, strict=True)
    )
    return (places[0], places[1]), agreement(odd, even)


def _turn(probe: Probe, task: Task, busy: float | None) -> Turn:
    load, before, started = load_average(), read_ticks(), time.monotonic()
    skipped = ""
    try:
        observations = tuple(probe.function(task))
    except Skipped as reason:
        observations, skipped = (), str(reason)
    return Turn(
        probe.name,
        task.round,
        observations,
        skipped,
        time.monotonic() - started,
        busy,
        stolen_share(before, read_ticks()),
        load,
    )


def _checked(out: Path, options: Options, plan: tuple[Probe, ...]) -> tuple[Probe, ...]:
    """The probes to run; whatever is wrong is said before anything runs."""
    probes = chosen(options.only, plan, options.device)
    _check_half(options)
    if not 2 <= options.rounds <= _MAX_ROUNDS:
        raise ScenarioError(f"--rounds: {options.rounds} must be from 2 to {_MAX_ROUNDS}: intervals come from rounds")
    if options.half is not None and options.rounds < 4:
        raise ScenarioError(f"--half: half of {options.rounds} rounds gives no intervals: write --rounds 4 or more")
    if not 0 < options.budget < float("inf"):
        raise ScenarioError(f"--budget: {options.budget} must be above 0 s")
    if options.device not in ("cpu", "cuda"):
        raise ScenarioError(f"--device: {options.device!r} is neither cpu nor cuda")
    _check_out(out)
    return probes


def _check_out(out: Path) -> None:
    if out.suffix != ".json":
        raise ScenarioError(f"--out: {out}: the file of a profile ends in .json, as scenarios name it")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ScenarioError(f"--out: {out.parent} is no folder that can be written to: make it, or choose another")
    if out.is_dir():
        raise ScenarioError(f"--out: {out} is a folder: name a file")


def _check_half(options: Options) -> None:
    if options.half not in (None, "odd", "even"):
        raise ScenarioError(f"--half: {options.half!r} is neither odd nor even")


def _about(scenarios: Sequence[Scenario], options: Options, probes: Sequence[Probe]) -> dict[str, Any]:
    """What is measured, on which machine: all that a profile's provenance says, but for when."""
    networks = [json.dumps(scenario.document["workload"], sort_keys=True, default=str) for scenario in scenarios]
    return {
        "machine": {**this_machine(), "memory": _memory(), "system": _system(), **_gpu(options.device)},
        "device": options.device,
        "versions": {
            "python": platform.python_version(),
            "torch": version("torch"),
            "parasim": version("parasim"),
        },
        "probes": {probe.name: probe.share for probe in probes},
        "only": list(options.only),
        "scenarios": [scenario.name for scenario in scenarios],
        "workloads": hashlib.sha256("\n".join(networks).encode()).hexdigest()[:16],
        "rounds": options.rounds,
        "budget": options.budget,
        "seed": options.seed,
    }


def _fitted(
    out: Path, about: Mapping[str, Any], turns: Sequence[Turn], options: Options, old: Profile | None
) -> Profile:
    from calibration.fit import fit, merged

    provenance = {
        **about,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["parasim", *sys.argv[1:]]),
        **({} if options.half is None else {"half": options.half}),
    }
    profile = fit(provenance, turns, options.name or out.stem, options.half)
    if old is not None:
        profile = merged(old, profile, options.only)
    save_profile(profile, out)
    return profile


def _gpu(device: str) -> dict[str, Any]:
    """What kind of GPU the machine has, how many, and bytes of memory of one; nothing if it is not of interest."""
    if device != "cuda":
        return {}
    import torch

    if not torch.cuda.is_available():
        raise ScenarioError("--device cuda: torch finds no GPU: leave it out, or install torch for CUDA")
    facts = torch.cuda.get_device_properties(0)
    return {"gpu": facts.name, "gpus": torch.cuda.device_count(), "gpu_memory": float(facts.total_memory)}


def _memory() -> float:
    """Bytes of memory that the machine has."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
