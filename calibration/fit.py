"""From a journal to a profile: every number with its interval, and flags on what should not be trusted.

Each part of a profile comes from probes of its own; a part whose probes did not run is left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from calibration.fitting.checks import busy_flags, drift_flags, undisturbed, wide_flags
from calibration.fitting.curves import fit_blocks, fit_contention, fit_drift, fit_kernels, fit_peaks
from calibration.fitting.jackknife import LEAST_ROUNDS, jackknife
from calibration.fitting.jitter import fit_jitter
from calibration.fitting.messages import IDLE, MESSAGES, NATIVE, fit_messages
from calibration.fitting.noise_laws import LEAST, choose_law
from calibration.fitting.session import Turn, observations_of
from calibration.fitting.shaped import fit_shaped
from calibration.probes.record import of_kind
from calibration.probes.shaped import SHAPED, testbed_settings
from parasim.cluster.handling import Handling
from parasim.cluster.profile import LOOPBACK, Number, Profile, Transport
from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.probes.record import Observation

_Value = TypeVar("_Value")

__all__ = ["HALVES", "fit", "merged"]

HALVES = ("odd", "even")
"""Of the rounds, counted from 1."""

_LIKE = 5
"""Single times of one kind and round whose mean says something."""
_MOST_FACTORS = 800
_COMPUTES = ("layers", "verbs", "optimizers")
_PEAKS = ("flops", "stream")
_MESSAGES = ("links", "pairs", "collectives", "operations")

_COMPUTING = ("flops", "memory_bandwidth", "dtype", "kernels", "blocks")
_MOVING = ("handling", "idle", "native", "joint", "transports")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "compute": _COMPUTING,
    "contention": ("contention",),
    "links": _MOVING,
    "collectives": _MOVING,
    "overheads": _MOVING,
}
"""Fields of a profile that a group of probes gives."""


@dataclass(slots=True)
class _Found:
    """What was fitted so far."""

    values: dict[str, Any] = field(default_factory=dict)
    validity: dict[str, tuple[float, float]] = field(default_factory=dict)
    drift: dict[str, Number] = field(default_factory=dict)
    noise: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)


def fit(about: Mapping[str, Any], turns: Sequence[Turn], name: str, half: str | None = None) -> Profile:
    """The profile that a journal's turns give.

    Parameters
    ----------
    about
        Of the journal: `machine`, `versions`, `seed` and whatever else; it goes into the provenance.
    turns
        Of the journal.
    name
        Of the machine, for outputs.
    half
        "odd" or "even": fit these rounds alone, counted from 1.

    Raises
    ------
    CalibrationError
        If there are fewer than two rounds, nothing was measured that a profile needs, or data can't be fitted.
    """
    if half is not None:
        turns = [turn for turn in turns if HALVES[turn.round % 2] == half]
    rounds = sorted({turn.round for turn in turns if turn.observations})
    if len(rounds) < LEAST_ROUNDS:
        which = f" {half}" if half else ""
        raise CalibrationError(
            f"{len(rounds)}{which} rounds were measured, {LEAST_ROUNDS} are needed for intervals: calibrate in more"
        )
    turns, left_out = undisturbed(turns)
    probes: dict[str, list[Observation]] = {}
    for turn in turns:
        probes.setdefault(turn.probe, []).extend(turn.observations)
    machine, seed = about["machine"], int(about["seed"])
    found = _Found(flags=[*left_out, *busy_flags(turns), *drift_flags(observations_of(turns))])
    _computes(found, probes, seed)
    _messages(found, probes, int(machine["cores"]), seed)
    _jitter(found, probes)
    skipped = {turn.probe: turn.skipped for turn in turns if turn.skipped}
    profile = Profile(
        name=name,
        cores=machine.get("gpus", machine["cores"]),
        memory=machine.get("gpu_memory", machine["memory"]),
        drift=found.drift,
        noise=found.noise,
        validity=found.validity,
        provenance={
            **about,
            "rounds": [number + 1 for number in rounds],
            "seconds": sum(turn.seconds for turn in turns),
            "busy": _most([turn.busy for turn in turns]),
            "stolen": _most([turn.stolen for turn in turns]),
            "load": _most([turn.load for turn in turns]),
            "skipped": skipped,
        },
        **found.values,
    )
    warnings = [*found.flags, *wide_flags(profile)]
    return replace(profile, provenance={**profile.provenance, "warnings": warnings})


def merged(old: Profile, new: Profile, groups: Sequence[str]) -> Profile:
    """The old profile with the parts of the new one that some groups of probes were run for.

    Raises
    ------
    CalibrationError
        If they are of different machines.
    """
    mine, yours = (profile.provenance.get("machine") for profile in (old, new))
    if mine != yours:
        raise CalibrationError(
            f"profile {old.name} is of another machine ({mine}): calibrate all of it, without --only"
        )
    given = {name for group in groups for name in _PARTS[group]}
    kept = {name: getattr(old, name) for names in _PARTS.values() for name in names if name not in given}
    kept |= {name: {**getattr(old, name), **getattr(new, name)} for name in ("drift", "noise", "validity")}
    before = {key: value for key, value in old.provenance.items() if key != "before"}
    return replace(new, **kept, provenance={**new.provenance, "before": before})


def _computes(found: _Found, probes: Mapping[str, Sequence[Observation]], seed: int) -> None:
    gpu = probes.get("cuda", ())
    flops, bandwidth = fit_peaks([*probes.get("peaks", ()), *of_kind(gpu, *_PEAKS)], seed)
    found.values |= {"flops": flops, "memory_bandwidth": bandwidth}
    found.validity["threads"] = (1.0, 1.0)
    computes = [observation for name in _COMPUTES for observation in probes.get(name, ())]
    computes += [observation for observation in gpu if observation.kind not in _PEAKS]
    if computes:
        kernels = fit_kernels(computes, flops.value, bandwidth.value, seed)
        found.values["kernels"] = kernels.tables
        found.flags += kernels.flags
        try:
            found.drift["compute"] = fit_drift(of_kind(probes.get("blocks", ()), "block") or computes, seed)
        except CalibrationError as error:
            found.flags.append(f"computes: {error}")
    if probes.get("blocks"):
        blocks = fit_blocks(probes["blocks"], seed)
        found.values["blocks"] = blocks.tables
        found.flags += blocks.flags
    if probes.get("contention"):
        found.values["contention"] = fit_contention(probes["contention"], seed)


def _messages(found: _Found, probes: Mapping[str, Sequence[Observation]], cores: int, seed: int) -> None:
    observations = [observation for name in _MESSAGES for observation in probes.get(name, ())]
    if not observations:
        return
    costs = fit_messages(MESSAGES, observations, cores, seed)
    numbers, idle = _apart(costs.numbers)
    handling = Handling(**{name: number.value for name, number in {**idle, **numbers}.items()})
    on_idle = Handling(**{name: number.value for name, number in {**numbers, **idle}.items()})
    found.values |= {"handling": {**idle, **numbers}, "idle": idle}  # what computing cores do is else as on idle ones
    apart = [_apart(values) for values in costs.joint]
    found.values["joint"] = joint = {"handling": tuple([{**other, **own} for own, other in apart])}
    joint["idle"] = tuple([other for _, other in apart])
    found.drift["handling"] = costs.drift
    if (law := fit_jitter(observations, on_idle, cores)) is None:
        found.flags.append("too few single messages tell no law of noise of handling: give more --budget")
    else:
        found.noise["handling"] = law
    found.flags += costs.warnings
    if any(observation.kind in NATIVE.patterns for observation in observations):
        native = fit_messages(NATIVE, observations, cores, seed, handling=handling)
        found.values["native"] = native.numbers
        joint["native"] = native.joint
        found.flags += native.warnings
    sizes = [float(one.parameters["nbytes"]) for one in observations if one.parameters.get("nbytes")]
    ranks = [float(one.parameters["ranks"]) for one in observations]
    found.validity |= {"message_bytes": (min(sizes), max(sizes)), "ranks": (1.0, max(ranks))}
    found.values["transports"] = {LOOPBACK: Transport(Number(1.0, 1.0, 1.0, len(observations)))}
    if probes.get(SHAPED):
        shaped = fit_shaped(probes[SHAPED], on_idle, cores, seed, testbed_settings())
        found.values["transports"] |= {SHAPED: shaped.transport}
        found.drift[SHAPED] = shaped.drift
        found.flags += shaped.warnings


def _apart(values: Mapping[str, _Value]) -> tuple[dict[str, _Value], dict[str, _Value]]:
    """Costs of cores that compute, and what is different on idle ones, by field."""
    idle = {name.removeprefix(IDLE): value for name, value in values.items() if name.startswith(IDLE)}
    return {name: value for name, value in values.items() if not name.startswith(IDLE)}, idle


def _jitter(found: _Found, probes: Mapping[str, Sequence[Observation]]) -> None:
    """Law of single computes over the mean of their like in the same round, so that drift is not in them."""
    singles = [one for name in ("blocks", "contention") for one in probes.get(name, ()) if one.parameters["cores"] == 1]
    rounds = _factors([one for one in singles if one.kind.endswith("/single")])
    count = sum(map(len, rounds))
    if len(rounds) >= LEAST_ROUNDS and count >= len(rounds) * LEAST:
        found.noise["compute"] = law = _law(rounds)
        if any(isinstance(value, float) for value in law.values()):
            found.flags.append("the law of noise of computes differs from round to round: calibrate in more rounds")
    elif singles:
        found.flags.append(f"{count} single times tell no law of noise of computes: give more --budget")


def _law(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The law of all factors; its parameters with intervals."""
    whole = choose_law([factor for factors in rounds for factor in factors])
    if not all(isinstance(value, float) for value in whole.parameters.values()):
        return {"kind": whole.kind, **whole.parameters}

    def estimate(some: Sequence[Sequence[float]]) -> Mapping[str, float]:
        law = whole if len(some) == len(rounds) else choose_law([factor for factors in some for factor in factors])
        return law.parameters if law.kind == whole.kind else {}

    return {"kind": whole.kind, **whole.parameters, **jackknife(rounds, estimate, whole.count)}


def _factors(observations: Sequence[Observation]) -> list[list[float]]:
    """By round."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for one in observations:
        key = (one.round, one.probe, one.kind, tuple(sorted(one.parameters.items())))
        groups.setdefault(key, []).append(one.seconds)
    rounds: dict[int, list[float]] = {}
    for (number, *_), times in groups.items():
        if len(times) >= _LIKE and min(times) > 0:
            mean = statistics.fmean(times)
            rounds.setdefault(number, []).extend(seconds / mean for seconds in times)
    most = max(LEAST, _MOST_FACTORS // max(1, len(rounds)))
    return [factors[:: max(1, math.ceil(len(factors) / most))] for _, factors in sorted(rounds.items())]


def _most(shares: Sequence[float | None]) -> float | None:
    return max((share for share in shares if share is not None), default=None)
