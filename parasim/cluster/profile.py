"""A profile: what calibration found out about a machine, every number with its interval.

Scenarios use it with ``cluster: {profile: my-machine.json}``; `parasim.cluster.profile_file` reads and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["LOOPBACK", "NORMAL_90", "Measured", "Number", "Profile", "Transport", "plain"]

LOOPBACK = "loopback"
"""The transport within a machine."""

NORMAL_90 = 1.6448536269514722
"""Standard deviations from the middle of a normal distribution to the ends of its 90 % interval."""


@dataclass(frozen=True, slots=True)
class Number:
    """A fitted number, at least 0.

    Attributes
    ----------
    value, low, high
        The estimate, and the ends of its 90 % interval.
    count
        Observations that it rests on.
    unit
        SI: "seconds", "bytes/s", "FLOP/s", "seconds/byte", "" for ratios.

    Raises
    ------
    CalibrationError
        If it is negative or not finite, lies outside its interval, or rests on nothing.
    """

    value: float
    low: float
    high: float
    count: int
    unit: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high < math.inf:
            shown = f"{self.value:g} in {self.low:g} to {self.high:g}"
            raise CalibrationError(f"a number is at least 0 and within its interval, got {shown}: calibrate again")
        if self.count < 1:
            raise CalibrationError(f"a number rests on one observation at least, got {self.count}: calibrate again")

    def known(self, value: float) -> Number:
        """The same with this value, and no doubt about it."""
        return replace(self, value=value, low=value, high=value)

    def scaled(self, factor: float) -> Number:
        """Value and interval times a factor."""
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def at(self, deviations: float) -> Number:
        """The number that lies so many standard deviations above its estimate.

        Each end of the interval is 1.64 of them away, on the logarithm if both ends are above 0; otherwise on the
        number itself, which is then 0 at least.
        """
        end = self.low if deviations < 0 else self.high
        share = abs(deviations) / NORMAL_90
        if self.low > 0:
            return self.known(self.value * (end / self.value) ** share)
        return self.known(max(0.0, self.value + (end - self.value) * share))


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds measured over sizes, ascending: of a kernel kind over the roofline's seconds, of a block over samples.

    Raises
    ------
    CalibrationError
        If there is no size, there are not as many numbers, or sizes do not ascend from above 0.
    """

    sizes: tuple[float, ...]
    seconds: tuple[Number, ...]

    def __post_init__(self) -> None:
        if not self.sizes or len(self.sizes) != len(self.seconds):
            counts = f"{len(self.sizes)} sizes and {len(self.seconds)} numbers"
            raise CalibrationError(f"one number is measured for each size, got {counts}: calibrate again")
        if any(after <= before for before, after in zip((0.0, *self.sizes), self.sizes, strict=False)):
            raise CalibrationError(f"sizes must ascend from above 0, got {list(self.sizes)[:8]}: calibrate again")

    def at(self, deviations: float, factor: float) -> Measured:
        """All numbers so many standard deviations off their estimates, times a factor."""
        return Measured(self.sizes, tuple(number.at(deviations).scaled(factor) for number in self.seconds))


