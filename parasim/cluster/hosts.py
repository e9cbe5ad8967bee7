"""Hosts and the devices that compute on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields

from parasim.cluster.curves import Curves
from parasim.cluster.handling import Handling
from parasim.errors import ScenarioError
from parasim.fields import INTERNAL, check_fields, quantity, setting

__all__ = ["Device", "Host"]


@dataclass(frozen=True, slots=True)
class Device:
    """What computes.

    Attributes
    ----------
    name
        For outputs.
    flops
        Peak rate, FLOP/s.
    memory
        Capacity, bytes.
    memory_bandwidth
        Peak rate of the memory, bytes/s.
    launch
        Fixed time of every kernel, seconds.
    efficiency
        The fraction of the roofline (of both peak rates) that kernels reach.
    dtype
        The type of numbers that `flops` is the peak of.
    source
        The document that the numbers come from; "" if the user gave them.
    calibrated
        Do the numbers come from measurements? Data sheets and plain numbers are not calibrated.
    curves
        What its kernels were measured to take; None: they take what the roofline says.
    coherence
        Time of fetching a cache line of shared memory that another core wrote last, seconds.

    Raises
    ------
    ScenarioError
        If a rate or the memory is not above zero, the launch time is negative or infinite, or the efficiency is not
        above 0 and at most 1.
    """

    name: str = setting("a name for reports", file_default="")
    flops: float = quantity("FLOP/s", "arithmetic speed", gt=0)
    memory: float = quantity("bytes", "size of its memory", math.inf, file_default=MISSING, gt=0)
    memory_bandwidth: float = quantity("bytes/s", "speed of its memory", math.inf, file_default=MISSING, gt=0)
    launch: float = quantity("seconds", "fixed time of every kernel", 0.0, ge=0)
    efficiency: float = setting("the fraction of these speeds that kernels reach", 1.0, gt=0, le=1)
    dtype: str = field(default="float32", metadata=INTERNAL)
    source: str = field(default="", metadata=INTERNAL)
    calibrated: bool = field(default=False, metadata=INTERNAL)
    curves: Curves | None = field(default=None, repr=False, metadata=INTERNAL)
    coherence: float = quantity("seconds", "time of a cache line (64 B) that another core wrote last", 0.0, ge=0)

    def __post_init__(self) -> None:
        check_fields(self, f"device {self.name!r}")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: its name, the number of cores that its actors share, their device, and what handling costs them.

    `handling` is that of messages and operations of programs, `native` that of messages inside the backend's own
    collectives.

    `contention` is what cores cost each other: the factor on the time of a job while 1, 2, ... cores work. The first
    is 1; cores beyond the last that is given slow down nobody further; empty: none does.

    Raises
    ------
    ScenarioError
        If there is no core, or contention is not above zero or does not begin with 1.
    """

    name: str = field(metadata=INTERNAL)
    cores: int = setting(
        "cores: as many actors compute at full speed beside each other", file_default=1, ge=1, le=1_000_000
    )
    device: Device = field(metadata=INTERNAL)  # type: ignore[misc] # cores has no default, in Python
    handling: Handling = field(default_factory=Handling, metadata=INTERNAL)
    native: Handling = field(default_factory=Handling, metadata=INTERNAL)
    contention: tuple[float, ...] = field(default=(), metadata=INTERNAL)

    def __post_init__(self) -> None:
        check_fields(self, f"host {self.name!r}")
        if self.contention and self.contention[0] != 1.0:
            raise ScenarioError(
                f"host {self.name!r}: contention of one core is {self.contention[0]}; divide all by it, as one alone "
                "slows down nobody"
            )
        for factor in self.contention:
            if not 0.0 < factor < math.inf:
                raise ScenarioError(f"host {self.name!r}: contention {factor} is not above zero and finite; measure it")

    def called(self, names: Iterable[str]) -> Iterator[Host]:
        """Hosts like this one under other names: there may be many, so what is checked is not checked again."""
        kept = [(entry.name, getattr(self, entry.name)) for entry in fields(self) if entry.name != "name"]
        for name in names:
            host = object.__new__(Host)
            object.__setattr__(host, "name", name)
            for attribute, value in kept:
                object.__setattr__(host, attribute, value)
            yield host
