"""The time of an actor's computes: its device's, times noise, over its speed; in virtual and in paced real runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parasim.cluster.hosts import Device
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.devices import kernel_seconds
from parasim.simulation.noise import NoiseLaw, NoNoise
from parasim.simulation.stragglers import Straggler

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Modelled", "Pace", "kinds_of", "modelled"]

Pace = Callable[[Kernel, float], float]
"""Seconds that the next compute of an actor takes, if it starts at the given second of the run; called once per
compute, in the order of their starts."""


class Modelled:
    """A pace by device, speed, noise and stragglers.

    Kernels of no step are counted by label, so that one more reduction changes nobody else's draws.

    Parameters
    ----------
    device, speed
        It runs at `speed` times that of `device`.
    noise, stragglers
        The law of its random factors; the rules that slow it down.
    draws
        Its random numbers.
    """

    __slots__ = ("_counts", "_device", "_draws", "_noise", "_reached", "_rules", "_speed")

    def __init__(
        self, device: Device, noise: NoiseLaw, draws: Draws, speed: float, stragglers: Sequence[Straggler]
    ) -> None:
        self._device = device
        self._noise = noise
        self._draws = draws
        self._speed = speed
        self._counts: dict[str, int] = {}
        self._rules = [(rule, draws.branch(rule.draws)) for rule in stragglers]
        self._reached = 0

    def __call__(self, kernel: Kernel, now: float) -> float:
        """Seconds that the next compute takes, if it starts at `now` seconds of the run."""
        count, step = 0, kernel.step
        if step < 0:
            count, step = self._counts.get(kernel.label, 0), self._reached
            self._counts[kernel.label] = count + 1
        elif step > self._reached:
            self._reached = step
        taken = kernel_seconds(self._device, kernel) * self._noise.factor(self._draws, kernel, count) / self._speed
        for rule, own in self._rules:
            if rule.holds(now, step):
                taken *= rule.factor(own, kernel, count)
        return taken

    def pass_over(self, kernel: Kernel) -> None:
        """The next compute takes no time: it is done without asking."""
        if kernel.step < 0:
            self.passed_over(kernel.label, 1)
        elif kernel.step > self._reached:
            self._reached = kernel.step

    def passed_over(self, label: str, count: int) -> None:
        """So many kernels of no step have been done without asking."""
        if count:
            self._counts[label] = self._counts.get(label, 0) + count

    @property
    def most(self) -> float:
        """By how much noise and rules can lengthen a kernel at most: every law grows with its one draw."""
        most, extreme = self._noise.factor(_LARGEST, _ANY, 0), 1.0
        for rule, _ in self._rules:
            extreme *= max(1.0, rule.factor(_LARGEST, _ANY, 0))
        return 1.0 if isinstance(self._noise, NoNoise) and not self._rules else most * extreme

    @property
    def alike(self) -> tuple[int, float]:
        """Actors of which this is the same need the same seconds without noise."""
        return id(self._device), self._speed

    def steady(self, kernel: Kernel) -> float:
        """Seconds of a kernel without noise."""
        return kernel_seconds(self._device, kernel) / self._speed


def kinds_of(paces: Sequence[Modelled]) -> tuple[list[Modelled], NDArray[Any]]:
    """One of each that are alike; and which of these each is like."""
    import numpy as np

    looks = [pace.alike for pace in paces]
    firsts = dict(zip(reversed(looks), reversed(paces), strict=True))
    numbers = {look: number for number, look in enumerate(dict.fromkeys(looks))}
    return list(map(firsts.__getitem__, numbers)), np.array(list(map(numbers.__getitem__, looks)), np.intp)


class _Largest(Draws):
    """The largest draws that there are."""

    __slots__ = ()

    def uniform(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> float:
        """The largest number below 1."""
        return 1.0 - 2.0**-53

    def normal(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> float:
        """Of the smallest uniform draw."""
        return math.sqrt(-2.0 * math.log(2.0**-54))


_LARGEST = _Largest(0)
_ANY = Kernel("any")


def modelled(
    device: Device, noise: NoiseLaw, draws: Draws, speed: float = 1.0, stragglers: Sequence[Straggler] = ()
) -> Modelled:
    """The pace of an actor whose device runs at `speed` times that of `device`, slowed by the rules that concern it."""
    return Modelled(device, noise, draws, speed, stragglers)
