"""What probes are told, and what they yield: plain records, one per timing, that a journal keeps as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["Observation", "Skipped", "Task", "from_json", "of_kind", "to_json"]

_FIELDS = 7


@dataclass(frozen=True, slots=True)
class Observation:
    """One timing.

    Attributes
    ----------
    probe
        Which probe took it: a name of the plan (`calibration.probes.plan.PLAN`).
    kind
        What was timed, in the words of the fit ("linear/forward", "ping_pong", "copy"): a probe may time several.
    parameters
        What it was done with: sizes (bytes, FLOP, samples), ranks, cores; texts name shapes, types, directions.
    seconds
        How long it took, at least 0. Of an operation that was repeated: the mean of one.
    round
        Of the calibration; rounds are interleaved over probes, so that a drift of the machine is seen.
    at
        When: seconds since the epoch.
    slow
        Others had a part of the core all the while (`calibration.executor.gauge`): a fit does without it if it can.

    Raises
    ------
    CalibrationError
        If a number is not finite, the time or the round negative, or a name empty.
    """

    probe: str
    kind: str
    parameters: Mapping[str, float | str]
    seconds: float
    round: int
    at: float
    slow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        what = f"observation of probe {self.probe!r}, {self.kind!r}"
        if not self.probe or not self.kind:
            raise CalibrationError(f"{what}: probe and kind must have a name")
        if not (_finite(self.seconds) and self.seconds >= 0):
            raise CalibrationError(f"{what}: seconds must be finite and at least 0, got {self.seconds!r}")
        if type(self.round) is not int or self.round < 0:
            raise CalibrationError(f"{what}: round must be a whole number of at least 0, got {self.round!r}")
        if not _finite(self.at):
            raise CalibrationError(f"{what}: at must be seconds since the epoch, got {self.at!r}")
        for name, value in self.parameters.items():
            if not isinstance(value, str) and not _finite(value):
                raise CalibrationError(f"{what}: parameter {name} must be a finite number or a text, got {value!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Observation, (self.probe, self.kind, dict(self.parameters), self.seconds, self.round, self.at, self.slow)


@dataclass(frozen=True, slots=True)
class Task:
    """What a probe is told of its turn.

    Attributes
    ----------
    round
        From 0; to be handed on to its observations.
    budget
        Seconds that this turn may take, about; a probe measures its least even where that takes longer.
    seed
        For whatever it draws: another one in every round and for every probe.
    scenarios
        Those given to `parasim calibrate`, whose own blocks are probed too; often none.

    A probe that starts processes sees to it that they end with this one, whatever ends it (SIGKILL too): ranks of
    `calibration.executor.pool.default_pool` do.
    """

    round: int
    budget: float
    seed: int = 0
    scenarios: tuple[Scenario, ...] = field(default=(), repr=False)


class Skipped(Exception):
    """Raised by a probe that this machine has no use for: the message says why ("no CUDA device")."""


def to_json(observation: Observation) -> list[Any]:
    """The observation as a list for JSON; :func:`from_json` takes it back."""
    return [
        observation.probe,
        observation.kind,
        dict(observation.parameters),
        observation.seconds,
        observation.round,
        observation.at,
        observation.slow,
    ]


def from_json(values: object) -> Observation:
    """What :func:`to_json` wrote.

    Raises
    ------
    CalibrationError
        If it is anything else.
    """
    if not isinstance(values, list) or len(values) != _FIELDS:
        raise CalibrationError(f"no observation: {str(values)[:60]}")
    probe, kind, parameters, seconds, number, at, slow = values
    named = isinstance(probe, str) and isinstance(kind, str) and isinstance(parameters, dict)
    if not named or not isinstance(slow, bool):
        raise CalibrationError(f"no observation: {str(values)[:60]}")
    return Observation(probe, kind, parameters, seconds, number, at, slow)


def of_kind(observations: Sequence[Observation], *kinds: str) -> list[Observation]:
    """Those of one of these kinds, in the order given."""
    return [observation for observation in observations if observation.kind in kinds]


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
