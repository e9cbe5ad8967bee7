"""Hosts and the devices that compute on them."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field

from parasim.cluster.handling import Handling
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

    def __post_init__(self) -> None:
        check_fields(self, f"device {self.name!r}")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: its name, the number of cores that its actors share, their device, and what handling costs them.

    Raises
    ------
    ScenarioError
        If there is no core.
    """

    name: str = field(metadata=INTERNAL)
    cores: int = setting(
        "cores: as many actors compute at full speed beside each other", file_default=1, ge=1, le=1_000_000
    )
    device: Device = field(metadata=INTERNAL)  # type: ignore[misc] # cores has no default, in Python
    handling: Handling = field(default_factory=Handling, metadata=INTERNAL)

    def __post_init__(self) -> None:
        check_fields(self, f"host {self.name!r}")
