"""Seconds of the computes of all actors at once.

When it applies: to every law of noise and every rule of stragglers. Why it is exact: a factor is a pure function of an
actor's key and of what the kernel is for (parasim/program/draws.py); here the keys of all actors go through the same
integer arithmetic, modulo 2**64, as arrays, and the draws through the same formulas. Actors of equal devices and speeds
need the same seconds; if there is no noise and no rule, one number stands for all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parasim.cluster.hosts import Device
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.devices import kernel_seconds
from parasim.simulation.noise import (
    Gamma,
    LogNormal,
    Mixture,
    NoiseLaw,
    NoNoise,
    OwnDraws,
    ParetoTail,
    Resampled,
    key_of,
)
from parasim.simulation.stragglers import Straggler

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Paces", "Steady", "factors_of"]


class Steady(NamedTuple):
    """The pace of actors of one kind, without noise: their device and speed."""

    device: Device
    speed: float

    def steady(self, kernel: Kernel) -> float:
        """Seconds of a kernel."""
        seconds: float = kernel_seconds(self.device, kernel) / self.speed
        return seconds


class Paces:
    """The paces of actors 0, 1, ... of one role.

    Parameters
    ----------
    seed, role
        Of their draws.
    devices, device_of, speeds
        The different devices, and which of them each has; speeds by rank (default 1).
    law
        Of noise.
    rules
        By rank: what slows it down.

    Attributes
    ----------
    steady
        Does every kernel take the same time whenever it runs?
    """

    def __init__(
        self,
        seed: int,
        role: str,
        devices: Sequence[Device],
        device_of: NDArray[Any],
        speeds: Mapping[int, float],
        law: NoiseLaw,
        rules: Mapping[int, Sequence[Straggler]],
    ) -> None:
        self._seed = seed
        self._role = role
        self._branches: list[str] = []
        while isinstance(law, OwnDraws):
            self._branches.append(law.name)
            law = law.law
        self._law = law
        self.steady = isinstance(law, NoNoise) and not rules
        self._kinds: list[tuple[Device, float]] = [(device, 1.0) for device in devices]
        self._kind_of = device_of
        if speeds:
            faster = map(speeds.get, range(len(device_of)), itertools.repeat(1.0))
            own = list(zip(device_of.tolist(), faster, strict=True))
            numbers = {kind: number for number, kind in enumerate(dict.fromkeys(own))}
            self._kind_of = np.fromiter(map(numbers.__getitem__, own), np.intp, len(own))
            self._kinds = [(devices[device], speed) for device, speed in numbers]
        self._draws: _ManyDraws | None = None
        self._rules = [
            (rank, rule, Draws(seed, role, rank).branch(rule.draws)) for rank, own in rules.items() for rule in own
        ]
        self._counts: dict[str, int] = {}
        self._reached = 0

    def seconds(self, kernel: Kernel, start: NDArray[Any]) -> NDArray[Any]:
        """Seconds of each actor's next compute, if they begin at `start`."""
        count, step = 0, kernel.step
        if step < 0:
            count, step = self._counts.get(kernel.label, 0), self._reached
            self._counts[kernel.label] = count + 1
        else:
            self._reached = max(self._reached, step)
        taken = self.without_noise(kernel)
        if not isinstance(self._law, NoNoise):
            taken = taken * self._factors(kernel, count)
        holding = [
            (rank, rule.factor(draws, kernel, count))
            for rank, rule, draws in self._rules
            if rule.holds(float(start[rank if len(start) > 1 else 0]), step)
        ]
        if holding:
            taken = np.array(np.broadcast_to(taken, self._kind_of.shape))
        for rank, factor in holding:
            taken[rank] *= factor
        return taken

    def without_noise(self, kernel: Kernel) -> NDArray[Any]:
        """Seconds of a kernel without noise: one number, or one of each actor."""
        seconds = np.array([kernel_seconds(device, kernel) / speed for device, speed in self._kinds])
        return seconds if len(seconds) == 1 else seconds[self._kind_of]

    def kinds(self) -> tuple[list[Steady], NDArray[Any]]:
        """The different paces without noise, and which of them each actor has."""
        return [Steady(device, speed) for device, speed in self._kinds], self._kind_of

    def passed_over(self, label: str, count: int) -> None:
        """So many kernels of no step have been done without asking."""
        self._counts[label] = self._counts.get(label, 0) + count

    def _factors(self, kernel: Kernel, count: int) -> NDArray[Any]:
        if self._draws is None:
            self._draws = _ManyDraws(self._seed, self._role, len(self._kind_of), self._branches)
        step, label = key_of(kernel, count)
        return _FACTORS[type(self._law)](self._law, self._draws.keys("noise", step, kernel.micro, label))


