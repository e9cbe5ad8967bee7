"""The time of an actor's computes: its device's, times noise, over its speed; in virtual and in paced real runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parasim.cluster.hosts import Device
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.devices import kernel_seconds
from parasim.simulation.noise import NoiseLaw
from parasim.simulation.stragglers import Straggler

__all__ = ["Pace", "modelled", "steady"]

Pace = Callable[[Kernel, float], float]
"""Seconds that the next compute of an actor takes, if it starts at the given second of the run; called once per
compute, in the order of their starts."""


def modelled(
    device: Device, noise: NoiseLaw, draws: Draws, speed: float = 1.0, stragglers: Sequence[Straggler] = ()
) -> Pace:
    """The pace of one actor whose device runs at `speed` times that of `device`, slowed by the rules that concern it.

    Kernels of no step are counted by label, so that one more reduction changes nobody else's draws.
    """
    counts: dict[str, int] = {}
    rules = [(rule, draws.branch(rule.draws)) for rule in stragglers]
    reached = 0

    def seconds(kernel: Kernel, now: float) -> float:
        nonlocal reached
        count, step = 0, kernel.step
        if step < 0:
            count, step = counts.get(kernel.label, 0), reached
            counts[kernel.label] = count + 1
        elif step > reached:
            reached = step
        taken = kernel_seconds(device, kernel) * noise.factor(draws, kernel, count) / speed
        for rule, own in rules:
            if rule.holds(now, step):
                taken *= rule.factor(own, kernel, count)
        return taken

    return seconds


def steady(device: Device, speed: float, kernel: Kernel) -> float:
    """Seconds of a kernel without noise, on a device that runs at `speed` times that of `device`."""
    return kernel_seconds(device, kernel) / speed
