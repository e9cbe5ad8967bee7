"""Hosts and the devices that compute on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.errors import ScenarioError

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
    calibrated
        Do the numbers come from measurements? Data sheets and plain numbers are not calibrated.

    Raises
    ------
    ScenarioError
        If a rate or the memory is not above zero, or the launch time is negative or infinite.
    """

    name: str
    flops: float
    memory: float = math.inf
    memory_bandwidth: float = math.inf
    launch: float = 0.0
    calibrated: bool = False

    def __post_init__(self) -> None:
        for field in ("flops", "memory", "memory_bandwidth"):
            value = getattr(self, field)
            if not value > 0:
                raise ScenarioError(f"device {self.name!r}: {field} must be above 0, got {value}")
        if not 0 <= self.launch < math.inf:
            raise ScenarioError(f"device {self.name!r}: launch must be 0 seconds or more, got {self.launch}")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: its name, the number of cores that its actors share, and the device of those cores.

    Raises
    ------
    ScenarioError
        If there is no core.
    """

    name: str
    cores: int
    device: Device

    def __post_init__(self) -> None:
        if self.cores < 1:
            raise ScenarioError(f"host {self.name!r}: cores must be 1 or more, got {self.cores}")
