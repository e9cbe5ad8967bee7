"""The critical path of a step in operations, messages and bytes, read off a scheme's own closed form.

The closed form is asked with a `Place` whose times are not numbers but sums ``f c + m alpha + s beta``: f FLOP in
passes at c seconds each, m messages at alpha, s bytes at beta (`Path`). Where the form takes the larger of two, the
values that c, alpha and beta have in the scenario decide. As in the survey, updates, reductions and other element-wise
work take no time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parasim.program.ops import Kernel
from parasim.program.setting import ClosedForm, Route, Setting
from parasim.study.place import ScenarioPlace

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["Path", "Rates", "critical_path", "rates_of"]

_PASSES = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class Rates:
    """c, alpha and beta: seconds per FLOP, per message, and per byte."""

    flop: float
    message: float
    byte: float


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """``flops c + messages alpha + nbytes beta`` seconds: adds, is scaled, and is ordered by what it comes to.

    A product or quotient of two, which closed forms have in estimates beside the path, is a plain number.
    """

    flops: float
    messages: float
    nbytes: float
    rates: Rates

    def __float__(self) -> float:
        return self.flops * self.rates.flop + self.messages * self.rates.message + self.nbytes * self.rates.byte

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Path):
            sums = self.flops + other.flops, self.messages + other.messages, self.nbytes + other.nbytes
            return Path(*sums, self.rates)
        return self if other == 0 else float(self) + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self + other * -1

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Path):
            return float(self) * float(other)
        return Path(self.flops * other, self.messages * other, self.nbytes * other, self.rates)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return float(self) / float(other) if isinstance(other, Path) else self * (1 / other)

    def __rtruediv__(self, other: float) -> float:
        return other / float(self)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float, Path)) and float(self) == float(other)

    def __hash__(self) -> int:
        return hash((self.flops, self.messages, self.nbytes))


class _PathPlace:
    """Equal workers, each with a link of its own: what is on its way at once shares those links."""

    cores = 2.0
    noisy = False

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def seconds(self, kernel: Kernel, rank: int | None = None) -> Any:
        return self._path(kernel.flops if kernel.kind in _PASSES else 0.0, 0.0, 0.0)

    def longest(self, kernels: Sequence[Kernel]) -> Any:
        return self._path(math.fsum(kernel.flops for kernel in kernels if kernel.kind in _PASSES), 0.0, 0.0)

    def fastest(self, kernels: Sequence[Kernel], count: int) -> Any:
        return self.longest(kernels)

    def route(self, source: int, destination: int) -> Any:
        return Route(self._path(0.0, 1.0, 0.0), self._path(0.0, 0.0, 1.0))  # type: ignore[arg-type]

    def together(self, pairs: Iterable[tuple[int, int]]) -> Any:
        found = list(pairs)
        crowd = max(max(Counter(pair[end] for pair in found).values()) for end in (0, 1))
        return Route(self._path(0.0, 1.0, 0.0), self._path(0.0, 0.0, float(crowd)))  # type: ignore[arg-type]

    def busiest(self, pairs: Iterable[tuple[int, int]]) -> Any:
        return self.together(pairs).beta

    def differ(self, what: str) -> None:
        """Nothing differs here."""

    def _path(self, flops: float, messages: float, nbytes: float) -> Path:
        return Path(flops, messages, nbytes, self._rates)


def rates_of(scenario: Scenario) -> Rates:
    """Of the slowest worker's passes through the whole model, and of the link between the first two actors."""
    place = ScenarioPlace(scenario)
    setting = _setting(scenario, place)
    flops = math.fsum(kernel.flops for kernel in setting.gradient_kernels())
    route = place.route(0, 1) if len(scenario.placement) > 1 else Route(0.0, 0.0)
    return Rates(setting.gradient_seconds() / flops if flops else 0.0, route.alpha, route.beta)


def critical_path(scenario: Scenario, rates: Rates | None = None) -> Path | None:
    """The critical path of a step by the closed form of the scenario's scheme; None if none is known.

    Parameters
    ----------
    scenario
        Its scheme, workload and number of actors count; of its cluster, nothing but the rates.
    rates
        What decides which of two is larger; default: :func:`rates_of` the scenario.
    """
    if scenario.compression is not None:
        return None
    place = _PathPlace(rates or rates_of(scenario))
    form = scenario.scheme.closed_form(_setting(scenario, place))
    if not isinstance(form, ClosedForm):
        return None
    seconds: Any = form.seconds_per_step
    return seconds if isinstance(seconds, Path) else Path(0.0, 0.0, 0.0, place._rates)


def _setting(scenario: Scenario, place: Any) -> Setting:
    from parasim.learning.build import make_optimizer

    return Setting(scenario.workload.model, scenario.workload.batch_size, make_optimizer(*scenario.optimizer), place)
