"""Computing in modelled time: the time a kernel takes in the simulator, with the same draws."""

from __future__ import annotations

from collections.abc import Callable

from parasim.cluster.hosts import Device
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.devices import kernel_seconds
from parasim.simulation.noise import NoiseLaw

__all__ = ["Pace", "modelled"]

Pace = Callable[[Kernel], float]
"""Seconds that the next compute of an actor takes; called once per compute, in order."""


def modelled(device: Device, noise: NoiseLaw, draws: Draws, speed: float = 1.0) -> Pace:
    """The pace of one actor whose device runs at `speed` times that of `device`."""
    count = 0

    def seconds(kernel: Kernel) -> float:
        nonlocal count
        factor = noise.factor(draws, kernel, count)
        count += 1
        return kernel_seconds(device, kernel) * factor / speed

    return seconds
