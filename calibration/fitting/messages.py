"""What handling messages costs, fitted with the simulator itself: it runs the programs that were probed.

The costs are those with which the simulated programs take the times that real ranks took: least squares on the
logarithm of the times, robust against single bad ones (soft L1). Intervals come from times drawn anew (`resampling`),
each followed by one more step of the Gauss-Newton method, which is where the minimum moves to first order.

References
----------
Moré (1978), The Levenberg-Marquardt algorithm: implementation and theory. Davison and Hinkley (1997), Bootstrap
methods and their application, section 6.3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from calibration.fitting.resampling import by_round, counted, moves
from calibration.fitting.slopes import Slopes
from calibration.probes.programs import (
    FLOPS,
    OPERATED,
    PAUSES,
    WAKING,
    WORKED,
    Block,
    cast_of,
    contexts_of,
    times_of,
    works,
)
from parasim.cluster.cluster import Cluster
from parasim.cluster.handling import STEPS, Handling
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.profile import NORMAL_90, Number
from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.probes.record import Observation
    from parasim.simulation.noise import NoiseLaw

__all__ = [
    "MESSAGES",
    "NATIVE",
    "NEAR_BYTES",
    "Case",
    "Costs",
    "MessageFit",
    "fit_messages",
    "machine",
    "predict",
    "simulated",
    "spread_number",
]

NEAR_BYTES = float(1 << 20)
"""Of a message: so much is taken to stay in the caches of the cores."""

_WARM, _TIMED = 1, 1
_WIDE = 1e15  # bytes/s: no link limits what stays on the machine
_LEAST_SECONDS = 1e-12
_LEAST_CASES = 1.5  # per cost
_RESAMPLES = 400
_JOINT = 64
_FAR = math.log(10)  # a step of the linear model is believed no further
_STARTS, _APART = 3, 0.2
"""Where jobs overtake each other, times jump: one start in three ends at a minimum that is not the least. The second
and third are drawn around the best minimum so far, so much and twice as much apart in the logarithm."""
_LEAST_ERROR = 1e-3  # of times, in the logarithm: programs are not simulated as if measured more exactly
_SOFT = 0.15  # of the logarithm: beyond, a residual counts less
_TAIL = 0.05
_STRANGE = 0.7
"""A case whose time is off by more, in the logarithm, is named."""


@dataclass(frozen=True, slots=True)
class Case:
    """What was timed: a pattern of messages of `nbytes`, between so many ranks."""

    pattern: str
    ranks: int
    nbytes: int

    def __str__(self) -> str:
        return f"{self.pattern} of {self.nbytes} bytes between {self.ranks} ranks"


@dataclass(frozen=True, slots=True)
class Costs:
    """What is fitted together: names with values to start from (seconds, seconds/byte), and what they make.

    `patterns` are those whose times say something of them. `step` is what posting, hearing and starting take each,
    which times of whole messages do not tell apart. `byte` and `near_byte` are CPU time at each end, `transfer` is the
    inverse of an actor's bandwidth. The `operation` of native collectives is what each takes besides its messages.
    `told_by` says of a cost that only some patterns tell which they are. Names that begin with `IDLE` are of what takes
    another time where the cores had nothing to do before.
    """

    name: str
    start: Mapping[str, float]
    patterns: tuple[str, ...]
    told_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def among(self, patterns: Collection[str]) -> Costs:
        """Without what none of these patterns tells; it is taken to cost nothing."""
        told = {
            name: value
            for name, value in self.start.items()
            if any(pattern in patterns for pattern in self.told_by.get(name, self.patterns))
        }
        return replace(self, start=told)

    def handling(self, values: Sequence[float], idle: bool = False) -> Handling:
        """The handling with these costs, in the order of the names; or that where cores had nothing to do before."""
        fields = self.fields(values)
        other = {name: fields.pop(f"{IDLE}{name}") for name in COLD if f"{IDLE}{name}" in fields}
        return Handling(**(fields | other if idle else other | fields))

    def fields(self, values: Sequence[float]) -> dict[str, float]:
        """Fields of `Handling`, and those of idle cores."""
        named = dict(zip(self.start, values, strict=True))
        fields = {"near_bytes": NEAR_BYTES, "bandwidth": 1 / named.pop("transfer")}
        fields["send_byte"] = fields["receive_byte"] = named.pop("byte")
        fields |= dict.fromkeys(STEPS, named.pop("step"))
        return fields | named


IDLE = "idle_"
COLD = ("cold", "cold_near", "cooling")
"""Costs that differ where the cores had nothing to do before: they sleep then, besides that caches are lost."""
_WORKED = {
    "messages": tuple(name for name in WORKED if not name.startswith("native")),
    "native": tuple(name for name in WORKED if name.startswith("native")),
}
MESSAGES = Costs(
    "handling",
    {
        "step": 6e-5, "finish": 1e-5, "background": 8e-5, "near_byte": 1e-10, "byte": 1.8e-10, "transfer": 2e-10,
        "operation": 7e-5, "wake": 6e-5, "cold": 1.0, "cold_near": 2.0, "cooling": 0.005,
        "idle_cold": 4.0, "idle_cold_near": 5.0, "idle_cooling": 0.05,
    },
    ("ping_pong", "stream", "facing", "ring", "fan_in", "all_reduce", OPERATED, *PAUSES, *WAKING, *_WORKED["messages"]),
    {
        "operation": (OPERATED,), "wake": tuple(WAKING), **dict.fromkeys(COLD, _WORKED["messages"]),
        **dict.fromkeys((f"{IDLE}{name}" for name in COLD), tuple(PAUSES)),
    },
)  # fmt: skip
NATIVE = Costs(
    "native",
    {
        "step": 2e-5, "background": 3e-5, "near_byte": 2e-10, "byte": 2.5e-10, "transfer": 5e-10, "operation": 1e-4,
        "cold": 0.5, "cold_near": 0.5,
    },
    ("native", *_WORKED["native"]),
    dict.fromkeys(("cold", "cold_near"), _WORKED["native"]),
)  # fmt: skip

_UNITS = {
    "near_bytes": "bytes", "near_byte": "seconds/byte", "send_byte": "seconds/byte", "receive_byte": "seconds/byte",
    "bandwidth": "bytes/s", **dict.fromkeys(("cold", "cold_near", "idle_cold", "idle_cold_near"), ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessageFit:
    """What `fit_messages` found.

    Attributes
    ----------
    numbers
        By field of `Handling`.
    joint
        Values of the numbers as they may be together.
    drift
        Standard deviation of the logarithm of what a run takes over what is predicted: rounds differ from each other,
        and patterns from the model.
    residuals
        Logarithm of measured over predicted seconds, by case.
    warnings
        What to look at.
    """

    numbers: dict[str, Number]
    joint: tuple[dict[str, float], ...]
    drift: Number
    residuals: dict[Case, float]
    warnings: tuple[str, ...]


def case_of(observation: Observation) -> Case:
    """The case of an observation of one of the message probes."""
    parameters = observation.parameters
    return Case(observation.kind, int(parameters["ranks"]), int(parameters["nbytes"]))


def predict(
    cases: Sequence[Case],
    cores: int,
    *,
    handling: Handling,
    idle: Handling | None = None,
    native: Handling | None = None,
) -> list[float]:
    """Simulated seconds of one repetition of each case, on a machine with so many cores.

    `handling` is what it costs where the cores compute, `idle` where they don't (None: the same).
    """
    seconds: dict[Case, float] = {}
    for ranks, computes in dict.fromkeys((case.ranks, works(case.pattern)) for case in cases):
        own = [case for case in cases if case.ranks == ranks and works(case.pattern) == computes]
        script = [Block(case.pattern, case.nbytes, _TIMED) for case in own]
        costs = handling if computes or idle is None else idle
        times = simulated(
            script, machine(cores, costs, native), [0] * ranks, handling_cores=None if computes else cores
        )
        for case, repeated in zip(own, times, strict=True):
            seconds[case] = sum(repeated) / len(repeated)
    return [seconds[case] for case in cases]


def machine(cores: int, handling: Handling, native: Handling | None = None) -> Cluster:
    """One host of so many cores that handles messages at these costs; nothing else takes time."""
    device = Device("none", flops=FLOPS, memory=_WIDE, memory_bandwidth=_WIDE)
    host = Host("machine", cores, device, handling=handling, native=native or Handling())
    return Cluster([host], {(0, 0): Link("loopback", _WIDE, 0.0)})


def simulated(
    script: Sequence[Block],
    cluster: Cluster,
    placement: Sequence[int],
    *,
    handling_cores: int | None = None,
    law: NoiseLaw | None = None,
) -> list[list[float]]:
    """Seconds of the repetitions of each block of a script, in the simulator; rank r is on host `placement[r]`.

    `law` is the noise of handling.
    """
    from parasim.simulation.engine import Engine
    from parasim.trace.table import Trace

    cast = cast_of(script, len(placement), _WARM)
    context = contexts_of(cast)
    trace = Trace()
    contexts = [context(actor.rank) for actor in cast]
    engine = Engine(cluster, list(placement), cast, contexts, trace, handling_noise=law, handling_cores=handling_cores)
    engine.run()
    return times_of(trace, script, _WARM)


def fit_messages(
    costs: Costs, observations: Sequence[Observation], cores: int, seed: int, *, handling: Handling | None = None
) -> MessageFit:
    """Find the costs that explain what was observed.

    Parameters
    ----------
    costs
        What to fit: `MESSAGES`, or `NATIVE` with the `handling` found for messages.
    observations
        Of the message probes; those of other kinds are left out.
    cores
        Of the machine.
    seed
        Of the resampling.

    Raises
    ------
    CalibrationError
        If there are fewer cases than the costs need.
    """
    import numpy as np
    from scipy.optimize import least_squares

    table = _table(costs, observations)
    cases = list(table)
    costs = costs.among({case.pattern for case in cases})
    needed = math.ceil(_LEAST_CASES * len(costs.start))
    if len(cases) < needed:
        raise CalibrationError(
            f"{costs.name}: {len(cases)} cases were timed, {needed} are needed for "
            f"{len(costs.start)} costs; calibrate with more sizes and ranks (leave out --only, or give more --budget)"
        )
    tables = [{number: math.log(max(one, _LEAST_SECONDS)) for number, one in table[case].items()} for case in cases]
    logs = [np.array(list(rounds.values())) for rounds in tables]
    target = np.array([np.median(values) for values in logs])

    def model(point: Any) -> Any:
        found = costs.handling(np.exp(point))
        if handling is None:
            given = {"handling": found, "idle": costs.handling(np.exp(point), idle=True)}
        else:
            given = {"handling": handling, "native": found}
        return np.log(np.maximum(predict(cases, cores, **given), _LEAST_SECONDS))

    start = np.log(list(costs.start.values()))
    bounds = (start - math.log(300), start + math.log(100))
    rng = np.random.default_rng([seed, len(cases)])

    def missed(point: Any) -> Any:
        return target - model(point)

    def minimum(point: Any) -> Any:
        slopes = Slopes(missed)
        return least_squares(
            slopes.values, np.clip(point, *bounds), slopes, loss="soft_l1", f_scale=_SOFT, max_nfev=20, ftol=1e-3,
            xtol=1e-3, bounds=bounds,
        )  # fmt: skip

    found = minimum(start)
    for apart in range(1, _STARTS):
        other = minimum(found.x + apart * _APART * rng.standard_normal(len(start)))
        found = min(found, other, key=lambda ended: ended.cost)
    residuals = found.fun
    jacobian = Slopes(missed).exact(found.x, residuals)
    draws = np.clip(
        found.x + _shifts(jacobian, residuals, cases, tables, np.random.default_rng(seed)),
        found.x - _FAR,
        found.x + _FAR,
    )
    values = [{name: float(value) for name, value in costs.fields(np.exp(point)).items()} for point in draws]
    best = costs.fields(np.exp(found.x))
    numbers = {
        name: Number(
            float(best[name]),
            float(min(best[name], np.quantile([drawn[name] for drawn in values], _TAIL))),
            float(max(best[name], np.quantile([drawn[name] for drawn in values], 1 - _TAIL))),
            sum(map(len, logs)),
            _UNITS.get(name, "seconds"),
        )
        for name in best
    }
    return MessageFit(
        numbers,
        tuple(values[:_JOINT]),
        spread_number(residuals, tables, seed),
        dict(zip(cases, map(float, residuals), strict=True)),
        tuple(
            f"{costs.name}: {case} took {math.exp(residual):.2f} times the predicted time; look at its observations"
            for case, residual in zip(cases, residuals, strict=True)
            if abs(residual) > _STRANGE
        ),
    )


def _table(costs: Costs, observations: Sequence[Observation]) -> dict[Case, dict[int, float]]:
    """Seconds by case and round."""
    table: dict[Case, dict[int, float]] = defaultdict(dict)
    for observation in observations:
        if observation.kind in costs.patterns:
            table[case_of(observation)][observation.round] = observation.seconds
    return dict(table)


def _shifts(
    jacobian: Any, residuals: Any, cases: Iterable[Case], tables: Sequence[Mapping[int, float]], rng: Any
) -> Any:
    """Where the minimum goes when times are drawn anew (draws x costs), in logarithms.

    Costs that the times say nothing of are anywhere within a factor of `_FAR`, not where the fit has left them.
    """
    import numpy as np

    weights = counted(residuals, _SOFT)
    slopes = jacobian * weights[:, None]
    kinds = [case.pattern in PAUSES or case.pattern in WORKED for case in cases]
    moved = moves(tables, kinds, residuals * weights**2, slopes.shape[1], _RESAMPLES, rng) * weights
    error = max(float(np.sqrt(np.mean((residuals * weights) ** 2))), _LEAST_ERROR)
    prior = error * NORMAL_90 / _FAR
    inverse = np.linalg.inv(slopes.T @ slopes + prior**2 * np.eye(slopes.shape[1]))
    return (prior * error * rng.standard_normal((_RESAMPLES, slopes.shape[1])) - moved @ slopes) @ inverse


def spread_number(residuals: Any, tables: Sequence[Mapping[int, float]], seed: int) -> Number:
    """Spread of one run around its prediction: of cases around the model, of rounds, and of cases in their rounds.

    Parameters
    ----------
    residuals
        Of each case: logarithm of measured over predicted seconds.
    tables
        Of each case: logarithms of its seconds, by round.

    Medians stand against single bad times. What all cases of a round had in common is no such: a machine that was slow
    in one round of six is so for one run in six.
    """
    import numpy as np

    off = by_round(tables)

    def spread(cases: Any) -> float:
        model = np.median(np.abs(residuals[cases])) * _MAD
        timed = off[cases][:, np.isfinite(off[cases]).any(axis=0)]
        common = np.nanmedian(timed, axis=0)
        own = np.nanmedian(np.abs(timed - common)) * _MAD
        freely = len(common) / max(len(common) - 1, 1)  # as of a variance
        return float(math.sqrt(model**2 + freely * (common.var() + own**2)))

    rng = np.random.default_rng([seed, len(residuals)])
    every = np.arange(len(residuals))
    resampled = [spread(rng.choice(every, len(every))) for _ in range(_RESAMPLES)]
    value = spread(every)
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    return Number(value, float(min(low, value)), float(max(high, value)), len(residuals), "")


_MAD = 1.4826
"""Standard deviation of a normal law over its median absolute deviation."""
