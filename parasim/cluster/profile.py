"""A profile: what calibration found out about a machine, every number with its interval.

Scenarios use it with ``cluster: {profile: my-machine.json}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Measured", "Number", "Profile", "Transport"]


@dataclass(frozen=True, slots=True)
class Number:
    """A fitted number.

    Attributes
    ----------
    value, low, high
        The estimate, and the ends of its 90 % interval.
    count
        Observations that it rests on.
    unit
        SI: "seconds", "bytes/s", "FLOP/s", "seconds/byte", "" for ratios.
    """

    value: float
    low: float
    high: float
    count: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds measured over sizes, ascending: of a kernel kind over the roofline's seconds, of a block over samples."""

    sizes: tuple[float, ...]
    seconds: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Transport:
    """One way that messages take ("loopback": within the machine; "shaped": links of the testbed).

    Attributes
    ----------
    bandwidth
        Payload bytes/s of one actor's messages, in and out together; None: as the links say.
    goodput
        Payload over nominal bandwidth of a link.
    settings
        What was set: burst and limits of the shaper, congestion control, segment sizes.
    """

    goodput: Number
    bandwidth: Number | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine, as measured.

    Attributes
    ----------
    name, provenance
        What it is called; machine, versions, date, command, duration, warnings of the fit.
    cores, memory
        Cores of the host; bytes of its memory.
    flops, memory_bandwidth
        Peaks: FLOP/s and bytes/s of one core (of the GPU).
    kernels
        By kind of kernel piece: measured seconds over the roofline's.
    blocks
        By signature and direction ("linear 256->256/forward"): measured seconds over samples.
    contention
        Factor on the time of a compute while 1, 2, ... cores compute; the first is 1.
    handling
        By field of `parasim.cluster.handling.Handling`.
    transports
        By name.
    noise
        Law by what it concerns ("compute", "handling"): kind and parameters of parasim/simulation/noise.py.
    drift
        Standard deviation of the logarithm of a factor common to a whole run, by what it concerns.
    validity
        Ranges that the fit covers, by quantity: (least, most).
    fitted_on
        Identities of the scenario runs that it was fitted on, if any.
    """

    name: str
    cores: int
    memory: float
    flops: Number
    memory_bandwidth: Number
    kernels: Mapping[str, Measured] = field(default_factory=dict)
    blocks: Mapping[str, Measured] = field(default_factory=dict)
    contention: tuple[Number, ...] = ()
    handling: Mapping[str, Number] = field(default_factory=dict)
    transports: Mapping[str, Transport] = field(default_factory=dict)
    noise: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drift: Mapping[str, Number] = field(default_factory=dict)
    validity: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fitted_on: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
