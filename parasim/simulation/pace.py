"""The time of an actor's computes: its device's, times noise, over its speed; in virtual and in paced real runs."""

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
    """The pace of one actor whose device runs at `speed` times that of `device`.

    Kernels of no step are counted by label, so that one more reduction changes nobody else's draws.
    """
    counts: dict[str, int] = {}

    def seconds(kernel: Kernel) -> float:
        count = 0
        if kernel.step < 0:
            count = counts.get(kernel.label, 0)
            counts[kernel.label] = count + 1
        return kernel_seconds(device, kernel) * noise.factor(draws, kernel, count) / speed

    return seconds