@dataclass(frozen=True, slots=True)
class Transport:
    """One way that messages take ("loopback": within the machine; "shaped": links of the testbed).

    Attributes
    ----------
    goodput
        Payload over nominal bandwidth of a link: a scenario's links have their `bandwidth` times this.
    bandwidth
        Payload bytes/s of one actor's messages, in and out together; None: as the links say.
    latency
        Seconds of each message besides its links' and what it costs the cores; None: none.
    step
        CPU seconds that posting, hearing and starting a message take each, on top of the profile's; None: none.
    credit
        Of what a shaper lets through at once after a pause, the share that a message saves; None: all.
    settings
        What was set: burst and limits of the shaper, congestion control, segment sizes.
    """

    goodput: Number
    bandwidth: Number | None = None
    latency: Number | None = None
    step: Number | None = None
    credit: Number | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine, as measured.

    Attributes
    ----------
    name, provenance
        What it is called; machine, versions, date, command, duration, warnings of the fit.
    cores, memory
        Cores of the host (of a GPU's profile: GPUs), on each of which an actor computes at full speed; bytes of its
        memory (of the GPU's).
    flops, memory_bandwidth
        Peaks: FLOP/s and bytes/s of one core (of the GPU).
    dtype
        The type of numbers that computing was measured in.
    kernels
        By kind of kernel piece: measured seconds over the roofline's.
    blocks
        By signature and direction ("linear 256->256/forward"): measured seconds over samples.
    contention
        Factor on the time of a compute while 1, 2, ... cores compute; the first is 1.
    handling
        By field of `parasim.cluster.handling.Handling`.
    idle
        Those of the same fields that are different where the cores have had nothing to do before, as in paced runs.
    native
        The same of messages inside the backend's own collectives.
    transports
        By name.
    noise
        Law by what it concerns ("compute", "handling"): kind and parameters of parasim/simulation/noise.py; a parameter
        that was fitted may be a `Number`.
    drift
        Standard deviation of the logarithm of a factor common to a whole run, by what it concerns ("compute",
        "handling", or what a transport moves, by its name).
    joint
        Of "handling", "idle" and "native": values of their numbers as they may be together, equally likely; what is
        known of their sum is known better than each.
    validity
        Ranges that the fit covers, by quantity: (least, most). "message_bytes", "ranks" (on one host), "threads".
    fitted_on
        Identities of the scenario runs that it was fitted on, if any.
    """

    name: str
    cores: int
    memory: float
    flops: Number
    memory_bandwidth: Number
    dtype: str = "float32"
    kernels: Mapping[str, Measured] = field(default_factory=dict)
    blocks: Mapping[str, Measured] = field(default_factory=dict)
    contention: tuple[Number, ...] = ()
    handling: Mapping[str, Number] = field(default_factory=dict)
    idle: Mapping[str, Number] = field(default_factory=dict)
    native: Mapping[str, Number] = field(default_factory=dict)
    transports: Mapping[str, Transport] = field(default_factory=dict)
    noise: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drift: Mapping[str, Number] = field(default_factory=dict)
    joint: Mapping[str, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    validity: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fitted_on: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, generator: Generator) -> Profile:
        """The machine as it may be as well: every number drawn from its interval, and the drift of one run.

        Parameters
        ----------
        generator
            Of numpy; the same state gives the same draws.

        Returns
        -------
        Profile
            Its numbers are known exactly, and nothing drifts. Log-normal where an interval is above 0. A curve (a
            block) is drawn as a whole: what made one of its sizes slow when it was measured made the others slow. Where
            there are curves, the peaks are only what their sizes are measured in, and stay.
        """

        def drawn(number: Number) -> Number:
            return number.at(generator.standard_normal())

        def together(of: str) -> dict[str, Number]:
            numbers: Mapping[str, Number] = getattr(self, of)
            draws = self.joint.get(of, ())
            if not draws:
                return {name: drawn(number) for name, number in numbers.items()}
            one = draws[int(generator.integers(len(draws)))]
            return {name: number.known(one.get(name, number.value)) for name, number in numbers.items()}

        def factor(of: str) -> float:
            if of not in self.drift:
                return 1.0
            return math.exp(self.drift[of].at(generator.standard_normal()).value * generator.standard_normal())

        compute, handling = factor("compute"), factor("handling")
        peaks = [number if self.kernels else drawn(number) for number in (self.flops, self.memory_bandwidth)]
        flops, bandwidth = (number.known(number.value / compute) for number in peaks)
        kernels = {kind: curve.at(generator.standard_normal(), compute) for kind, curve in self.kernels.items()}
        return replace(
            self,
            flops=flops,
            memory_bandwidth=bandwidth,
            kernels={
                kind: Measured(tuple(size * compute for size in curve.sizes), curve.seconds)
                for kind, curve in kernels.items()
            },
            blocks={name: block.at(generator.standard_normal(), compute) for name, block in self.blocks.items()},
            contention=tuple(drawn(number) for number in self.contention),
            handling={name: _slower(number, handling) for name, number in together("handling").items()},
            idle={name: _slower(number, handling) for name, number in together("idle").items()},
            native={name: _slower(number, handling) for name, number in together("native").items()},
            joint={},
            transports={
                name: replace(
                    way,
                    goodput=drawn(way.goodput).scaled(1 / moved),
                    bandwidth=None if way.bandwidth is None else _slower(drawn(way.bandwidth), handling),
                    latency=None if way.latency is None else _slower(drawn(way.latency), moved),
                    step=None if way.step is None else _slower(drawn(way.step), handling),
                    credit=None if way.credit is None else drawn(way.credit),
                )
                for name, way in self.transports.items()
                for moved in [factor(name)]
            },
            noise={
                of: {name: drawn(value) if isinstance(value, Number) else value for name, value in law.items()}
                for of, law in self.noise.items()
            },
            drift={},
        )


def plain(law: Mapping[str, Any]) -> dict[str, Any]:
    """A law of a profile's `noise` as a scenario writes it: the values of its parameters."""
    return {name: value.value if isinstance(value, Number) else value for name, value in law.items()}


def _slower(number: Number, factor: float) -> Number:
    """A time times a factor, a rate over it; sizes and ratios as they are."""
    power = {"seconds": 1, "seconds/byte": 1, "bytes/s": -1}.get(number.unit, 0)
    return number.scaled(factor**power)