class _ManyDraws:
    """The keys of the draws of actors 0, 1, ... of a role, in branches of branches by these names."""

    def __init__(self, seed: int, role: str, count: int, branches: Sequence[str]) -> None:
        shared = np.full(count, Draws.shared_key(seed, role), dtype=np.uint64)
        self._base = _mix(shared, np.arange(count, dtype=np.uint64))
        for name in branches:
            self._base = _mix(self._base, Draws.word(name))
        self._purposes: dict[tuple[str, str], NDArray[Any]] = {}

    def keys(self, purpose: str, step: int, micro: int, label: str) -> NDArray[Any]:
        base = self._purposes.get((purpose, label))
        if base is None:
            base = _mix(_mix(self._base, Draws.word(purpose)), Draws.word(label))
            self._purposes[purpose, label] = base
        return _mix(_mix(base, step), micro)


def factors_of(law: NoiseLaw, seed: int, role: str, index: int, kernel: Kernel, count: int) -> NDArray[Any]:
    """The factors of an actor's first so many computes that are of no step and like this one."""
    names: list[str] = []
    while isinstance(law, OwnDraws):
        names.append(law.name)
        law = law.law
    draws = Draws(seed, role, index)
    for name in names:
        draws = draws.branch(name)
    _, label = key_of(kernel, 0)
    keys = _mix(np.full(count, draws.prefix("noise", label), dtype=np.uint64), np.arange(count, dtype=np.uint64))
    return _FACTORS[type(law)](law, _mix(keys, kernel.micro))


_MASK = (1 << 64) - 1


def _mix(state: NDArray[Any], word: int | NDArray[Any]) -> NDArray[Any]:
    """One SplitMix64 step of each."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    x = state + golden + (np.uint64(word & _MASK) if isinstance(word, int) else word)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _uniform(keys: NDArray[Any]) -> NDArray[Any]:
    return ((keys >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53


def _log_normal(law: LogNormal, keys: NDArray[Any]) -> NDArray[Any]:
    normal = np.sqrt(-2.0 * np.log(_uniform(keys))) * np.cos(2.0 * math.pi * _uniform(_mix(keys, 1)))
    factors: NDArray[Any] = np.exp(law.sigma * (normal - 0.5 * law.sigma))
    return factors


def _gamma(law: Gamma, keys: NDArray[Any]) -> NDArray[Any]:
    from scipy.special import gammaincinv

    factors: NDArray[Any] = gammaincinv(law.shape, _uniform(keys)) / law.shape
    return factors


def _mixture(law: Mixture, keys: NDArray[Any]) -> NDArray[Any]:
    mean = 1.0 + law.probability * (law.slowdown - 1.0)
    return np.where(_uniform(keys) > 1.0 - law.probability, law.slowdown, 1.0) / mean


def _pareto(law: ParetoTail, keys: NDArray[Any]) -> NDArray[Any]:
    above = 1.0 - _uniform(keys)
    mean = 1.0 + law.probability / (law.exponent - 1.0)
    share = np.minimum(above / law.probability if law.probability else np.ones(len(above)), 1.0)
    return np.where(above >= law.probability, 1.0, share ** (-1.0 / law.exponent)) / mean


def _resampled(law: Resampled, keys: NDArray[Any]) -> NDArray[Any]:
    scaled = np.array(law.scaled)
    chosen: NDArray[Any] = scaled[(_uniform(keys) * len(scaled)).astype(np.intp)]
    return chosen


_FACTORS: dict[type, Callable[[Any, NDArray[Any]], NDArray[Any]]] = {
    LogNormal: _log_normal,
    Gamma: _gamma,
    Mixture: _mixture,
    ParetoTail: _pareto,
    Resampled: _resampled,
}
